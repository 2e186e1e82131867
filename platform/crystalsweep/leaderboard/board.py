"""The leaderboard: comparable runs in the order of a metric, with ranks, ties, references, and what was left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import ndtri, stdtr

from crystalsweep.artifacts.addresses import shown_address
from crystalsweep.leaderboard.entries import (
    Contender,
    Entry,
    On,
    comparable,
    contenders,
    evaluations_of,
    validations_of,
)
from crystalsweep.leaderboard.measures import all_pairs, chosen_metric, metric_interval, spread, unlike
from crystalsweep.leaderboard.references import references
from crystalsweep.leaderboard.runs import Found, aliases, find_runs, unfinished
from crystalsweep.leaderboard.tables import fetch_outcomes, fetch_references, fetch_tables
from crystalsweep.leaderboard.ties import Rank, letters, ranks, tie_groups
from crystalsweep.metrics.bootstrap import Interval
from crystalsweep.metrics.strata import STRATA, binned
from crystalsweep.metrics.summary import METRICS, ROW_SCORE, SECONDARY, Metric, available
from crystalsweep.metrics.verdicts import n_comparisons
from crystalsweep.tracking.tracker import Tracker

FEW_PARENTS = 10
"""Parents below which a stratum's mean is marked: its interval means little."""

_BESIDE = (ROW_SCORE, *METRICS, *(metric for metric in SECONDARY if metric.name == "masked_accuracy"))
"""Shown beside the metric that ranks."""


@dataclass(frozen=True, kw_only=True)
class BoardRow:
    """A run, or the runs of one setting."""

    name: str
    rank: Rank
    letters: str
    """Rows that share one are not resolved from each other."""
    figure: Interval
    beside: Mapping[str, Interval]
    """Other metrics by name."""
    runs: Sequence[str]
    experiment: str
    """MLflow's id."""
    control: bool
    sweep: str
    aliases: Sequence[str]
    """Registry names that point here, as `crystal-generator@champion`."""
    settings: Mapping[str, str]
    """Parameters that differ between the rows."""
    between_seeds: float
    """Standard deviation of the means of several runs; NaN for one."""


@dataclass(frozen=True, kw_only=True)
class Board:
    """What `build_board` found."""

    metric: Metric
    on: On
    where: str
    rows: Sequence[BoardRow]
    groups: Sequence[tuple[int, ...]]
    """Rows of which no two are resolved, by position; the order is that of the letters."""
    references: Mapping[str, Interval]
    verdicts: pd.DataFrame
    """Of all pairs, as `metrics.verdicts` gives them; empty for one row."""
    candidates: int
    """Comparable rows, shown or not."""
    left_out: Sequence[str]
    notes: Sequence[str]
    strata: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Columns name, bin, mean, low, high, n, clusters; empty unless asked for."""
    by: str = ""

    @property
    def comparisons(self) -> int:
        """Pairs that the verdicts are corrected for."""
        return n_comparisons(self.verdicts) if len(self.verdicts) else 0

    @property
    def parents(self) -> int:
        """Parent crystals of every row."""
        return max((row.figure.clusters for row in self.rows), default=0)


def build_board(
    tracker: Tracker,
    named: Sequence[str],
    downloads: Path,
    *,
    metric: str = "score",
    on: On = "validation",
    sweep: str | None = None,
    query: str = "",
    like: str | None = None,
    seeds: bool = False,
    top: int = 20,
    by: str | None = None,
) -> Board:
    """Find, fetch, rank.

    Args:
        tracker: The store.
        named: Experiments or run ids; none means every experiment.
        downloads: Where fetched tables are kept.
        metric: To rank by.
        on: The validation at the end of a training, or what `crystalsweep evaluate` logged.
        sweep: Only trials of this sweep.
        query: MLflow search expression.
        like: Start of a run id: rank what was measured as it was, not the largest set.
        seeds: Runs that differ in nothing but their seed are one row.
        top: Rows shown; only their tables are fetched and only they are compared.
        by: A name of `metrics.strata.STRATA`.

    Raises:
        ValueError: There is nothing to rank, or something that was named is not there.
    """
    measure = chosen_metric(metric, on)
    if by is not None and by not in STRATA:
        raise ValueError(f"there is no stratum {by!r}: choose one of {', '.join(STRATA)}")
    found = find_runs(tracker, named, sweep=sweep, query=query)
    entries, left_out = _entries(tracker, found, downloads, measure, on)
    if not entries:
        raise ValueError(_nothing(found, left_out, on, tracker))
    chosen, others = comparable(entries, like)
    candidates = contenders(chosen, seeds=seeds)
    ordered = _ordered(candidates, measure)
    tables, lost = _own_tables(tracker, ordered[:top], downloads)
    left_out += [*others, *lost]
    _require_defined(tables, measure, left_out)
    figures = {name: metric_interval(measure, each) for name, each in tables.items()}
    shown = [each for each in ordered[:top] if each.name in tables]
    ranked = sorted(shown, key=lambda each: _from_the_best(figures[each.name].mean, measure))
    verdicts = all_pairs(measure, {each.name: tables[each.name] for each in ranked})
    won = _won(verdicts, {each.name: i for i, each in enumerate(ranked)})
    groups, known_as = tie_groups(len(ranked), won), aliases(tracker)
    rows = _rows(ranked, tables, figures, measure, won, groups, known_as, found, seeds=seeds)
    beside = references(measure.name, [*(e for each in ranked for e in each.entries), *chosen], found.sweeps)
    notes = _notes(measure, rows, verdicts, len(candidates), tables, ranked)
    below = _below(measure, ordered, [each.name for each in ranked], known_as)
    return Board(
        metric=measure,
        on=on,
        where=found.where,
        rows=rows,
        groups=groups,
        references=beside,
        verdicts=verdicts,
        candidates=len(candidates),
        left_out=left_out,
        notes=[*notes, *below],
        strata=_by_stratum(tracker, ranked, tables, set(beside), measure, by, downloads) if by else pd.DataFrame(),
        by=by or "",
    )


def _own_tables(
    tracker: Tracker, top: Sequence[Contender], downloads: Path
) -> tuple[dict[str, list[pd.DataFrame]], list[str]]:
    """Return the tables of scores of the best by name, and why some of them cannot be had or paired."""
    tables, lost = fetch_tables(tracker, [entry for each in top for entry in each.entries], downloads)
    lost |= unlike(tables)
    kept = [each for each in top if not any(entry.run in lost for entry in each.entries)]
    own = {each.name: [tables[entry.run] for entry in each.entries] for each in kept}
    return own, [f"{run[:8]}: {why}" for run, why in lost.items()]


def _require_defined(own: Mapping[str, Sequence[pd.DataFrame]], metric: Metric, left_out: Sequence[str]) -> None:
    if not own:
        raise ValueError(f"no table of scores could be used: {'; '.join(left_out)}")
    if not available([metric], pd.concat([table for each in own.values() for table in each[:1]])):
        raise ValueError(f"{metric.name} is undefined in every row of these runs")


def _rows(
    ranked: Sequence[Contender],
    tables: Mapping[str, Sequence[pd.DataFrame]],
    figures: Mapping[str, Interval],
    measure: Metric,
    won: Sequence[tuple[int, int]],
    groups: Sequence[tuple[int, ...]],
    known_as: Mapping[str, Sequence[str]],
    found: Found,
    *,
    seeds: bool,
) -> list[BoardRow]:
    """Return what is shown of each contender, the best first."""
    places, marks = ranks(len(ranked), won), letters(len(ranked), groups)
    varied = _varied([entry for each in ranked for entry in each.entries], seeds=seeds)
    return [
        BoardRow(
            name=each.name,
            rank=places[i],
            letters=marks[i],
            figure=figures[each.name],
            beside={
                other.name: metric_interval(other, tables[each.name])
                for other in available(_BESIDE, tables[each.name][0])
                if other is not measure
            },
            runs=[entry.run for entry in each.entries],
            experiment=each.entries[0].experiment,
            control=each.entries[0].control,
            sweep=_sweep_name(each.entries[0], found),
            aliases=[alias for entry in each.entries for alias in known_as.get(entry.run, [])],
            settings={key: each.entries[0].params.get(key, "") for key in varied},
            between_seeds=spread(measure, tables[each.name]),
        )
        for i, each in enumerate(ranked)
    ]


def _by_stratum(
    tracker: Tracker,
    ranked: Sequence[Contender],
    tables: Mapping[str, Sequence[pd.DataFrame]],
    beside: set[str],
    measure: Metric,
    by: str,
    downloads: Path,
) -> pd.DataFrame:
    """Return the means of rows and references in each bin of a stratum."""
    own = {name: pd.concat(each, ignore_index=True) for name, each in tables.items()}
    known = fetch_references(tracker, ranked[0].entries[0], downloads)
    return _strata(measure, own | {name: table for name, table in known.items() if name in beside}, by)


def _entries(tracker: Tracker, found: Found, downloads: Path, metric: Metric, on: On) -> tuple[list[Entry], list[str]]:
    ended = unfinished(found.runs)
    if on == "validation":
        entries, left_out = validations_of(found)
        return entries, [*([ended] if ended else []), *left_out]
    outcomes, unread = fetch_outcomes(tracker, found.runs, downloads)
    entries, left_out = evaluations_of(found, outcomes, metric.name)
    return [entry for entry in entries if metric.name in entry.known], [*unread, *left_out]


def _nothing(found: Found, left_out: Sequence[str], on: On, tracker: Tracker) -> str:
    """Return one line that says why there is no board, and what to do."""
    why = f" ({'; '.join(left_out)})" if left_out else ""
    if not found.runs:
        where = f"{found.where} of {shown_address(tracker.uri)}"
        return f"no run of crystalsweep in {where}; train with `python sweeps/gan_noise.py`"
    if on == "evaluation":
        remedy = "log one with `crystalsweep evaluate --checkpoint RUN_ID --tracking-uri URI`"
        return f"none of {len(found.runs)} runs in {found.where} has an evaluation with this metric{why}; {remedy}"
    return f"none of {len(found.runs)} runs in {found.where} has finished with a table of scores{why}"


def _from_the_best(value: float, metric: Metric) -> tuple[bool, float]:
    """Sort key; undefined ones come last."""
    return bool(np.isnan(value)), value if metric.direction == "lower" else -value


def _ordered(candidates: Sequence[Contender], metric: Metric) -> list[Contender]:
    return sorted(candidates, key=lambda each: _from_the_best(each.known(metric.name), metric))


def _won(verdicts: pd.DataFrame, position: Mapping[str, int]) -> list[tuple[int, int]]:
    """Return (winner, loser) by position of each resolved pair."""
    pairs = []
    for row in verdicts.to_dict("records"):
        a, b = position[row["a"]], position[row["b"]]
        if row["verdict"] != "not resolved":
            pairs.append((a, b) if row["verdict"] == "better" else (b, a))
    return pairs


def _varied(entries: Sequence[Entry], *, seeds: bool) -> list[str]:
    keys = dict.fromkeys(key for entry in entries for key in entry.params)
    return [
        key for key in keys if not (seeds and key == "seed") and len({entry.params.get(key) for entry in entries}) > 1
    ]


def _sweep_name(entry: Entry, found: Found) -> str:
    run = found.sweeps.get(entry.sweep or "")
    return "" if run is None else str(run.info.run_name)


def _strata(metric: Metric, tables: Mapping[str, pd.DataFrame], by: str) -> pd.DataFrame:
    """Return long form, bins in their order. Raises `ValueError` where tables lack the columns."""
    rows = []
    for name, table in tables.items():
        try:
            bins = binned(table, by)
        except ValueError as error:
            raise ValueError(f"{error} Tables of --on evaluation have it.") from error
        for each, part in table.groupby(bins, observed=True, sort=True):
            found = metric_interval(metric, [part])
            rows.append({"name": name, "bin": str(each), **vars(found)})
    return pd.DataFrame(rows, columns=["name", "bin", "mean", "low", "high", "n", "clusters"])


def _notes(
    metric: Metric,
    rows: Sequence[BoardRow],
    verdicts: pd.DataFrame,
    candidates: int,
    tables: Mapping[str, Sequence[pd.DataFrame]],
    ranked: Sequence[Contender],
) -> list[str]:
    notes = []
    parents, n = rows[0].figure.clusters, n_comparisons(verdicts) if len(verdicts) else 0
    if n and _least_p(parents) * n > 0.05:
        notes.append(
            f"With {parents} parent crystals and {n} comparisons no difference can be resolved: evaluate on more "
            "crystals, or compare fewer runs (--top)."
        )
    if candidates > 1:
        notes.append(
            f"The best of {candidates} chosen on the crystals that rank them looks better than it is: confirm it on "
            "others with crystalsweep evaluate --checkpoint RUN_ID."
        )
    if all(len(row.runs) == 1 for row in rows):
        notes.append("One training per row: intervals and ties are of these trained models, not of their settings.")
    else:
        notes.append(
            "A row is the mean of trainings that differ in their seed; its interval is over crystals, and ± is the "
            "standard deviation between seeds."
        )
    whole = [table for each in tables.values() for table in each]
    if metric.name != "score" and any(metric.values(table).isna().any() for table in whole):
        notes.append(f"{metric.title}: pairs are compared over the crystals for which both define it.")
    if len(code := {entry.code for each in ranked for entry in each.entries} - {""}) > 1:
        notes.append(f"Trained and validated by {len(code)} versions of the code.")
    return notes


def _below(
    metric: Metric, ordered: Sequence[Contender], shown: Sequence[str], known_as: Mapping[str, Sequence[str]]
) -> list[str]:
    """Say where a registered version stands that is not shown."""
    return [
        f"{known_as[entry.run][0]} ({each.name}, {each.known(metric.name):.3f}) is number {place} of {len(ordered)} by "
        f"its logged mean: --top {place} shows it."
        for place, each in enumerate(ordered, 1)
        for entry in each.entries
        if entry.run in known_as and each.name not in shown
    ]


def _least_p(parents: int) -> float:
    """Return the least p that `metrics.verdicts` can give for so many parents, however many resamples."""
    if parents < 2:
        return 1.0
    tail = 1 / 200_000
    return float(2 * stdtr(parents - 1, ndtri(tail) * np.sqrt((parents - 1) / parents)))
