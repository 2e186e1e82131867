"""How long trainings last under a scheduler, in expectation, before any has begun.

ASHA (doi:10.48550/arXiv.1810.05934) as Ray Tune has it: at each rung a training is stopped unless it is among the best
1/reduction of those that were there before it.
"""

from __future__ import annotations

from heapq import heapify, heapreplace
from itertools import pairwise
from typing import NamedTuple


class Asha(NamedTuple):
    """Settings of the scheduler."""

    grace: int
    """Epochs that every training gets."""
    reduction: int
    """Of those that reach a rung one in so many goes on, to the next rung so many times as far."""


def asha(epochs: int) -> Asha:
    """Return settings for trainings of so many epochs: three or four rungs, so that even short ones are worth
    cutting."""
    reduction = 2 if epochs < 9 else 3
    return Asha(grace=max(1, epochs // reduction**2), reduction=reduction)


def rungs(epochs: int) -> list[int]:
    """Return epochs after which ASHA decides; nothing is decided at the last."""
    grace, reduction = asha(epochs)
    found = []
    while grace < epochs:
        found.append(grace)
        grace *= reduction
    return found


def survivors(trainings: float, reduction: int) -> float:
    """Return how many trainings go on of those that reach a rung one after another, in no order of merit.

    The n-th has to reach the (1 - 1/reduction) quantile of the n - 1 before it; the first always does. Early ones have
    it easier, so that more go on than 1/reduction.
    """
    whole, part = divmod(trainings, 1)
    chances = [_chance(before, reduction) for before in range(int(whole) + 1)]
    return sum(chances[:-1]) + part * chances[-1]


def _chance(before: int, reduction: int) -> float:
    """Return how likely one more reaches the quantile of so many before it, which is interpolated between two of
    them."""
    return 1.0 if before == 0 else (before - (1 - 1 / reduction) * (before - 1)) / (before + 1)


def lasting(trainings: int, epochs: int, *, scheduler: str) -> list[tuple[int, float]]:
    """Return how many trainings are expected to end after how many epochs, longest first."""
    if scheduler != "asha" or trainings == 0:
        return [(epochs, float(trainings))]
    reduction, reached = asha(epochs).reduction, [float(trainings)]
    for _ in rungs(epochs):
        reached.append(survivors(reached[-1], reduction))
    ends = [(rung, here - further) for rung, (here, further) in zip(rungs(epochs), pairwise(reached), strict=True)]
    return [(epochs, reached[-1]), *reversed(ends)]


def whole(lasting: list[tuple[int, float]]) -> list[int]:
    """Return the same as epochs of single trainings, longest first: as many as there are, rounded so that sums stay."""
    found: list[int] = []
    total = 0.0
    for epochs, count in lasting:
        total += count
        found += [epochs] * (round(total) - len(found))
    return found


def makespan(seconds: list[float], lanes: int, first: float, later: float) -> float:
    """Return seconds until all are done, each begun in the order given as soon as one of `lanes` is free.

    Args:
        seconds: Of each training.
        lanes: Trainings at once.
        first: Seconds before the first training of a lane.
        later: Seconds before each of the others.
    """
    ends = [0.0] * max(1, min(lanes, len(seconds)))
    heapify(ends)
    for length in seconds:
        heapreplace(ends, ends[0] + (later if ends[0] else first) + length)
    return max(ends)
