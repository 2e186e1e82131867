"""Positions of completed crystals: restored in one pass or more, with what the last would still move.

A pass removes most of a displacement, and the next some of what is left, until passes move atoms by as much as they
err: so each crystal is done once a pass moved it by less than a tolerance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crystalsweep.inference.decoding.network import Answer, ask
from crystalsweep.networks.models import Generator
from crystalsweep.structures.crystal import Crystal


class Placed(NamedTuple):
    """A crystal whose atoms were moved."""

    crystal: Crystal
    moved: NDArray[np.float64]
    """(N,) how far each atom is from where it was, Å."""
    last_step: float
    """Root mean square of the last pass's P̃, Å: what is left to move is of that size or less; 0 without a pass."""


def place(
    generator: Generator,
    crystals: Sequence[Crystal],
    passes: int,
    *,
    tolerance: float = 0.0,
    first: Sequence[Answer] | None = None,
) -> list[Placed]:
    """Return crystals with their positions restored, in order: x̂ = x' − P̃, again and again.

    Args:
        generator: In evaluation mode.
        crystals: Masked sites with species `MASK`, where some are not known yet.
        passes: At most so many; 0 leaves the positions.
        tolerance: Å; a crystal is done once the root mean square of a pass's P̃ is less.
        first: What the first pass says of each crystal, where the generator was asked already.
    """
    now, shift, last = list(crystals), [np.zeros((len(c), 3)) for c in crystals], np.zeros(len(crystals))
    left = list(range(len(now)))
    for _ in range(passes):
        answers = first or ask(generator, [now[i] for i in left], [now[i].species for i in left])
        first = None
        for i, answer in zip(left, answers, strict=True):
            now[i] = displaced(now[i], -answer.perturbation)
            shift[i] -= answer.perturbation
            last[i] = np.sqrt((answer.perturbation**2).sum(axis=1).mean())
        left = [i for i in left if last[i] >= tolerance]
        if not left:
            break
    moved = [np.linalg.norm(total, axis=1) for total in shift]
    return [Placed(*parts) for parts in zip(now, moved, last.tolist(), strict=True)]


def displaced(crystal: Crystal, shift: NDArray[np.float64]) -> Crystal:
    """Return a crystal whose atoms are moved by (N, 3) Å."""
    return Crystal.of(
        crystal.id, crystal.species, crystal.lattice, crystal.frac + shift @ np.linalg.inv(crystal.lattice)
    )
