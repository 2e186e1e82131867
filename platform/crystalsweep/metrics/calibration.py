"""Whether probabilities are what they say: temperature, reliability, calibration error, conformal sets, coverage.

Temperature scaling and expected calibration error: Guo et al., ICML 2017, doi:10.48550/arXiv.1706.04599, with bins of
equal mass, after Nixon et al., doi:10.48550/arXiv.1904.01685. Conformal sets: split conformal, adaptive prediction sets
(APS), Romano, Sesia and Candès, NeurIPS 2020, doi:10.48550/arXiv.2006.02544; older calibrations have those of least
ambiguous set-valued classifiers (LAC), which serve hard cases worst.
"""

from __future__ import annotations

from math import ceil

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax
from scipy.stats import binomtest

from crystalsweep.metrics.bootstrap import Interval, clustered_ratio
from crystalsweep.metrics.odds import log_losses

SHARPEST = 20.0
"""Greatest sharpness, and its inverse the least, that a fit may give; a trained network needs 0.5 to 2."""

LOWEST = 50.0
"""Greatest size of a logarithm of a weight that a fit may give."""

_SURE = 1e-6
"""No closer to 0 or 1 is what a model gives to its candidates together."""

BINS = 15
"""Of a calibration error, as in the literature."""


def fit_sharpness(logits: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
    """Return the sharpness 1 / T with the least negative log likelihood of the true classes; 1 where none are given.

    The likelihood has one maximum over log(1 / T), found within `SHARPEST`.

    Args:
        logits: (M, K), or log-probabilities, which differ from them by a constant per row.
        truth: (M,) columns.
    """
    if not len(truth):
        return 1.0
    limit = float(np.log(SHARPEST))
    found = minimize_scalar(
        lambda log_s: mean_log_loss(logits * np.exp(log_s), truth), bounds=(-limit, limit), method="bounded"
    )
    return float(np.exp(found.x))


def mean_log_loss(logits: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
    """Return mean −log softmax(logits) of the true classes, nats; arguments as for `fit_sharpness`."""
    return float(log_losses(log_softmax(logits, axis=1), truth).mean())


def shares(scores: NDArray[np.float64], sharpness: float, elsewhere: float) -> NDArray[np.float64]:
    """Return (…, K) probabilities of K candidates, which may be cut off from others: softmax of sharpness · score
    beside one more class of the score `elsewhere`, that it is none of them.

    Args:
        scores: (…, K) log-probabilities; −inf where there is no candidate.
        sharpness: 1 / temperature.
        elsewhere: Logarithm of the weight of all others; −inf leaves them out.
    """
    sharp = sharpness * scores
    whole = np.logaddexp(np.logaddexp.reduce(sharp, axis=-1, keepdims=True), elsewhere)
    return np.asarray(np.exp(sharp - whole))


def divided(
    scores: NDArray[np.float64], inside: NDArray[np.float64], sharpness: float, beyond: float
) -> NDArray[np.float64]:
    """Return (C, K) probabilities of candidates: what a model gives them together, divided by their scores.

    Args:
        scores: (C, K) by what they are ranked; −inf where there are fewer.
        inside: (C,) probability that the model gives to all of them together.
        sharpness: 1 / temperature of the scores.
        beyond: Logarithm of a factor of the odds that the right one is none of them; −inf if it must be one.
    """
    sharp = np.maximum(sharpness * scores, -1e300)  # a row without a candidate has none to divide among
    among = sharp - np.logaddexp.reduce(sharp, axis=1, keepdims=True)
    within = _log_within(inside, beyond)
    return np.asarray(np.where(np.isfinite(scores), np.exp(among + within[:, None]), 0.0))


def fit_divided(
    scores: NDArray[np.float64], inside: NDArray[np.float64], place: NDArray[np.int64]
) -> tuple[float, float]:
    """Return sharpness and `beyond` of `divided` with the least negative log likelihood of what was right.

    A prior, log-normal around 1 with a width of ln 20 for the sharpness and as wide around 0 for `beyond`, weighs as
    much as one case would and keeps the fit finite where every case came out alike.

    Args:
        scores: (C, K) by what candidates are ranked; −inf where there are fewer.
        inside: (C,) probability that the model gives to all of a case together.
        place: (C,) which one is right, from 1; 0 where none is.
    """
    rows = np.flatnonzero(place > 0)

    def loss(at: NDArray[np.float64]) -> float:
        sharp = np.exp(at[0]) * scores[rows]
        among = sharp[np.arange(len(rows)), place[rows] - 1] - np.logaddexp.reduce(sharp, axis=1)
        within = _log_within(inside, at[1])
        none = np.log(-np.expm1(np.minimum(within[place == 0], -1e-12)))
        total = among.sum() + within[rows].sum() + none.sum()
        return float(-total + (at**2).sum() / (2 * np.log(SHARPEST) ** 2))

    limit = float(np.log(SHARPEST))
    found = minimize(loss, np.zeros(2), method="Nelder-Mead", bounds=[(-limit, limit), (-LOWEST, LOWEST)])
    return float(np.exp(found.x[0])), float(found.x[1])


def _log_within(inside: NDArray[np.float64], beyond: float) -> NDArray[np.float64]:
    """Return (C,) logarithms of the probability that the right one is among the candidates."""
    mass = np.clip(inside, _SURE, 1 - _SURE)
    return np.asarray(np.log(mass) - np.logaddexp(np.log(mass), np.log1p(-mass) + beyond))


def reliability(confidence: ArrayLike, hit: ArrayLike, bins: int = BINS) -> pd.DataFrame:
    """Return mean confidence beside share of hits in bins of equally many cases, the least confident first.

    Columns low, high, confidence, share, n; fewer bins than asked for where there are fewer cases.

    Args:
        confidence: (M,) probabilities.
        hit: (M,) whether what they are of is so.
        bins: At most so many.
    """
    p, hits = np.asarray(confidence, dtype=np.float64), np.asarray(hit, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    rows = [(p[part].min(), p[part].max(), p[part].mean(), hits[part].mean(), len(part)) for part in parts]
    return pd.DataFrame(rows, columns=["low", "high", "confidence", "share", "n"])


def calibration_error(confidence: ArrayLike, hit: ArrayLike, bins: int = BINS) -> float:
    """Return the expected calibration error, Σ n_b/M |share_b − confidence_b|, of `reliability`'s bins; NaN of none.

    It is above 0 for perfect odds too, by about the noise of a bin's share: √(2/π · p(1−p) · bins / M).
    """
    table = reliability(confidence, hit, bins)
    if table.empty:
        return float("nan")
    return float(((table["share"] - table["confidence"]).abs() * table["n"]).sum() / table["n"].sum())


def sets_of(probabilities: NDArray[np.float64], least: float) -> NDArray[np.bool_]:
    """Return (M, K) which classes belong to each case's set: from `least` on, and the likeliest always."""
    inside = probabilities >= least
    inside[np.arange(len(inside)), probabilities.argmax(axis=1)] = True
    return np.asarray(inside)


def mass_scores(before: ArrayLike, own: ArrayLike, seed: int = 0) -> NDArray[np.float64]:
    """Return (M,) scores of cases for `least_mass`: what the classes before the true one sum to, and a uniform share of
    its own probability.

    Args:
        before: (M,) summed probabilities of the classes that come first.
        own: (M,) of the true class.
        seed: Of the uniform shares.
    """
    given = np.asarray(before, dtype=np.float64)
    return given + np.random.default_rng(seed).random(len(given)) * np.asarray(own)


def least_mass(scores: NDArray[np.float64], groups: ArrayLike, coverage: float) -> float:
    """Return the probability that a set's classes, the likeliest first, must reach to hold the truth in `coverage` of
    cases.

    Groups count alike, however many cases are of each. 1, every class, where so many groups are not there.

    Args:
        scores: (M,) as `mass_scores` gives them.
        groups: (M,) what each is of, such as the crystal of a site.
        coverage: Share of cases, 0…1.
    """
    codes = np.unique(np.asarray(groups), return_inverse=True)[1]
    n = int(codes.max()) + 1 if len(codes) else 0
    needed = ceil((n + 1) * coverage - 1e-9)
    if not 0 < needed <= n:
        return 1.0
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum(1 / np.bincount(codes)[codes[order]])
    return float(min(1.0, scores[order][min(int(np.searchsorted(reached, needed - 1e-9)), len(order) - 1)]))


def sets_by_mass(probabilities: NDArray[np.float64], mass: float) -> NDArray[np.bool_]:
    """Return (M, K) which classes belong to each case's set: the likeliest first, until they sum to `mass`."""
    before = masses_before(probabilities)
    return np.asarray((before < mass) | (before == 0))


def masses_before(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (M, K) what all likelier classes of a case sum to."""
    order = np.argsort(-probabilities, axis=1, kind="stable")
    ranked = np.take_along_axis(probabilities, order, axis=1)
    before = np.empty_like(ranked)
    np.put_along_axis(before, order, np.cumsum(ranked, axis=1) - ranked, axis=1)
    return before


def coverage(held: ArrayLike, parents: ArrayLike, weights: ArrayLike | None = None) -> Interval:
    """Return the share of cases whose set holds the truth, with a 95 % interval over their parents.

    By a bootstrap over parents, from which several cases come. Where all or none are held, which every resample
    repeats, by Wilson's interval (1927) as if each parent were one case.

    Args:
        held: (M,) whether the truth is in the set.
        parents: (M,) of each case.
        weights: (M,) of each case; all count alike where left out.
    """
    hits = np.asarray(held, dtype=np.float64)
    counted = np.ones_like(hits) if weights is None else np.asarray(weights, dtype=np.float64)
    found = clustered_ratio(hits * counted, counted, parents)
    if not len(hits) or 0 < hits.mean() < 1:
        return found
    n = found.clusters
    bounds = binomtest(round(hits.mean() * n), n).proportion_ci(method="wilson")
    return Interval(found.mean, float(bounds.low), float(bounds.high), found.n, n)
