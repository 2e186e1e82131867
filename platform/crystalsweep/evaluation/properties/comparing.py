"""Evaluations of property models against each other: the same labelled crystals, one by one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalsweep.evaluation.properties.asked import PropertyTarget
from crystalsweep.evaluation.properties.outcome import PREDICTIONS_FILE, PropertyEvaluation, read_property_outcome
from crystalsweep.metrics.properties.figures import compared_of, statistics_of
from crystalsweep.metrics.properties.statistic import Answers, Difference, Statistic, difference_of, sampled, verdict_of
from crystalsweep.metrics.seed_verdicts import OVER_SEEDS, SEED_COLUMNS, Crossed, crossed_resamples, matched
from crystalsweep.metrics.verdicts import VERDICT_COLUMNS, holm, named_pairs

PAIRED = "paired"
"""Attribute of a frame of verdicts that says what its rows are paired by, where that is no corrupted crystal."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Told:
    """What one row of an evaluation says of its labelled crystals, for one property."""

    target: PropertyTarget
    table: pd.DataFrame
    """Rows by id, with the columns label and prediction as predictions.csv has them, and probabilities."""

    @classmethod
    def of(cls, folder: Path, target: PropertyTarget, row: str) -> Told:
        """Read a row of a folder's predictions. Raises `ValueError` where the file is not as it was written."""
        file = folder / PREDICTIONS_FILE
        try:
            table = pd.read_csv(file, dtype=str, keep_default_na=False)
            own = table[(table["target"] == target.name) & (table["row"] == row)].set_index("id")
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(f"{file} cannot be read ({error}); evaluate again") from error
        if own.empty or own.index.has_duplicates:
            raise ValueError(f"{file} has no rows of {row!r} for {target.name}, or a crystal twice; evaluate again")
        return cls(target=target, table=own[(own["label"] != "") & (own["prediction"] != "")])

    def answers(self, ids: pd.Index) -> Answers:
        """Return what is true and was predicted of some crystals."""
        rows, target = self.table.loc[ids], self.target
        grid = None if target.grid is None else np.asarray(target.grid, dtype=np.float64)
        if target.kind == "classification":
            truth = np.array([target.classes.index(each) for each in rows["label"]], dtype=np.float64)
            return Answers(truth=truth, predicted=_lists(rows["probabilities"]))
        of = _lists if target.kind == "spectrum" else _numbers
        return Answers(truth=of(rows["label"]), predicted=of(rows["prediction"]), grid=grid)


@dataclass(frozen=True, kw_only=True)
class OverSeeds(Difference):
    """How far one arm's mean figure over its seeds is from another's."""

    deviation: float
    """Standard deviation of the difference between seeds."""

    @classmethod
    def of(cls, found: Crossed, n: int) -> OverSeeds:
        """Return a mean over seeds and n crystals as a difference."""
        return cls(difference=found.mean, low=found.low, high=found.high, p=found.p, n=n, deviation=found.deviation)


def compare_properties(
    folders: Mapping[str, Path],
    arms: Mapping[str, Sequence[str]],
    *,
    all_metrics: bool = False,
    all_pairs: bool = False,
) -> tuple[pd.DataFrame, list[str]]:
    """Return verdicts as `metrics.verdicts` gives them, a row per property, figure and pair, and what to know of them.

    Where arms have several trainings, the row is of the mean over their seeds, and its interval over crystals and
    seeds, as in `metrics.seed_verdicts`.

    Args:
        folders: Of evaluations, by name.
        arms: The names of each arm's evaluations, a training seed each; the first arm is the baseline.
        all_metrics: Every figure, not those alone that verdicts are given on.
        all_pairs: Each against each before it.

    Raises:
        ValueError: One is no such evaluation, arms have other numbers of seeds, or they predict no property, or no
            crystal, in common.
    """
    outcomes = {name: read_property_outcome(folder) for name, folder in folders.items()}
    seeds, pairs = max(map(len, arms.values())), named_pairs(arms, "all" if all_pairs else "first")
    rows: list[dict[str, object]] = []
    for a, b in pairs:
        trainings = matched(arms, a, b) if seeds > 1 else (list(arms[a]), list(arms[b]))
        rows += _pair(outcomes, folders, (a, b), trainings, all_metrics)
    adjusted = holm([float(str(row["p"])) for row in rows])
    for row, p in zip(rows, adjusted, strict=True):
        row["p_adjusted"] = float(p)
        row["verdict"] = verdict_of(float(str(row["difference"])), float(p), str(row["better_is"]))
    frame = pd.DataFrame(rows, columns=list(SEED_COLUMNS if seeds > 1 else VERDICT_COLUMNS))
    frame.attrs[PAIRED] = "crystal"
    if seeds > 1:
        frame.attrs["intervals"] = OVER_SEEDS.format("crystals")
    met = [pair for a, b in pairs for pair in product(arms[a], arms[b])]
    return frame, [note for a, b in met for note in _notes(outcomes[a], outcomes[b], a, b)]


Trainings = tuple[Sequence[str], Sequence[str]]
"""Of two arms, pair by pair."""


def _pair(
    outcomes: Mapping[str, PropertyEvaluation],
    folders: Mapping[str, Path],
    arms: tuple[str, str],
    trainings: Trainings,
    all_metrics: bool,
) -> list[dict[str, object]]:
    """Return rows of the first arm minus the second, without corrected p and verdict."""
    every = [outcomes[each].targets for side in trainings for each in side]
    shared = [name for name in every[-1] if all(name in targets for targets in every)]
    if not shared:
        there = "; ".join(f"{each} predicts {', '.join(outcomes[each].targets)}" for side in trainings for each in side)
        raise ValueError(f"{' and '.join(arms)} predict no property in common ({there})")
    return [row for name in shared for row in _property(outcomes, folders, arms, trainings, name, all_metrics)]


def _property(
    outcomes: Mapping[str, PropertyEvaluation],
    folders: Mapping[str, Path],
    arms: tuple[str, str],
    trainings: Trainings,
    name: str,
    all_metrics: bool,
) -> list[dict[str, object]]:
    def told(each: str) -> Told:
        return Told.of(folders[each], outcomes[each].targets[name].target, outcomes[each].name)

    pairs = [(told(a), told(b)) for a, b in zip(*trainings, strict=True)]
    shown = shown_of(pairs[0][0].target, all_metrics=all_metrics)
    if len(pairs) == 1:
        n, gaps = differences(*pairs[0], shown, names=arms)
    else:
        n, gaps = _over_seeds(pairs, shown, list(zip(*trainings, strict=True)))
    longest = max(len(each.table) for pair in pairs for each in pair)
    note = "" if 2 * n >= longest else f"{name}: only {n:,} of {longest:,} crystals are in both."
    return [
        {
            "metric": f"{name}: {each.title}",
            "a": arms[0],
            "b": arms[1],
            "difference": gap.difference,
            "low": gap.low,
            "high": gap.high,
            "p": gap.p,
            "n": gap.n,
            "clusters": gap.n,
            "better_is": each.direction,
            "note": note,
            "seeds": len(pairs),
            "seed_deviation": gap.deviation if isinstance(gap, OverSeeds) else np.nan,
        }
        for each, gap in gaps
    ]


def differences(
    first: Told, second: Told, shown: Sequence[Statistic], *, names: tuple[str, str]
) -> tuple[int, list[tuple[Statistic, Difference]]]:
    """Return how many labelled crystals two rows have in common, and of each figure the first minus the second.

    Args:
        first: What one says.
        second: What the other says of the same property.
        shown: Figures.
        names: What they are called, for errors.

    Raises:
        ValueError: They have no labelled crystal in common, or other labels for the same ids.
    """
    ids = _shared_ids([first, second], names)
    own, theirs = _answers(first, second, ids, names)
    differing = int((own.predicted != theirs.predicted).reshape(len(ids), -1).any(axis=1).sum())
    drawn = sampled(shown, own), sampled(shown, theirs)
    gaps = [(each, difference_of(drawn[0][each.name], drawn[1][each.name], len(ids), differing)) for each in shown]
    return len(ids), gaps


def _over_seeds(
    pairs: Sequence[tuple[Told, Told]], shown: Sequence[Statistic], names: Sequence[tuple[str, str]]
) -> tuple[int, list[tuple[Statistic, Difference]]]:
    """Return `differences` of the means over pairs of trainings, on the crystals that all predict."""
    ids = _shared_ids([each for pair in pairs for each in pair], names[0])
    drawn = []
    for (first, second), called in zip(pairs, names, strict=True):
        own, theirs = _answers(first, second, ids, called)
        drawn.append((sampled(shown, own), sampled(shown, theirs)))
    gaps: list[tuple[Statistic, Difference]] = []
    for each in shown:
        found = crossed_resamples(np.stack([a[each.name] - b[each.name] for a, b in drawn]), len(ids))
        gaps.append((each, OverSeeds.of(found, len(ids))))
    return len(ids), gaps


def _shared_ids(told: Sequence[Told], names: tuple[str, str]) -> pd.Index:
    ids = reduce(pd.Index.intersection, [each.table.index for each in told]).sort_values()
    if not len(ids):
        raise ValueError(f"{names[0]} and {names[1]} have no labelled crystal of {told[0].target.name} in common")
    return ids


def _answers(first: Told, second: Told, ids: pd.Index, names: tuple[str, str]) -> tuple[Answers, Answers]:
    own, theirs = first.answers(ids), second.answers(ids)
    if own.truth.shape != theirs.truth.shape or not np.allclose(own.truth, theirs.truth, rtol=1e-6):
        raise ValueError(
            f"{names[0]} and {names[1]} have other labels of {first.target.name} for the same ids; evaluate both on "
            "one data set"
        )
    return own, theirs


def shown_of(target: PropertyTarget, *, all_metrics: bool) -> list[Statistic]:
    """Return the figures of a property that are compared: those that have a better side, or the headline alone."""
    chosen = compared_of(target.kind, logged=target.log10)
    return [
        each
        for each in statistics_of(target.kind, logged=target.log10)
        if each.direction != "none" and (all_metrics or each.name in chosen)
    ]


def _notes(a: PropertyEvaluation, b: PropertyEvaluation, first: str, second: str) -> list[str]:
    notes = []
    if a.data.get("data_sha256") != b.data.get("data_sha256"):
        notes.append(f"{first} predicts other crystals than {second}; only what both have is compared")
    if a.data.get("training_sha256") != b.data.get("training_sha256"):
        notes.append(f"{first} was trained on other crystals than {second}")
    if versions := sorted(k for k in {*a.versions, *b.versions} if a.versions.get(k) != b.versions.get(k)):
        notes.append(f"{first} was measured with other versions than {second}: {', '.join(versions)}")
    return notes


def _numbers(texts: pd.Series) -> NDArray[np.float64]:
    return np.asarray(texts.astype(float), dtype=np.float64)


def _lists(texts: Sequence[str] | pd.Series) -> NDArray[np.float64]:
    return np.array([json.loads(each) for each in texts], dtype=np.float64)
