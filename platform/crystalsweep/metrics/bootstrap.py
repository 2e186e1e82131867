"""Means, ratios, medians, shares and areas with 95 % intervals from a bootstrap that resamples parent crystals.

One parent gives many corrupted crystals whose scores resemble each other; taking them as independent makes intervals
too narrow. Liu et al., iScience 27, 110672 (2024) give no intervals (doi:10.1016/j.isci.2024.110672); the method is
the cluster bootstrap (Davison and Hinkley, Bootstrap Methods, 1997, section 3.8) with percentile intervals that are
widened for few parents (the expanded percentile interval of Hesterberg, Am. Stat. 69, 371 (2015), section 5.1,
doi:10.1080/00031305.2015.1089789).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.sparse import csr_array
from scipy.special import ndtr, stdtrit

from crystalsweep.metrics.geometry import Array, Indices
from crystalsweep.pages.text import with_interval

_UNDEFINED = 0.05
"""Of the resamples; where more have no value, the rest would make too narrow an interval."""

_BLOCK = 1 << 22
"""Drawn clusters held at once; bounds the memory to about 100 MB."""


_KEPT = 1 << 20
"""Drawn clusters of a call that are kept for the next one; 8 MB, four of them."""


@dataclass(frozen=True)
class Interval:
    """A mean and its confidence interval; NaN where there is nothing to say."""

    mean: float
    low: float
    high: float
    n: int
    """Values it rests on."""
    clusters: int
    """Parent crystals it rests on."""

    def __str__(self) -> str:
        return with_interval(self.mean, self.low, self.high)


NOTHING = Interval(np.nan, np.nan, np.nan, 0, 0)
"""Of no values."""


def clustered_mean(values: ArrayLike, clusters: ArrayLike, *, n_resamples: int = 1000, seed: int = 0) -> Interval:
    """Return mean of values (n,) with its interval over clusters (n,); NaN values are left out.

    No value gives NaN throughout; one cluster gives NaN bounds. The same input gives the same interval.
    """
    return clustered_ratio(values, np.ones(np.shape(values)), clusters, n_resamples=n_resamples, seed=seed)


def clustered_ratio(
    numerators: ArrayLike, denominators: ArrayLike, clusters: ArrayLike, *, n_resamples: int = 1000, seed: int = 0
) -> Interval:
    """Return Σ numerators / Σ denominators, each (n,), e.g. masked atoms restored / masked atoms; n counts the rows.

    Rows with a NaN or without a positive denominator are left out.

    Args:
        numerators: (n,).
        denominators: (n,).
        clusters: (n,) parent of each row.
        n_resamples: Draws of the parents.
        seed: Of the draws.
    """
    top, bottom = np.asarray(numerators, dtype=np.float64), np.asarray(denominators, dtype=np.float64)
    codes = pd.factorize(np.asarray(clusters), sort=True)[0]
    if not top.shape == bottom.shape == codes.shape:
        raise ValueError(f"Values {top.shape}, weights {bottom.shape} and clusters {codes.shape} must be (n,) alike.")
    known = np.isfinite(top) & (bottom > 0)
    if not known.any():
        return NOTHING
    codes = np.unique(codes[known], return_inverse=True)[1]
    tops, bottoms = (np.bincount(codes, part[known]).astype(np.float64) for part in (top, bottom))
    drawn = _draws(len(tops), n_resamples, seed)
    ratios = np.concatenate([tops[block].sum(axis=1) / bottoms[block].sum(axis=1) for block in drawn])
    return percentile_interval(tops.sum() / bottoms.sum(), ratios, int(known.sum()), len(tops))


def paired_difference(
    a: ArrayLike,
    b: ArrayLike,
    clusters: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Return mean of a − b, (n,) each, row i of both being the same corrupted crystal; rows with a NaN in either are
    left out.

    `weights` (n,), the denominators both share, makes it a difference of ratios. `summary.metric_difference` pairs two
    tables.

    Args:
        a: (n,).
        b: (n,).
        clusters: (n,) parent of each row.
        weights: (n,) shared denominators; equal where left out.
        n_resamples: Draws of the parents.
        seed: Of the draws.
    """
    difference = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    shared = np.ones_like(difference) if weights is None else weights
    return clustered_ratio(difference, shared, clusters, n_resamples=n_resamples, seed=seed)


def clustered_median(values: ArrayLike, clusters: ArrayLike, *, n_resamples: int = 1000, seed: int = 0) -> Interval:
    """Return median of values (n,) with its interval over clusters (n,); NaN values are left out.

    No value gives NaN throughout; one cluster gives NaN bounds.
    """
    given = np.asarray(values, dtype=np.float64)
    finite = np.isfinite(given)
    if not finite.any():
        return NOTHING
    known, (codes, names) = given[finite], pd.factorize(np.asarray(clusters)[finite], sort=True)
    order = np.argsort(known, kind="stable")
    medians = _resampled_medians(known[order], codes[order], n_resamples, seed)
    return percentile_interval(np.median(known), medians, len(known), len(names))


def clustered_shares(
    tops: ArrayLike, bottoms: ArrayLike, clusters: ArrayLike, *, n_resamples: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Return Σ tops / Σ bottoms of each of k columns, (n, k) and (n,) or (n, k), e.g. crystals of each class /
    crystals.

    Columns mean, low, high, n (rows with a positive bottom), a row per column of `tops`.

    Args:
        tops: (n, k).
        bottoms: (n,) or (n, k).
        clusters: (n,) parent of each row.
        n_resamples: Draws of the parents.
        seed: Of the draws.
    """
    top = np.asarray(tops, dtype=np.float64)
    bottom = np.asarray(bottoms, dtype=np.float64)
    bottom = np.broadcast_to(bottom[:, None] if bottom.ndim == 1 else bottom, top.shape)
    sums = _sums(top, bottom, clusters)
    low, high = _bounds(_resampled_ratios(*sums, n_resamples, seed), len(sums[0]))
    mean = _ratio(sums[0].sum(axis=0), sums[1].sum(axis=0))
    return pd.DataFrame({"mean": mean, "low": low, "high": high, "n": (bottom > 0).sum(axis=0)})


def clustered_area(
    values: ArrayLike,
    weights: ArrayLike,
    at: ArrayLike,
    clusters: ArrayLike,
    *,
    n_resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Return the mean height, by the trapezoidal rule, of the curve whose points are the weighted means at each level.

    NaN with fewer than two levels, and where a level has no value, since the curve has a gap there.

    Args:
        values: (n,); NaN values are left out.
        weights: (n,) of the means.
        at: (n,) level of each value, e.g. sigma_noise.
        clusters: (n,) parent of each value.
        n_resamples: Resamples of the parents.
        seed: Of the resampling.
    """
    heights, places = np.asarray(values, dtype=np.float64), np.asarray(at, dtype=np.float64)
    levels = np.unique(places)
    counted = np.where(np.isfinite(heights), np.asarray(weights, dtype=np.float64), 0.0)
    member = places[:, None] == levels
    sums = _sums(np.nan_to_num(heights)[:, None] * member, counted[:, None] * member, clusters)
    n, parents = int((counted > 0).sum()), len(sums[0])
    if len(levels) < 2:
        return Interval(np.nan, np.nan, np.nan, n, parents)
    steps = np.diff(levels)
    shares = (np.append(steps, 0) + np.append(0, steps)) / (2 * steps.sum())
    mean = _ratio(sums[0].sum(axis=0), sums[1].sum(axis=0)) @ shares
    low, high = _bounds((_resampled_ratios(*sums, n_resamples, seed) @ shares)[:, None], parents)
    return Interval(float(mean), float(low[0]), float(high[0]), n, parents)


def tails(clusters: float, alpha: float = 0.05) -> tuple[float, float]:
    """Return shares of the resamples below and up to the end of an interval that covers 1 − alpha.

    Resampled means of n clusters spread less than means of n new ones, by √((n − 1) / n), and a normal interval falls
    short of Student's: both are made good, so that 10 clusters have 0.9 % on either side instead of 2.5 %.

    Args:
        clusters: That were resampled, more than 1; of unequal weights the effective number.
        alpha: As above.
    """
    tail = float(ndtr(stdtrit(clusters - 1, alpha / 2) * np.sqrt(clusters / (clusters - 1))))
    return tail, 1 - tail


def percentile_interval(mean: float, resampled: Array, n: int, clusters: int) -> Interval:
    """Return a statistic with the 95 % interval of its resampled values (n_resamples,); one cluster has NaN bounds."""
    low, high = np.quantile(resampled, tails(clusters)) if clusters > 1 else (np.nan, np.nan)
    return Interval(float(mean), float(low), float(high), n, clusters)


def resampled_sums(sums: Array, n_resamples: int, seed: int = 0) -> Array:
    """Return (n_resamples, k) column sums of `sums` (clusters, k) over clusters drawn with replacement.

    All columns share the draws, which are those of the intervals above at the same seed. One matrix product per
    block of draws: for many columns much faster than gathering each.
    """
    blocks = [times.astype(np.float64) @ sums for times in times_drawn(len(sums), n_resamples, seed)]
    return np.concatenate(blocks) if blocks else np.empty((0, sums.shape[1]))


def _sums(tops: Array, bottoms: Array, clusters: ArrayLike) -> tuple[Array, Array]:
    """Return (clusters, k) sums of both (n, k), of the clusters that have a positive bottom in some column."""
    codes, names = pd.factorize(np.asarray(clusters), sort=True)
    member = csr_array((np.ones(len(codes)), (codes, np.arange(len(codes)))), shape=(len(names), len(codes)))
    top, bottom = member @ np.where(bottoms > 0, tops, 0.0), member @ bottoms
    known = (bottom > 0).any(axis=1)
    return top[known], bottom[known]


def _ratio(top: Array, bottom: Array) -> Array:
    return np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom > 0)


def _resampled_ratios(tops: Array, bottoms: Array, n_resamples: int, seed: int) -> Array:
    """Return (n_resamples, k) ratios of sums over clusters drawn with replacement; NaN with fewer than two clusters."""
    if len(tops) < 2:
        return np.full((n_resamples, tops.shape[1]), np.nan)
    drawn = resampled_sums(np.hstack([tops, bottoms]), n_resamples, seed)
    return _ratio(*np.hsplit(drawn, 2))


def _bounds(resampled: Array, clusters: int) -> tuple[Array, Array]:
    """Return both ends of each column's interval; NaN where more than `_UNDEFINED` of the resamples have no value, and
    of one cluster."""
    known = (np.isnan(resampled).mean(axis=0) <= _UNDEFINED) & (clusters > 1)
    bounds = np.full((2, resampled.shape[1]), np.nan)
    if known.any():
        bounds[:, known] = np.nanquantile(resampled[:, known], tails(clusters), axis=0)
    return bounds[0], bounds[1]


def _resampled_medians(ordered: Array, codes: Indices, n_resamples: int, seed: int) -> Array:
    """Return (n_resamples,) medians of ascending values whose clusters were drawn with replacement."""
    medians = []
    for times in times_drawn(int(codes.max()) + 1, n_resamples, seed, width=len(ordered)):
        reached = np.cumsum(times[:, codes], axis=1)
        below, above = (2 * reached < reached[:, -1:]).sum(axis=1), (2 * reached <= reached[:, -1:]).sum(axis=1)
        medians.append((ordered[below] + ordered[above]) / 2)
    return np.concatenate(medians)


# Draws depend on the seed and the number of clusters only, not on the values: every figure of a table, and the verdict
# between two tables, rests on the same resamples, so that what is compared is compared within each of them.
# `scipy.stats.bootstrap` draws for one statistic at a time.
def _draws(size: int, n_resamples: int, seed: int, width: int = 0) -> Iterator[Indices]:
    """Yield blocks (up to n_resamples, size) of cluster indices drawn with replacement.

    `width`, where more than `size`, is how many numbers are held for each draw; the draws do not depend on it.
    """
    block = max(1, _BLOCK // max(size, width))
    if n_resamples <= block and n_resamples * size <= _KEPT:
        yield _kept_draws(size, n_resamples, seed)
        return
    generator = np.random.default_rng(seed)
    for start in range(0, n_resamples, block):
        yield generator.integers(size, size=(min(block, n_resamples - start), size))


@lru_cache(maxsize=4)
def _kept_draws(size: int, n_resamples: int, seed: int) -> Indices:
    """Return all draws of a call, to be read only: the hundreds of figures of a table rest on the same."""
    return np.random.default_rng(seed).integers(size, size=(n_resamples, size))


def times_drawn(size: int, n_resamples: int, seed: int, width: int = 0) -> Iterator[Indices]:
    """Yield blocks (up to n_resamples, size): how often each cluster was drawn, as for the intervals above.

    `width`, where more than `size`, is how many numbers are held for each draw; the draws do not depend on it.
    """
    for drawn in _draws(size, n_resamples, seed, width):
        rows = size * np.arange(len(drawn))[:, None]
        yield np.bincount((drawn + rows).ravel(), minlength=drawn.size).reshape(drawn.shape)
