"""Parent-clustered 95 % intervals of statistics that `bootstrap` does not cover: medians, shares, areas under curves.

The same cluster bootstrap (Davison and Hinkley, Bootstrap Methods, 1997, section 3.8).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from crystalsweep.metrics.bootstrap import Interval, resampled_sums
from crystalsweep.metrics.summary import Metric

Array = NDArray[np.float64]

_TAILS = (0.025, 0.975)

_UNDEFINED = 0.05
"""Of the resamples; where more have no value, the rest would make too narrow an interval."""

_BLOCK = 1 << 22
"""Numbers held at once; bounds the memory to about 100 MB."""


def clustered_median(values: ArrayLike, clusters: ArrayLike, *, n_resamples: int = 1000, seed: int = 0) -> Interval:
    """Return median of values (n,) with its interval over clusters (n,); NaN values are left out.

    No value gives NaN throughout; one cluster gives NaN bounds.
    """
    known, codes = _known(np.asarray(values, dtype=np.float64), clusters)
    if not len(known):
        return Interval(np.nan, np.nan, np.nan, 0, 0)
    clustered, median = int(codes.max()) + 1, float(np.median(known))
    if clustered == 1:
        return Interval(median, np.nan, np.nan, len(known), 1)
    order = np.argsort(known, kind="stable")
    low, high = np.quantile(_medians(known[order], codes[order], n_resamples, seed), _TAILS)
    return Interval(median, float(low), float(high), len(known), clustered)


def clustered_shares(
    tops: ArrayLike, bottoms: ArrayLike, clusters: ArrayLike, *, n_resamples: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Return Σ tops / Σ bottoms of each of k columns, (n, k) and (n,) or (n, k), e.g. crystals of each class /
    crystals.

    Columns mean, low, high, n (rows with a positive bottom), a row per column of `tops`.
    """
    top = np.asarray(tops, dtype=np.float64)
    bottom = np.asarray(bottoms, dtype=np.float64)
    bottom = np.broadcast_to(bottom[:, None] if bottom.ndim == 1 else bottom, top.shape)
    sums = _sums(top, bottom, clusters)
    low, high = _bounds(_ratios(*sums, n_resamples, seed))
    mean = _ratio(sums[0].sum(axis=0), sums[1].sum(axis=0))
    return pd.DataFrame({"mean": mean, "low": low, "high": high, "n": (bottom > 0).sum(axis=0)})


def area_over_sigma(metric: Metric, table: pd.DataFrame, *, n_resamples: int = 1000, seed: int = 0) -> Interval:
    """Return mean height of a metric's curve over sigma_noise, by the trapezoidal rule; NaN with fewer than two noise
    levels.

    A noise level without a value makes it NaN, since the curve has a gap there.
    """
    sigmas = np.sort(table["sigma_noise"].unique()).astype(np.float64)
    values, parents = metric.values(table).to_numpy(dtype=np.float64), table["parent"]
    weights = np.ones_like(values) if metric.weights is None else metric.weights(table).to_numpy(dtype=np.float64)
    weights = np.where(np.isfinite(values), weights, 0.0)
    at = table["sigma_noise"].to_numpy(dtype=np.float64)[:, None] == sigmas
    sums = _sums(np.nan_to_num(values)[:, None] * at, weights[:, None] * at, parents)
    n, clusters = int((weights > 0).sum()), len(sums[0])
    if len(sigmas) < 2:
        return Interval(np.nan, np.nan, np.nan, n, clusters)
    steps = np.diff(sigmas)
    heights = (np.append(steps, 0) + np.append(0, steps)) / (2 * steps.sum())
    mean = _ratio(sums[0].sum(axis=0), sums[1].sum(axis=0)) @ heights
    low, high = _bounds((_ratios(*sums, n_resamples, seed) @ heights)[:, None])
    return Interval(float(mean), float(low[0]), float(high[0]), n, clusters)


def _known(values: Array, clusters: ArrayLike) -> tuple[Array, NDArray[np.intp]]:
    """Return finite values and their clusters, counted from zero."""
    finite = np.isfinite(values)
    codes = pd.factorize(np.asarray(clusters)[finite], sort=True)[0]
    return values[finite], codes


def _sums(tops: Array, bottoms: Array, clusters: ArrayLike) -> tuple[Array, Array]:
    """Return (clusters, k) sums of both (n, k), of the clusters that have a positive bottom in some column."""
    codes, names = pd.factorize(np.asarray(clusters), sort=True)
    member = csr_array((np.ones(len(codes)), (codes, np.arange(len(codes)))), shape=(len(names), len(codes)))
    top, bottom = member @ np.where(bottoms > 0, tops, 0.0), member @ bottoms
    known = (bottom > 0).any(axis=1)
    return top[known], bottom[known]


def _ratio(top: Array, bottom: Array) -> Array:
    return np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom > 0)


def _ratios(tops: Array, bottoms: Array, n_resamples: int, seed: int) -> Array:
    """Return (n_resamples, k) ratios of sums over clusters drawn with replacement; NaN with fewer than two clusters."""
    if len(tops) < 2:
        return np.full((n_resamples, tops.shape[1]), np.nan)
    drawn = resampled_sums(np.hstack([tops, bottoms]), n_resamples, seed)
    return _ratio(*np.hsplit(drawn, 2))


def _bounds(resampled: Array) -> tuple[Array, Array]:
    """Return 2.5 % and 97.5 % of each column; NaN where more than `_UNDEFINED` of the resamples have no value."""
    known = np.isnan(resampled).mean(axis=0) <= _UNDEFINED
    bounds = np.full((2, resampled.shape[1]), np.nan)
    if known.any():
        bounds[:, known] = np.nanquantile(resampled[:, known], _TAILS, axis=0)
    return bounds[0], bounds[1]


def _medians(ordered: Array, codes: NDArray[np.intp], n_resamples: int, seed: int) -> Array:
    """Return (n_resamples,) medians of ascending values whose clusters were drawn with replacement."""
    generator, clusters = np.random.default_rng(seed), int(codes.max()) + 1
    block = max(1, _BLOCK // len(ordered))
    medians = []
    for start in range(0, n_resamples, block):
        size = min(block, n_resamples - start)
        drawn = generator.integers(clusters, size=(size, clusters)) + clusters * np.arange(size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * clusters).reshape(size, clusters)
        reached = np.cumsum(times[:, codes], axis=1)
        below, above = (2 * reached < reached[:, -1:]).sum(axis=1), (2 * reached <= reached[:, -1:]).sum(axis=1)
        medians.append((ordered[below] + ordered[above]) / 2)
    return np.concatenate(medians)
