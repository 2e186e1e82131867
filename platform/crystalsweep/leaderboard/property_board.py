"""A leaderboard of property models: evaluations of one property on the same crystals, with ties and their baselines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from mlflow.entities import Run

from crystalsweep.evaluation.outcome import METRICS_FILE, Figure
from crystalsweep.evaluation.properties.asked import PropertyTarget
from crystalsweep.evaluation.properties.comparing import Told, differences
from crystalsweep.evaluation.properties.outcome import (
    PREDICTIONS_FILE,
    PropertyEvaluation,
    TargetOutcome,
    is_property_evaluation,
    read_property_outcome,
)
from crystalsweep.evaluation.properties.report import best_baseline, headline_of, shown_statistics
from crystalsweep.leaderboard.runs import Found, aliases, find_runs
from crystalsweep.leaderboard.tables import fetch_of_evaluations
from crystalsweep.leaderboard.ties import Rank, letters, ranks, tie_groups
from crystalsweep.metrics.properties.baselines import BASELINES
from crystalsweep.metrics.properties.statistic import Difference, Statistic, verdict_of
from crystalsweep.metrics.verdicts import holm
from crystalsweep.structures.targets import target_of
from crystalsweep.tracking.tracker import Tracker


@dataclass(frozen=True, kw_only=True)
class PropertyEntry:
    """One evaluation of one run, of one property."""

    run: str
    name: str
    """The run's."""
    folder: Path
    """Its metrics.json on this machine."""
    artifact: str
    outcome: PropertyEvaluation
    found: TargetOutcome
    """Of the property."""

    @property
    def figure(self) -> Figure:
        """The headline."""
        return self.found.rows[self.outcome.name][headline_of(self.found)]

    @property
    def measured(self) -> tuple[str, ...]:
        """What was asked, and by which versions: entries where this agrees can be ranked together."""
        versions = sorted(f"{name} {version}" for name, version in self.outcome.versions.items())
        return str(self.outcome.data["data_sha256"]), *versions


@dataclass(frozen=True, kw_only=True)
class PropertyRow:
    """A model."""

    rank: Rank
    letters: str
    """Rows that share one are not resolved from each other."""
    entry: PropertyEntry
    best_baseline: str
    """Its own, the best on the headline figure; empty where none has it."""
    verdict: str
    """The model against that, as its evaluation says; corrected over the comparisons there."""
    aliases: Sequence[str]
    """Registry names that point here, as `crystal-property-k_vrh@champion`."""


@dataclass(frozen=True, kw_only=True)
class PropertyBoard:
    """What `build_property_board` found."""

    target: PropertyTarget
    statistic: Statistic
    """Ranks."""
    where: str
    n: int
    """Labelled crystals."""
    source: str
    """Of them."""
    rows: Sequence[PropertyRow]
    groups: Sequence[tuple[int, ...]]
    """Rows of which no two are resolved, by position."""
    baselines: Mapping[str, Figure]
    """By name, of the first row's evaluation."""
    comparisons: int
    """Pairs that verdicts are corrected for."""
    candidates: int
    """Models measured alike, shown or not."""
    left_out: Sequence[str]
    notes: Sequence[str]


def build_property_board(
    tracker: Tracker,
    named: Sequence[str],
    downloads: Path,
    *,
    target: str,
    query: str = "",
    like: str | None = None,
    top: int = 20,
) -> PropertyBoard:
    """Find, fetch, rank.

    Args:
        tracker: The store.
        named: Experiments or run ids; none means every experiment.
        downloads: Where fetched files are kept.
        target: As `k_vrh`, `log10(k_vrh)` or `e_above_hull<=0`.
        query: MLflow search expression.
        like: Start of a run id: rank what was measured as it was, not the largest set.
        top: Rows shown and compared.

    Raises:
        ValueError: There is no evaluation of this property, saying which there are, or none can be read.
    """
    name = target_of(target).name
    found = find_runs(tracker, named, query=query)
    entries, left_out = _entries(tracker, found, downloads, name)
    alike, others = _alike(entries, like)
    (shown,) = [each for each in shown_statistics(alike[0].found) if each.name == headline_of(alike[0].found)]
    ordered = sorted(alike, key=lambda each: _from_the_best(each.figure, shown))
    chosen, told, lost = _predictions(tracker, found.runs, ordered[:top], downloads)
    gaps = _gaps(told, shown)
    pairs = _won(gaps, shown)
    groups = tie_groups(len(chosen), pairs)
    places, marks, known_as = ranks(len(chosen), pairs), letters(len(chosen), groups), aliases(tracker)
    rows = [_row(each, places[i], marks[i], known_as) for i, each in enumerate(chosen)]
    first = chosen[0]
    own = first.found.rows
    return PropertyBoard(
        target=first.found.target,
        statistic=shown,
        where=found.where,
        n=first.found.n,
        source=f"{first.outcome.data['source']} ({first.outcome.data['part']})",
        rows=rows,
        groups=groups,
        baselines={row: own[row][shown.name] for row in BASELINES[first.found.target.kind] if row in own},
        comparisons=sum(gap.p == gap.p for gap in gaps.values()),
        candidates=len(alike),
        left_out=[*left_out, *others, *lost],
        notes=_notes(chosen, len(alike)),
    )


def _entries(tracker: Tracker, found: Found, downloads: Path, name: str) -> tuple[list[PropertyEntry], list[str]]:
    """Return the first evaluation of each run of this property on the same crystals, and what is left out, in words."""
    runs = {str(run.info.run_id): run for run in found.runs}
    files, left_out = fetch_of_evaluations(tracker, found.runs, downloads, METRICS_FILE)
    entries: dict[tuple[str, tuple[str, ...]], PropertyEntry] = {}
    there: set[str] = set()
    for (run, artifact), file in files.items():
        try:
            if not is_property_evaluation(file.parent):
                continue
            outcome = read_property_outcome(file.parent)
        except ValueError as error:
            left_out.append(f"{run[:8]}: {error}")
            continue
        there |= outcome.targets.keys()
        if name in outcome.targets:
            entry = PropertyEntry(
                run=run,
                name=str(runs[run].info.run_name),
                folder=file.parent,
                artifact=artifact,
                outcome=outcome,
                found=outcome.targets[name],
            )
            entries.setdefault((run, entry.measured), entry)
    if not entries:
        known = f"evaluations there are of {', '.join(sorted(there))}" if there else "there is none of any property"
        raise ValueError(
            f"no evaluation of {name} in {found.where} of {tracker.uri}: {known}; log one with `crystalsweep evaluate "
            "--checkpoint RUN_ID --tracking-uri URI`"
        )
    return list(entries.values()), left_out


def _alike(entries: Sequence[PropertyEntry], like: str | None) -> tuple[list[PropertyEntry], list[str]]:
    """Return the largest set that was measured alike, or the one of `like`, and what is left out."""
    sets: defaultdict[tuple[str, ...], list[PropertyEntry]] = defaultdict(list)
    for each in entries:
        sets[each.measured].append(each)
    if like:
        of_run = [key for key, members in sets.items() if any(each.run.startswith(like) for each in members)]
        if not of_run:
            raise ValueError(f"no evaluation of this property is of a run {like}…")
        chosen = of_run[0]
    else:
        chosen = max(sets, key=lambda key: len(sets[key]))
    left = [each for key, members in sets.items() if key != chosen for each in members]
    told = f"{len(left)} evaluations on other crystals or by other versions; --like RUN_ID ranks those" if left else ""
    return sets[chosen], [told] if told else []


def _from_the_best(figure: Figure, shown: Statistic) -> tuple[bool, float]:
    """Sort key; undefined ones come last."""
    mean = figure.mean
    return mean is None, 0.0 if mean is None else mean if shown.direction == "lower" else -mean


def _predictions(
    tracker: Tracker, runs: Sequence[Run], ordered: Sequence[PropertyEntry], downloads: Path
) -> tuple[list[PropertyEntry], list[Told], list[str]]:
    """Return the entries whose predictions can be read, those, and why others cannot be."""
    asked = {each.run for each in ordered}
    files, lost = fetch_of_evaluations(
        tracker, [run for run in runs if str(run.info.run_id) in asked], downloads, PREDICTIONS_FILE
    )
    chosen, told = [], []
    for each in ordered:
        file = files.get((each.run, each.artifact))
        if file is None:
            continue
        try:
            told.append(Told.of(file.parent, each.found.target, each.outcome.name))
            chosen.append(each)
        except ValueError as error:
            lost.append(f"{each.run[:8]}: {error}")
    if not chosen:
        raise ValueError(f"no predictions could be read: {'; '.join(lost)}")
    return chosen, told, lost


def _gaps(told: Sequence[Told], shown: Statistic) -> dict[tuple[int, int], Difference]:
    """Return the difference of each pair of rows, the first minus the second, paired by crystal."""
    found = {}
    for i, j in combinations(range(len(told)), 2):
        _, ((_, gap),) = differences(told[i], told[j], [shown], names=(f"row {i + 1}", f"row {j + 1}"))
        found[i, j] = gap
    return found


def _won(gaps: Mapping[tuple[int, int], Difference], shown: Statistic) -> list[tuple[int, int]]:
    """Return winner and loser of each resolved pair, by position; p corrected over all pairs by Holm's method."""
    adjusted = holm([gap.p for gap in gaps.values()])
    pairs = []
    for ((i, j), gap), p in zip(gaps.items(), adjusted, strict=True):
        verdict = verdict_of(gap.difference, float(p), shown.direction)
        if verdict != "not resolved":
            pairs.append((i, j) if verdict == "better" else (j, i))
    return pairs


def _row(entry: PropertyEntry, rank: Rank, mark: str, known_as: Mapping[str, Sequence[str]]) -> PropertyRow:
    best, headline = best_baseline(entry.found), headline_of(entry.found)
    said = [each.verdict for each in entry.found.verdicts if (each.metric, each.against) == (headline, best)]
    return PropertyRow(
        rank=rank,
        letters=mark,
        entry=entry,
        best_baseline=best or "",
        verdict=said[0] if said else "",
        aliases=known_as.get(entry.run, []),
    )


def _notes(chosen: Sequence[PropertyEntry], candidates: int) -> list[str]:
    """Tell what keeps a reader from taking the board for more than it says."""
    notes = ["One training per row: intervals and ties are of these trained models, not of their settings."]
    if candidates > 1:
        notes.append(
            f"The best of {candidates} chosen on the crystals that rank them looks better than it is: confirm it on "
            "others with `crystalsweep evaluate --checkpoint RUN_ID`."
        )
    if len({str(each.outcome.data.get("training_sha256")) for each in chosen}) > 1:
        notes.append(
            "Rows were trained on different crystals. Baselines below the line are fitted on those of the first row; "
            "each verdict is against the row's own."
        )
    flagged = {f"{each.name}: {line}" for each in chosen for line in each.outcome.flags.get(each.outcome.name, [])}
    return [*notes, *sorted(flagged)]
