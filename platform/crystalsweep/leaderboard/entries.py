"""What a run offers to be ranked by, and how it was measured: only runs measured alike are ranked together."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlflow.entities import Run

from crystalsweep.config import as_parameters
from crystalsweep.evaluation.arms import recipe_of
from crystalsweep.evaluation.outcome import Evaluation, Figure
from crystalsweep.evaluation.publishing import ARTIFACTS, LOGGED
from crystalsweep.leaderboard.runs import Found, of_generator
from crystalsweep.metrics.baselines import REFERENCES
from crystalsweep.tracking.tags import PARENT

On = Literal["validation", "evaluation"]

_CONTROL = "control"
"""Tag of a sweep's control arms."""
_SAMPLE = ("stable_only", "max_atoms")
"""Parameters of a training that say which validation crystals it is judged on."""
_NEW_AGAINST = {"novel_vs_reference", "sun"}
_OF_THE_HULL = {"e_above_hull", "e_above_hull_relaxed", "stable", "stable_relaxed", "sun"}
_TOLD = 5
"""Sets of runs that were measured otherwise of which it is said how; the largest."""
_SEED = re.compile(r",?\s*\bseed[ =]\d+")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One table of scores of one run."""

    run: str
    name: str
    experiment: str
    """Its id."""
    sweep: str | None
    """Run id of its sweep."""
    control: bool
    params: Mapping[str, str]
    """What it was trained with."""
    measured: Mapping[str, str]
    """Crystals, protocol and settings: entries where these agree can be ranked together."""
    known: Mapping[str, float]
    """Logged means by metric, NaN where undefined."""
    table: str
    """Its artifact."""
    ended: int
    """ms since 1970."""
    code: str
    """Hash of the code that trained it; empty where unknown, or where what measured is among `measured`."""
    references: Mapping[str, Mapping[str, Figure]]
    """Of an evaluation, its reference rows by metric."""
    weights: str = ""
    """sha256 of an evaluated model's; empty where unknown."""


@dataclass(frozen=True, kw_only=True)
class Contender:
    """What is one row of the board: a run, or the runs of one setting that differ in their seed."""

    name: str
    entries: tuple[Entry, ...]

    def known(self, metric: str) -> float:
        """Return mean of the logged means; NaN where one is missing."""
        return sum(entry.known.get(metric, float("nan")) for entry in self.entries) / len(self.entries)


def validations_of(found: Found) -> tuple[list[Entry], list[str]]:
    """Return entries of runs whose checkpoint holds the table of its last validation, and what is left out, in
    words."""
    finished = [run for run in found.runs if run.info.status == "FINISHED" and of_generator(run)]
    judged = [run for run in finished if "val/structural_validity" in run.data.metrics]
    missing = len(finished) - len(judged)
    entries = [
        _entry(
            run,
            name=str(run.info.run_name),
            measured=_how_validated(run),
            known=_logged(run.data.metrics, "val"),
            table="checkpoint/evaluation.parquet",
            references={},
        )
        for run in judged
    ]
    return entries, [f"{missing} without a validation of restored crystals"] if missing else []


def evaluation_folders(run: Run) -> list[str]:
    """Return artifact folders of what `crystalsweep evaluate` logged to a run."""
    return sorted(f"{ARTIFACTS}/{value}" for tag, value in run.data.tags.items() if tag.startswith(f"{LOGGED}."))


def evaluations_of(
    found: Found, outcomes: Mapping[tuple[str, str], Evaluation], metric: str
) -> tuple[list[Entry], list[str]]:
    """Return entries of evaluations, by run id and artifact folder, for ranking by `metric`; reference rows are
    none."""
    entries = []
    references = 0
    for run in found.runs:
        for folder in evaluation_folders(run):
            outcome = outcomes.get((str(run.info.run_id), folder))
            if outcome is None or "reference_row" in outcome.model:
                references += outcome is not None
                continue
            entries.append(
                _entry(
                    run,
                    name=str(run.info.run_name),
                    measured=_how_evaluated(outcome, metric),
                    known={key: _mean(figure) for key, figure in outcome.rows[outcome.name].items()},
                    table=f"{folder}/structures.parquet",
                    references={name: row for name, row in outcome.rows.items() if name in REFERENCES},
                    params=_trained_as(outcome, run),
                    weights=f"{outcome.model.get('weights_sha256', '')}{outcome.model.get('critic_sha256', '')}",
                )
            )
    rows = "1 evaluation of a reference row" if references == 1 else f"{references} evaluations of reference rows"
    return entries, [f"{rows}, which stand below the table"] if references else []


def _entry(
    run: Run,
    *,
    name: str,
    measured: Mapping[str, str],
    known: Mapping[str, float],
    table: str,
    references: Mapping[str, Mapping[str, Figure]],
    params: Mapping[str, str] | None = None,
    weights: str = "",
) -> Entry:
    return Entry(
        run=str(run.info.run_id),
        name=name,
        experiment=str(run.info.experiment_id),
        sweep=run.data.tags.get(PARENT),
        control=run.data.tags.get(_CONTROL) == "true",
        params=run.data.params if params is None else params,
        measured=measured,
        known=known,
        table=table,
        ended=int(run.info.end_time or 0),
        code=run.data.tags.get("code_sha256", "") if not references else "",
        references=references,
        weights=weights,
    )


def _trained_as(outcome: Evaluation, run: Run) -> dict[str, str]:
    """Return what a model was trained with; of crystals from a file, whose training nobody knows, the run alone."""
    model = outcome.model
    if "config" not in model:
        return {"run": str(run.info.run_id)}
    told = {key: json.dumps(value, sort_keys=True) for key, value in recipe_of(model).items()}
    return told | {key: str(model.get(key)) for key in ("stage", "trained_on", "split")}


def _mean(figure: Figure) -> float:
    return float("nan") if figure.mean is None else figure.mean


def _logged(metrics: Mapping[str, float], prefix: str) -> dict[str, float]:
    """Return `val/score` as `score`; bounds, counts and single conditions are left out."""
    return {key.split("/")[1]: value for key, value in metrics.items() if re.fullmatch(rf"{prefix}/[^/]+", key)}


def _how_validated(run: Run) -> dict[str, str]:
    tags, params = run.data.tags, run.data.params
    named = {"data": tags.get("data_sha256", "unknown"), "split": tags.get("split_sha256", "unknown")}
    protocol = {key: value for key, value in params.items() if key.startswith("evaluation.") or key in _SAMPLE}
    return named | protocol | ({"smact": tags["smact"]} if "smact" in tags else {})


def _how_evaluated(outcome: Evaluation, metric: str) -> dict[str, str]:
    settings, data = outcome.settings, outcome.data
    told = as_parameters(settings)
    kept = {key: value for key, value in told.items() if key not in _SAMPLE}
    against = {"reference": str(data.get("reference_sha256"))} if metric in _NEW_AGAINST else {}
    hull = {"hull": str(data.get("hull_sha256"))} if metric in _OF_THE_HULL else {}
    versions = {f"version of {name}": value for name, value in outcome.versions.items()}
    # Crystals from files have no inputs in common; whether their originals are the same, the tables tell.
    judged_on = data.get("originals") if outcome.kind == "structures" else data.get("data_sha256")
    return {"data": str(judged_on), "kind": outcome.kind} | kept | against | hull | versions


def comparable(entries: Sequence[Entry], like: str | None = None) -> tuple[list[Entry], list[str]]:
    """Return the largest set of entries that were measured alike, or that of run `like`, and what the others are.

    Of several equal evaluations of a run the last is kept. Of sets of one size, the one with the latest run.

    Raises:
        ValueError: `like` is not among the entries.
    """
    groups: defaultdict[tuple[tuple[str, str], ...], dict[str, Entry]] = defaultdict(dict)
    for entry in entries:
        groups[tuple(sorted(entry.measured.items()))][entry.run] = entry
    ordered = sorted(groups.values(), key=lambda each: (len(each), max(e.ended for e in each.values())), reverse=True)
    if like is not None:
        ordered.sort(key=lambda each: not any(run.startswith(like) for run in each))  # stable
        if not ordered or not any(run.startswith(like) for run in ordered[0]):
            raise ValueError(f"run {like} is not among the {len(entries)} that could be ranked")
    if not ordered:
        return [], []
    shown, *others = ordered
    first = next(iter(shown.values()))
    told = [_otherwise(first, list(other.values())) for other in others[:_TOLD]]
    if rest := others[_TOLD:]:
        told.append(f"{sum(map(len, rest))} more in {len(rest)} smaller sets measured otherwise")
    return list(shown.values()), told


def _otherwise(shown: Entry, others: Sequence[Entry]) -> str:
    """Return what sets other entries apart from what is shown."""
    a, b = shown.measured, others[0].measured
    keys = [key for key in dict.fromkeys([*a, *b]) if a.get(key) != b.get(key)]
    told = [f"{key} {_short(b.get(key))} instead of {_short(a.get(key))}" for key in keys[:3]]
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return f"{len(others)} measured otherwise: {', '.join(told)}{more} (--like {others[0].run[:8]} shows them)"


def _short(value: str | None) -> str:
    if value is None:
        return "none"
    return value[:8] if re.fullmatch(r"[0-9a-f]{16,}", value) else value


def contenders(entries: Sequence[Entry], *, seeds: bool) -> list[Contender]:
    """Return a row per run, or with `seeds` per setting. Names are unique: where runs share one, their id is added."""
    groups: defaultdict[tuple[object, ...], list[Entry]] = defaultdict(list)
    # one training, evaluated twice, is no second seed
    once = {(entry.control, entry.weights or entry.run): entry for entry in entries}
    for entry in once.values() if seeds else entries:
        same = tuple(sorted((key, value) for key, value in entry.params.items() if key != "seed"))
        groups[(entry.control, same) if seeds else (entry.run,)].append(entry)
    names = [_setting(group[0].name) if seeds else group[0].name for group in groups.values()]
    return [
        Contender(
            name=name if names.count(name) == 1 else f"{name} {group[0].run[:8]}",
            entries=tuple(group),
        )
        for name, group in zip(names, groups.values(), strict=True)
    ]


def _setting(name: str) -> str:
    return _SEED.sub("", name) or name


def cached(entry: Entry, downloads: Path) -> Path:
    """Return where its table is kept: by run and by when it ended, since a resumed sweep may end it anew."""
    return downloads / "tables" / f"{entry.run}-{entry.ended}" / entry.table
