"""Which differences between generators are resolved, with a correction for how many were looked at.

Rows are paired by the corrupted crystal they restore and parents are resampled, with the intervals of `bootstrap`,
which are widened for few parents. Holm's step-down correction (Scand. J. Statist. 6, 65 (1979)) bounds the chance of
any false verdict of a call. The metrics are those of Liu et al., iScience 27, 110672 (2024), Fig. 4, which compares
without intervals. doi:10.1016/j.isci.2024.110672
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtr

from crystalsweep.metrics.bootstrap import resampled_sums, tails
from crystalsweep.metrics.pairing import paired_rows
from crystalsweep.metrics.summary import EXTENDED, METRICS, SECONDARY, WITHOUT_EXEMPT, Metric, computable
from crystalsweep.pages.text import with_interval
from crystalsweep.wording.stranger import in_a_line, tabulated

Pairs = Literal["first", "all"] | Sequence[tuple[str, str]]

VERDICT_COLUMNS = (
    *("metric", "a", "b", "difference", "low", "high", "p", "p_adjusted", "n", "clusters", "verdict", "better_is"),
    "note",
)
"""Of a frame of verdicts; `difference` is a − b, `n` its pairs of rows, `clusters` their parents."""

CORRUPTED = "corrupted crystal"
"""What rows are paired by, unless a frame says otherwise."""

ROUNDING = 1e-9
"""Differences of a row below this are arithmetic and count as none."""

_DRAWS = (10_000, 200_000)
_DRAWS_PER_COMPARISON = 400
"""Resamples grow with the comparisons, so that a corrected p below 0.05 can be reached at all."""

_AT_ONCE = 640_000
"""Resamples of comparisons that are held at once; bounds the memory to about 20 MB."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Comparison:
    """One metric of two tables, summed over the rows of each parent."""

    metric: Metric
    names: tuple[str, str]
    tops: NDArray[np.float64]
    """(parents,) differences."""
    bottoms: NDArray[np.float64]
    """(parents,) weights, > 0."""
    n: int
    note: str


def verdicts(
    tables: Mapping[str, pd.DataFrame],
    metrics: Iterable[Metric] = METRICS,
    *,
    pairs: Pairs = "first",
    keys: Sequence[str] | None = None,
    n_resamples: int | None = None,
    alpha: float = 0.05,
    seed: int = 0,
) -> pd.DataFrame:
    """Return one row per pair of tables and metric, with the columns `VERDICT_COLUMNS`.

    Metrics that a table lacks are left out.

    The verdict is `better` or `worse` (of a) where the corrected p is below `alpha`, else `not resolved`. Intervals
    cover 1 − alpha and are not corrected. A metric that both tables define for fewer than two parents has p NaN and is
    not counted among the comparisons. `note` says where more than half of the rows had no partner, and in the first
    row where so many are compared that nothing could be resolved.

    Args:
        tables: Scored tables by name.
        metrics: What to compare; `summary.available` tells what a table has.
        pairs: `first`: each table (a) against the first (b). `all`: each against each before it. Or (a, b) by name.
        keys: Columns that pair rows; by default `KEYS`, or `parent` where the tables have no mask keys.
        n_resamples: Resamples of the parents; they bound p from below: 10,000 at 0.006 for 10 parents and 0.0002 for
            many.  [default: so many, and more where more than 25 are compared]
        alpha: Chance of any false verdict over all comparisons of the call.
        seed: Of the resampling.

    Raises:
        ValueError: Fewer than two tables, an unknown name, repeated keys, no common keys, or fewer than two parents.
    """
    chosen = tuple(metrics)
    comparisons = [
        comparison
        for a, b in named_pairs(tables, pairs)
        for comparison in _comparisons(tables[a], tables[b], chosen, (a, b), keys)
    ]
    tested = _tested(comparisons, n_resamples or draws_for(len(comparisons)), alpha, seed)
    adjusted = holm(tested[:, 2])
    rows = [
        _row(comparison, low, high, p, p_adjusted, alpha)
        for comparison, (low, high, p), p_adjusted in zip(comparisons, tested.tolist(), adjusted.tolist(), strict=True)
    ]
    frame = pd.DataFrame(rows, columns=list(VERDICT_COLUMNS))
    n, parents = n_comparisons(frame), int(frame["clusters"].max()) if len(frame) else 0
    if hopeless(n, parents, n_resamples, alpha):
        of = f"{n:,} comparison{'' if n == 1 else 's'} over at most {parents:,} parents"
        said = f"Of {of} no corrected p can be below {alpha:g}, whatever the difference"
        rows[0]["note"] = f"{rows[0]['note']} {said}: compare fewer, or more crystals.".strip()
    return pd.DataFrame(rows, columns=list(VERDICT_COLUMNS))


def hopeless(n: int, parents: int, n_resamples: int | None = None, alpha: float = 0.05) -> bool:
    """Return whether so many are compared that not even the least p there can be, once corrected, is below alpha.

    Args:
        n: Comparisons.
        parents: Of the one that has most.
        n_resamples: As for `verdicts`.
        alpha: As there.
    """
    return n > 0 and parents > 1 and n * _expanded_p(1 / ((n_resamples or draws_for(n)) + 1), parents) >= alpha


def draws_for(n: int) -> int:
    """Return the resamples that so many comparisons, corrected together, take."""
    return int(np.clip(_DRAWS_PER_COMPARISON * n, *_DRAWS))


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Return p values (k,) corrected by Holm's step-down method; NaN stays NaN and is not counted."""
    raw = np.asarray(p, dtype=np.float64)
    adjusted, known = np.full_like(raw, np.nan), np.flatnonzero(~np.isnan(raw))
    order = known[np.argsort(raw[known], kind="stable")]
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(np.arange(len(order), 0, -1) * raw[order]))
    return adjusted


def corrected(frames: Sequence[pd.DataFrame], alpha: float = 0.05) -> pd.DataFrame:
    """Return several frames of verdicts as one whose p values are corrected together."""
    frame = pd.concat(frames, ignore_index=True)
    frame["p_adjusted"] = holm(frame["p"])
    judged = zip(frame["difference"], frame["p_adjusted"], frame["better_is"], strict=True)
    frame["verdict"] = [verdict_of(*each, alpha) for each in judged]
    return frame


def n_comparisons(frame: pd.DataFrame) -> int:
    """Return comparisons that a frame of verdicts is corrected for."""
    return int(frame["p"].notna().sum())


def verdict_table(frame: pd.DataFrame) -> str:
    """Return the frame of `verdicts` for a terminal, with what was done below it."""
    titles = {metric.name: metric.title for metric in (*METRICS, WITHOUT_EXEMPT, *SECONDARY, *EXTENDED)}
    rows = [
        [titles.get(row["metric"], row["metric"]), row["a"], row["b"], *_cells(row), row["verdict"]]
        for row in frame.to_dict("records")
    ]
    paired = frame.attrs.get("paired", CORRUPTED)
    parents = "parents" if paired == CORRUPTED else "crystals"
    headers = ["metric", "a", "minus b", "difference", "p", "corrected p", "rows", parents, "verdict"]
    over = "parent crystals" if paired == CORRUPTED else "crystals"
    intervals = frame.attrs.get("intervals", f"from a bootstrap over {over}")
    n, notes = n_comparisons(frame), [note for note in dict.fromkeys(frame["note"]) if note]
    lines = [
        tabulated(rows, headers=headers, disable_numparse=True),
        f"Paired by {paired}; 95 % intervals (uncorrected) and p values {intervals}.",
        f"Verdicts: p after Holm's correction for {n} comparison{'' if n == 1 else 's'} below 0.05; ↓ lower is better.",
    ]
    return "\n".join(lines + [in_a_line(note) for note in notes])


def _cells(row: Mapping[Hashable, Any]) -> list[str]:
    if not row["n"]:
        return ["n = 0", "", "", "0", "0"]
    arrow = " ↓" if row["better_is"] == "lower" else ""
    effect = with_interval(row["difference"], row["low"], row["high"], signed=True) + arrow
    return [effect, f"{row['p']:.4f}", f"{row['p_adjusted']:.4f}", f"{row['n']:,}", f"{row['clusters']:,}"]


def named_pairs(tables: Mapping[str, object], pairs: Pairs) -> list[tuple[str, str]]:
    """Return which tables are compared, as (a, b) of a − b. Raises `ValueError` for fewer than two tables, or an
    unknown name."""
    names = list(tables)
    if len(names) < 2:
        raise ValueError(f"A comparison needs two tables or more, not {len(names)}.")
    if pairs == "first":
        return [(name, names[0]) for name in names[1:]]
    if pairs == "all":
        return [(later, earlier) for earlier, later in combinations(names, 2)]
    named = [(a, b) for a, b in pairs]
    for name in (name for pair in named for name in pair if name not in tables):
        raise ValueError(f"No table is named {name!r}; there are {', '.join(names)}.")
    return named


def _comparisons(
    a: pd.DataFrame,
    b: pd.DataFrame,
    metrics: tuple[Metric, ...],
    names: tuple[str, str],
    keys: Sequence[str] | None,
) -> list[_Comparison]:
    left, right = paired_rows(a, b, names, keys)
    codes, parents = pd.factorize(left["parent"], sort=True)
    if len(parents) < 2:
        raise ValueError(f"{names[0]!r} and {names[1]!r} share one parent crystal; intervals take two or more.")
    longest, note = max(len(a), len(b)), ""
    if len(left) < longest / 2:
        note = f"{names[0]} and {names[1]}: only {len(left):,} of {longest:,} rows have a partner."
    return [
        _summed(metric, left, right, codes, names, note)
        for metric in metrics
        if computable(metric, left) and computable(metric, right)
    ]


class RowDifferences(NamedTuple):
    """One metric of two tables, row by row."""

    difference: NDArray[np.float64]
    """(n,) a − b; 0 where it is rounding."""
    weights: NDArray[np.float64]
    """(n,) of the mean."""
    known: NDArray[np.bool_]
    """(n,) both tables define it."""
    undecided: int
    """Rows that are left out because one of both could not be decided."""


def row_differences(metric: Metric, a: pd.DataFrame, b: pd.DataFrame) -> RowDifferences:
    """Return the differences of paired rows in a metric."""
    difference = metric.values(a).to_numpy(float) - metric.values(b).to_numpy(float)
    difference[np.abs(difference) < ROUNDING] = 0.0
    weights = metric.weights(a).to_numpy(float) if metric.weights else np.ones(len(a))
    known = np.isfinite(difference) & (weights > 0)
    undecided = int(((metric.undecided_rows(a) | metric.undecided_rows(b)) & ~known).sum())
    return RowDifferences(difference, weights, known, undecided)


def _summed(
    metric: Metric, a: pd.DataFrame, b: pd.DataFrame, codes: NDArray[np.int64], names: tuple[str, str], note: str
) -> _Comparison:
    """Return per-parent sums over the rows that both tables define."""
    told = row_differences(metric, a, b)
    difference, weights, known = told.difference, told.weights, told.known
    if told.undecided:
        pairs = f"{told.undecided:,} of {len(a):,} pairs"
        note = f"{note} {metric.title}, {names[0]} and {names[1]}: {pairs} undecided, and left out.".strip()
    codes = np.unique(codes[known], return_inverse=True)[1]
    tops, bottoms = (np.bincount(codes, values[known]).astype(float) for values in (difference, weights))
    return _Comparison(metric=metric, names=names, tops=tops, bottoms=bottoms, n=int(known.sum()), note=note)


def _tested(comparisons: Sequence[_Comparison], n_resamples: int, alpha: float, seed: int) -> NDArray[np.float64]:
    """Return (comparisons, 3): low, high, p; NaN for fewer than two parents. Those with equally many share their
    draws."""
    by_size: defaultdict[int, list[int]] = defaultdict(list)
    for i, comparison in enumerate(comparisons):
        by_size[len(comparison.tops)].append(i)
    tested = np.full((len(comparisons), 3), np.nan)
    step = max(1, _AT_ONCE // n_resamples)
    chunks = [part[k : k + step] for part in by_size.values() for k in range(0, len(part), step)]
    for chunk in (chunk for chunk in chunks if len(comparisons[chunk[0]].tops) > 1):
        tops, bottoms = (np.stack([getattr(comparisons[i], part) for i in chunk], 1) for part in ("tops", "bottoms"))
        drawn = resampled_sums(np.hstack([tops, bottoms]), n_resamples, seed)
        means = drawn[:, : len(chunk)] / drawn[:, len(chunk) :]
        parents = bottoms.sum(axis=0) ** 2 / (bottoms**2).sum(axis=0)
        for i, column, n_parents, differing in zip(chunk, means.T, parents, (tops != 0).sum(axis=0), strict=True):
            tested[i] = *expanded_interval(column, n_parents, alpha), two_sided_p(column, n_parents, differing)
    return tested


def expanded_interval(means: NDArray[np.float64], n_parents: float, alpha: float) -> tuple[float, float]:
    """Return the expanded percentile interval of resampled means over `n_parents` (the effective number, for unequal
    weights); of one parent it is as wide as the resamples."""
    low, high = np.quantile(means, tails(n_parents, alpha) if n_parents > 1 else (0.0, 1.0))
    return float(low), float(high)


def two_sided_p(means: NDArray[np.float64], n_parents: float, differing: int) -> float:
    """Return p value of resampled means: the level at which their expanded percentile interval touches zero.

    Never below 2 / 2^differing, the least that flipping the signs of the parents that differ at all could give.
    """
    tail = (min((means <= 0).sum(), (means >= 0).sum()) + 1) / (len(means) + 1)
    if n_parents <= 1 or tail >= 0.5:
        return 1.0
    return float(min(1.0, max(_expanded_p(tail, n_parents), least_p(differing))))


def _expanded_p(tail: float, n_parents: float) -> float:
    """Return the level whose expanded interval leaves this share of the resamples on either side."""
    return float(2 * stdtr(n_parents - 1, ndtri(tail) * np.sqrt((n_parents - 1) / n_parents)))


def verdict_of(difference: float, p_adjusted: float, direction: str, alpha: float) -> str:
    """Return `better` or `worse` where the corrected p is below `alpha`, else `not resolved`."""
    if not p_adjusted < alpha:
        return "not resolved"
    return "better" if (difference > 0) == (direction == "higher") else "worse"


def _row(
    comparison: _Comparison, low: float, high: float, p: float, p_adjusted: float, alpha: float
) -> dict[str, float | int | str]:
    clusters, direction = len(comparison.tops), comparison.metric.direction
    differing = int((comparison.tops != 0).sum())
    note = few_differing(comparison.metric, comparison.names, differing, clusters, alpha) if low * high > 0 else ""
    difference = comparison.tops.sum() / comparison.bottoms.sum() if clusters else np.nan
    return {
        "metric": comparison.metric.name,
        **dict(zip("ab", comparison.names, strict=True)),
        "difference": float(difference),
        "low": low,
        "high": high,
        "p": p,
        "p_adjusted": p_adjusted,
        "n": comparison.n,
        "clusters": clusters,
        "verdict": verdict_of(float(difference), p_adjusted, direction, alpha),
        "better_is": direction,
        "note": f"{comparison.note} {note}".strip(),
    }


def few_differing(metric: Metric, names: tuple[str, str], differing: int, parents: int, alpha: float = 0.05) -> str:
    """Return a note where so few parents differ that no p below alpha was possible, whatever the interval says.

    Args:
        metric: That is compared.
        names: Of the tables.
        differing: Parents in which they differ.
        parents: All.
        alpha: Of the verdicts.
    """
    if least_p(differing) < alpha:
        return ""
    who = f"{metric.title}, {names[0]} and {names[1]}: only {differing} of {parents:,} parents differ"
    return f"{who}, of which p is at least {least_p(differing):.3g}; the interval is too narrow."


def least_p(differing: int) -> float:
    """Return the least p that flipping the signs of so many parents' differences could give."""
    return float(min(1.0, 2.0 ** (1 - differing)))
