"""A figure of predictions with its 95 % interval over crystals, and its paired difference between two models.

A figure is a function of how often each crystal counts: once each for the estimate, as often as it was drawn for a
resample. So what is no mean (ROC-AUC, R², a rank correlation) has the interval of `metrics.bootstrap`, on its draws,
and two models that predict the same crystals are compared within each resample. The bootstrap with percentile
intervals: Davison and Hinkley, Bootstrap Methods (1997), section 5.3. Liu et al., iScience 27, 110672 (2024), give
none. doi:10.1016/j.isci.2024.110672
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from crystalsweep.metrics.bootstrap import Interval, tails, times_drawn
from crystalsweep.metrics.geometry import Array
from crystalsweep.metrics.verdicts import ROUNDING, expanded_interval, two_sided_p

RESAMPLES = 2000
"""Of the crystals, for an interval and for a verdict, whose p they bound from below at about 0.001."""

_UNDEFINED = 0.05
"""Of the resamples; where more have no value, there are no bounds: the rest would make too narrow an interval."""

_HELD = 8
"""Arrays as large as the counts that a figure holds at once."""

Kind = Literal["classification", "regression", "spectrum"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """What is true of M crystals, and what was predicted."""

    truth: Array
    """(M,) values or class indices; (M, P) spectra."""
    predicted: Array
    """(M,) values, (M, K) probabilities, (M, P) spectra."""
    grid: Array | None = None
    """(P,) where spectra are given, ascending."""

    def __len__(self) -> int:
        return len(self.truth)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Answers:
        """Return the answers of some crystals."""
        return Answers(truth=self.truth[rows], predicted=self.predicted[rows], grid=self.grid)


def errors_of(kind: Kind, answers: Answers) -> Array:
    """Return (M,) how far off each prediction is: |error| of a number, its mean over the grid of a spectrum, and of a
    class 1 where the likeliest is not the true one, else 0."""
    if kind == "classification":
        return np.asarray(answers.predicted.argmax(axis=1) != answers.truth, dtype=np.float64)
    apart = np.abs(answers.predicted - answers.truth)
    return np.asarray(apart if kind == "regression" else apart.mean(axis=1))


@dataclass(frozen=True, kw_only=True)
class Statistic:
    """One figure."""

    name: str
    title: str
    definition: str
    direction: Literal["higher", "lower", "none"]
    """Which is better; `none` of what describes the crystals and not the predictions."""
    over: Callable[[Answers, Array], Array]
    """(M crystals, (R, M) how often each counts) -> (R,), NaN where it is undefined."""
    why_undefined: str
    """What is the matter where it is NaN."""
    unit: Literal["", "label", "label²", "grid", "log10 label"] = ""
    """None, or that of the labels or of a spectrum's grid."""


def sampled(
    statistics: Sequence[Statistic], answers: Answers, *, n_resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Array]:
    """Return (1 + n_resamples,) of each statistic: its estimate, then its resamples, on draws that all share."""
    if not len(answers):
        return {each.name: np.full(1 + n_resamples, np.nan) for each in statistics}
    once = np.ones((1, len(answers)))
    with np.errstate(divide="ignore", invalid="ignore"):
        found = {each.name: [each.over(answers, once)] for each in statistics}
        for times in times_drawn(len(answers), n_resamples, seed, width=_HELD * len(answers)):
            counts = times.astype(np.float64)
            for each in statistics:
                found[each.name].append(each.over(answers, counts))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def interval_of(values: Array, n: int) -> Interval:
    """Return the interval of an estimate and its resamples (1 + R,) over n crystals; NaN bounds of one crystal, and
    where more than a twentieth of the resamples have no value."""
    estimate, drawn = float(values[0]), values[1:]
    if np.isnan(estimate) or n < 2 or np.isnan(drawn).mean() > _UNDEFINED:
        return Interval(estimate, np.nan, np.nan, n, n)
    low, high = np.nanquantile(drawn, tails(n))
    return Interval(estimate, float(low), float(high), n, n)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How far one model's figure is from another's on the same crystals."""

    difference: float
    """First minus second; NaN where either has none."""
    low: float
    high: float
    p: float
    """Two-sided, not corrected; NaN where there is nothing to test."""
    n: int


def difference_of(first: Array, second: Array, n: int, differing: int, alpha: float = 0.05) -> Difference:
    """Return the paired difference of one statistic of two models, (1 + R,) each on the same draws.

    Args:
        first: Estimate and resamples.
        second: Those of what it is held against.
        n: Crystals.
        differing: Crystals whose predictions differ at all; p is never below what flipping those could give.
        alpha: The interval covers 1 − alpha.
    """
    gap = first - second
    gap = np.where(np.abs(gap) < ROUNDING, 0.0, gap)
    drawn = gap[1:]
    if np.isnan(gap[0]) or n < 2 or np.isnan(drawn).mean() > _UNDEFINED:
        return Difference(difference=float(gap[0]), low=np.nan, high=np.nan, p=np.nan, n=n)
    known = drawn[~np.isnan(drawn)]
    low, high = expanded_interval(known, n, alpha)
    return Difference(difference=float(gap[0]), low=low, high=high, p=two_sided_p(known, n, differing), n=n)


def verdict_of(difference: float, p_adjusted: float, direction: str, alpha: float = 0.05) -> str:
    """Return `better` or `worse` where the corrected p is below alpha, else `not resolved`."""
    if not p_adjusted < alpha:
        return "not resolved"
    return "better" if (difference > 0) == (direction == "higher") else "worse"


def mean_over(per_crystal: Callable[[Answers], Array]) -> Callable[[Answers, Array], Array]:
    """Return the statistic that is the mean of what each crystal gives, (M,); crystals that give NaN are left out."""

    def over(answers: Answers, times: Array) -> Array:
        values = per_crystal(answers)
        known = np.isfinite(values)
        return np.asarray((times @ np.where(known, values, 0.0)) / (times @ known.astype(np.float64)))

    return over
