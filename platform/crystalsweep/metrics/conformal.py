"""Intervals and sets with a stated coverage, from the errors on crystals that were not trained on (split conformal).

Of new crystals of the same kind, the true value lies in at least the stated share of the intervals, on average over
draws of the calibration crystals (doi:10.1561/2200000101). On other kinds of crystals nothing is promised.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


def conformal_quantile(scores: Values, coverage: float) -> float:
    """Return the score that at most 1 − `coverage` of new crystals exceed: the ⌈(n + 1) · coverage⌉-th of n; infinite
    where n is too small to say."""
    rank = math.ceil((len(scores) + 1) * coverage)
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else float("inf")


def halves(n: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return a seeded split of n crystals in two: to calibrate on, and to measure the coverage on."""
    order = np.random.default_rng(seed).permutation(n)
    return np.sort(order[: n - n // 2]), np.sort(order[n - n // 2 :])


def answer_scores(wanted: Values, probabilities: Values) -> Values:
    """Return (M,) 1 − the probability (M, K) that the right answer was given, of which `wanted` (M,) is the index."""
    return np.asarray(1 - probabilities[np.arange(len(wanted)), wanted.astype(np.int64)])
