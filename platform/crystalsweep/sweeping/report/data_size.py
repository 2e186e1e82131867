"""How much data pre-training saves: errors over the number of labelled training crystals, by arm (Fig. S4).

All arms predict the same validation crystals. Draws resample these, and where there are several seeds the seeds too,
alike in every arm. Differences are paired: of one seed by those draws, of several as `metrics.seed_verdicts` has them
(Student's interval over seeds and crystals), since a bootstrap over a few seeds is too narrow. Liu et al., iScience 27,
110672 (2024), Fig. S4. doi:10.1016/j.isci.2024.110672
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crystalsweep.metrics.bootstrap import tails, times_drawn
from crystalsweep.metrics.geometry import Array
from crystalsweep.metrics.properties.statistic import Difference, difference_of, interval_of, verdict_of
from crystalsweep.metrics.seed_verdicts import crossed_mean
from crystalsweep.metrics.verdicts import holm

RESAMPLES = 2000
"""Of the crystals and seeds."""

Errors = Mapping[tuple[str, int], Array]
"""By arm and number of training crystals, (S, M) errors of M validation crystals with S seeds."""


@dataclass(frozen=True, kw_only=True)
class Saving:
    """How many labelled crystals one arm needs to do what another does with all of them."""

    needed: float
    """Crystals; NaN where even all of them are not enough."""
    factor: float
    """All of them over those needed; 0 where even all are not enough."""
    low: float
    """Of the factor, 95 %; 0 likewise."""
    high: float
    most: float
    """Factor of the fewest crystals tried, beyond which nothing can be told."""


@dataclass(frozen=True, kw_only=True)
class Paired:
    """One arm minus another after learning from as many crystals."""

    n: int
    """Training crystals."""
    arm: str
    against: str
    difference: Difference
    p_adjusted: float
    """By Holm's method over all that are tested together."""
    verdict: str


def sampled_errors(errors: Errors, *, n_resamples: int = RESAMPLES, seed: int = 0) -> dict[tuple[str, int], Array]:
    """Return (1 + R,) of each arm and size: its mean error, then its resamples, on draws that all share."""
    seeds, crystals = next(iter(errors.values())).shape
    blocks = list(times_drawn(crystals, n_resamples, seed, width=crystals))
    times = np.concatenate(blocks).astype(np.float64)
    often = np.random.default_rng(seed).multinomial(seeds, np.full(seeds, 1 / seeds), size=len(times)) / seeds
    return {
        each: np.concatenate([[found.mean()], np.einsum("rs,rs->r", often, times @ found.T / crystals)])
        for each, found in errors.items()
    }


def curve_of(drawn: Mapping[tuple[str, int], Array], arm: str, crystals: int) -> pd.DataFrame:
    """Return rows by number of training crystals: n, mean, low, high."""
    sizes = sorted(n for name, n in drawn if name == arm)
    found = [interval_of(drawn[arm, n], crystals) for n in sizes]
    rows = [(n, each.mean, each.low, each.high) for n, each in zip(sizes, found, strict=True)]
    return pd.DataFrame(rows, columns=["n", "mean", "low", "high"])


def compared(errors: Errors, drawn: Mapping[tuple[str, int], Array], arms: Sequence[str], against: str) -> list[Paired]:
    """Return each arm minus another at every size that both have, corrected together."""
    pairs = [(n, arm) for name, n in sorted(drawn, key=lambda key: key[1]) if name == against for arm in arms]
    tested = [
        (n, arm, _difference(errors, drawn, (arm, n), (against, n)))
        for n, arm in pairs
        if arm != against and (arm, n) in drawn
    ]
    adjusted = holm([gap.p for *_, gap in tested])
    return [
        Paired(
            n=n,
            arm=arm,
            against=against,
            difference=gap,
            p_adjusted=float(p),
            verdict=verdict_of(gap.difference, float(p), "lower"),
        )
        for (n, arm, gap), p in zip(tested, adjusted, strict=True)
    ]


def saving_of(drawn: Mapping[tuple[str, int], Array], arm: str, against: str, crystals: int) -> Saving | None:
    """Return how many crystals `arm` needs for the error that `against` has with the most; None without two sizes.

    Between sizes the error is taken to fall along a straight line of logarithms. The first size that is good enough
    counts, also where a larger one is not.

    Args:
        drawn: As `sampled_errors` gives it.
        arm: The one that may need fewer.
        against: The other.
        crystals: Validation crystals, which were resampled.
    """
    sizes = sorted(n for name, n in drawn if name == arm)
    whole = max((n for name, n in drawn if name == against), default=0)
    if len(sizes) < 2 or not whole:
        return None
    curves = np.stack([drawn[arm, n] for n in sizes], axis=1)
    needed = np.array([needed_for(sizes, *each) for each in zip(curves, drawn[against, whole], strict=True)])
    factors = np.where(np.isnan(needed), 0.0, whole / needed)
    low, high = np.quantile(factors[1:], tails(crystals))
    return Saving(
        needed=float(needed[0]),
        factor=float(factors[0]),
        low=float(low),
        high=float(high),
        most=whole / sizes[0],
    )


def needed_for(sizes: Sequence[int], errors: Array, wanted: float) -> float:
    """Return crystals at which the error (n,) over ascending sizes (n,) has come down to `wanted`: the first size
    where it begins below, NaN where it never does."""
    enough = np.flatnonzero(errors <= wanted)
    if not len(enough):
        return float("nan")
    at = int(enough[0])
    if at == 0 or errors[at] <= 0 or wanted <= 0:
        return float(sizes[at])
    before, after = np.log(errors[at - 1]), np.log(errors[at])
    part = (before - np.log(wanted)) / (before - after)
    return float(np.exp(np.log(sizes[at - 1]) + part * (np.log(sizes[at]) - np.log(sizes[at - 1]))))


def _difference(
    errors: Errors, drawn: Mapping[tuple[str, int], Array], first: tuple[str, int], second: tuple[str, int]
) -> Difference:
    gap = errors[first] - errors[second]
    seeds, crystals = gap.shape
    if seeds == 1:
        return difference_of(drawn[first], drawn[second], crystals, int((gap != 0).sum()))
    found = crossed_mean(gap, np.ones_like(gap))
    return Difference(difference=found.mean, low=found.low, high=found.high, p=found.p, n=crystals)
