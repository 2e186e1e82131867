"""Which trials are known before a sweep begins, and how many there will be. Imports without torch."""

from __future__ import annotations

from typing import Any

from crystalsweep.sweeping.plan.request import SweepRequest
from crystalsweep.sweeping.space.parameters import grid_points
from crystalsweep.sweeping.space.spec import SearchSpace

PROPOSED = 16
"""Trials beyond the control arms where a search proposes them and `--num-samples` says nothing."""


def known_points(space: SearchSpace, request: SweepRequest) -> list[dict[str, Any]]:
    """Return settings of the trials that are known beforehand: the control arms, and those of a grid."""
    if request.search != "grid":
        return list(space.controls)
    return [*space.controls, *(grid_points(space.parameters) if space.grid is None else space.grid)]


def num_samples(space: SearchSpace, request: SweepRequest) -> int:
    """Return trials in all, as asked for or by default."""
    known = len(known_points(space, request))
    return request.num_samples or (known if request.search == "grid" else known + PROPOSED)
