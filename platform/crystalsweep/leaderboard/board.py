"""The leaderboard: comparable runs in the order of a metric, with ranks, ties, references, and what was left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import ndtri, stdtr

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
    lineup = _find_lineup(tracker, found, downloads, measure, on, like=like, seeds=seeds)
    ranking = _rank(tracker, lineup, downloads, top)
    board = _assemble(lineup, ranking, aliases(tracker))
    return replace(board, strata=_by_stratum(tracker, board, ranking, by, downloads), by=by) if by else board


@dataclass(frozen=True, kw_only=True)
class _Lineup:
    """What could be ranked, before any table of scores is fetched for it."""

    metric: Metric
    on: On
    found: Found
    entries: Sequence[Entry]
    """Measured alike."""
    ordered: Sequence[Contender]
    """The same as rows of the board, in the order of their logged means."""
    left_out: Sequence[str]
    seeds: bool
    """Whether runs that differ in nothing but their seed are one row."""


@dataclass(frozen=True, kw_only=True)
class _Ranking:
    """The rows shown, ranked by their tables."""

    ranked: Sequence[Contender]
    """The best first; what is given by position follows this order."""
    tables: Mapping[str, Sequence[pd.DataFrame]]
    figures: Mapping[str, Interval]
    verdicts: pd.DataFrame
    won: Sequence[tuple[int, int]]
    """Winner and loser of each resolved pair, by position."""
    groups: Sequence[tuple[int, ...]]
    """Rows of which no two are resolved, by position."""
    left_out: Sequence[str]
    """Of the lineup, and what has no table that can be used."""

    @property
    def entries(self) -> list[Entry]:
        """All of the rows, in their order."""
        return [entry for each in self.ranked for entry in each.entries]


def _find_lineup(
    tracker: Tracker, found: Found, downloads: Path, metric: Metric, on: On, *, like: str | None, seeds: bool
) -> _Lineup:
    """Find what was measured alike among the runs. Raises `ValueError` where there is nothing to rank."""
    entries, left_out = _entries(tracker, found, downloads, metric, on)
    if not entries:
        raise ValueError(_nothing(found, left_out, on, tracker))
    chosen, others = comparable(entries, like)
    return _Lineup(
        metric=metric,
        on=on,
        found=found,
        entries=chosen,
        ordered=_ordered(contenders(chosen, seeds=seeds), metric),
        left_out=[*left_out, *others],
        seeds=seeds,
    )


def _rank(tracker: Tracker, lineup: _Lineup, downloads: Path, top: int) -> _Ranking:
    """Rank the best by their tables, which it fetches. Raises `ValueError` where none can be used."""
    metric, best = lineup.metric, lineup.ordered[:top]
    tables, lost = _own_tables(tracker, best, downloads)
    left_out = [*lineup.left_out, *lost]
    _require_defined(tables, metric, left_out)
    figures = {name: metric_interval(metric, each) for name, each in tables.items()}
    shown = [each for each in best if each.name in tables]
    ranked = sorted(shown, key=lambda each: _from_the_best(figures[each.name].mean, metric))
    verdicts = all_pairs(metric, {each.name: tables[each.name] for each in ranked})
    won = _won(verdicts, {each.name: i for i, each in enumerate(ranked)})
    return _Ranking(
        ranked=ranked,
        tables=tables,
        figures=figures,
        verdicts=verdicts,
        won=won,
        groups=tie_groups(len(ranked), won),
        left_out=left_out,
    )


def _assemble(lineup: _Lineup, ranking: _Ranking, known_as: Mapping[str, Sequence[str]]) -> Board:
    """Put rows, references and notes together."""
    metric, shown = lineup.metric, [each.name for each in ranking.ranked]
    rows = _rows(lineup, ranking, known_as)
    return Board(
        metric=metric,
        on=lineup.on,
        where=lineup.found.where,
        rows=rows,
        groups=ranking.groups,
        references=references(metric.name, [*ranking.entries, *lineup.entries], lineup.found.sweeps),
        verdicts=ranking.verdicts,
        candidates=len(lineup.ordered),
        left_out=ranking.left_out,
        notes=[*_notes(lineup, ranking, rows), *_below(metric, lineup.ordered, shown, known_as)],
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


def _rows(lineup: _Lineup, ranking: _Ranking, known_as: Mapping[str, Sequence[str]]) -> list[BoardRow]:
    """Return what is shown of each contender, the best first."""
    n, tables = len(ranking.ranked), ranking.tables
    places, marks = ranks(n, ranking.won), letters(n, ranking.groups)
    varied = _varied(ranking.entries, seeds=lineup.seeds)
    return [
        BoardRow(
            name=each.name,
            rank=places[i],
            letters=marks[i],
            figure=ranking.figures[each.name],
            beside=_beside(tables[each.name], lineup.metric),
            runs=[entry.run for entry in each.entries],
            experiment=each.entries[0].experiment,
            control=each.entries[0].control,
            sweep=_sweep_name(each.entries[0], lineup.found),
            aliases=[alias for entry in each.entries for alias in known_as.get(entry.run, [])],
            settings={key: each.entries[0].params.get(key, "") for key in varied},
            between_seeds=spread(lineup.metric, tables[each.name]),
        )
        for i, each in enumerate(ranking.ranked)
    ]


def _beside(tables: Sequence[pd.DataFrame], ranks_by: Metric) -> dict[str, Interval]:
    """Return a row's means of the other metrics by name."""
    shown = [other for other in available(_BESIDE, tables[0]) if other is not ranks_by]
    return {other.name: metric_interval(other, tables) for other in shown}


def _by_stratum(tracker: Tracker, board: Board, ranking: _Ranking, by: str, downloads: Path) -> pd.DataFrame:
    """Return the means of rows and references in each bin of a stratum."""
    own = {name: pd.concat(each, ignore_index=True) for name, each in ranking.tables.items()}
    known = fetch_references(tracker, ranking.entries[0], downloads)
    return _strata(board.metric, own | {name: table for name, table in known.items() if name in board.references}, by)


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
        where = f"{found.where} of {tracker.uri}"
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


def _notes(lineup: _Lineup, ranking: _Ranking, rows: Sequence[BoardRow]) -> list[str]:
    """Tell what keeps a reader from taking the board for more than it says."""
    return [
        *_notes_on_power(rows[0].figure.clusters, ranking.verdicts, len(lineup.ordered)),
        _note_on_seeds(rows),
        *_notes_on_what_is_compared(lineup.metric, ranking),
    ]


def _notes_on_power(parents: int, verdicts: pd.DataFrame, candidates: int) -> list[str]:
    """Warn where no difference can be resolved, and of the best of many."""
    notes = []
    n = n_comparisons(verdicts) if len(verdicts) else 0
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
    return notes


def _note_on_seeds(rows: Sequence[BoardRow]) -> str:
    """Tell whether intervals are of trained models or of settings."""
    if all(len(row.runs) == 1 for row in rows):
        return "One training per row: intervals and ties are of these trained models, not of their settings."
    return (
        "A row is the mean of trainings that differ in their seed; its interval is over crystals, and ± is the "
        "standard deviation between seeds."
    )


def _notes_on_what_is_compared(metric: Metric, ranking: _Ranking) -> list[str]:
    """Tell of crystals that pairs are not compared on, and of several versions of the code."""
    notes = []
    whole = [table for each in ranking.tables.values() for table in each]
    if metric.name != "score" and any(metric.values(table).isna().any() for table in whole):
        notes.append(f"{metric.title}: pairs are compared over the crystals for which both define it.")
    if undecided := sum(map(metric.undecided_in, whole)):
        notes.append(f"{metric.title}: {undecided:,} rows of all runs are undecided, and in no mean.")
    if len(code := {entry.code for entry in ranking.entries} - {""}) > 1:
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
