"""The likeliest joint choices, one per site, that fulfil a condition: a best-first search that skips nothing."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

TRIES = 20_000
"""Joint choices looked at before a search gives up; about a tenth of a second."""


class Choice(NamedTuple):
    """A joint choice."""

    columns: tuple[int, ...]
    """One column per row."""
    score: float
    """Sum of what they have there."""


def likeliest(
    scores: NDArray[np.float64], n: int, admits: Callable[[tuple[int, ...]], bool], tries: int = TRIES
) -> list[Choice]:
    """Return the n joint choices of one column per row with the greatest sums that `admits` accepts, greatest first.

    They are looked at in falling order, each once (Lawler 1972, doi:10.1287/mnsc.18.7.401): a choice leads to those in
    which one row takes its next best column, of rows from the last that was moved on. Of equal sums the earlier columns
    come first.

    Args:
        scores: (m, K); −inf where a column must not be chosen.
        n: At most so many.
        admits: Whether a choice is accepted, given its columns.
        tries: Choices looked at, after which it returns what it has found.
    """
    order = np.argsort(-scores, axis=1, kind="stable")
    ranked = np.take_along_axis(scores, order, axis=1)
    if not np.isfinite(ranked[:, 0]).all():
        return []
    first = (0,) * len(scores)
    heap = [(-float(ranked[:, 0].sum()), first, 0)]
    found: list[Choice] = []
    while heap and len(found) < n and tries > 0:
        tries -= 1
        cost, ranks, moved = heapq.heappop(heap)
        columns = tuple(int(order[row, rank]) for row, rank in enumerate(ranks))
        if admits(columns):
            found.append(Choice(columns, -cost))
        for row in range(moved, len(ranks)):
            rank = ranks[row] + 1
            if rank < ranked.shape[1] and np.isfinite(ranked[row, rank]):
                dearer = cost + float(ranked[row, rank - 1] - ranked[row, rank])
                heapq.heappush(heap, (dearer, (*ranks[:row], rank, *ranks[row + 1 :]), row))
    return found
