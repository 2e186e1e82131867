"""Positions of completed crystals: restored in one pass or more, with what the last would still move."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crystalsweep.inference.decoding.network import ask
from crystalsweep.networks.models import Generator
from crystalsweep.structures.crystal import Crystal


class Placed(NamedTuple):
    """A crystal whose atoms were moved."""

    crystal: Crystal
    moved: NDArray[np.float64]
    """(N,) how far each atom is from where it was, Å."""
    last_step: float
    """Root mean square of the last pass's P̃, Å: what is left to move is of that size or less; 0 without a pass."""


def place(generator: Generator, crystals: Sequence[Crystal], passes: int) -> list[Placed]:
    """Return crystals with their positions restored, in order: x̂ = x' − P̃, again and again.

    Args:
        generator: In evaluation mode.
        crystals: Masked sites with species `MASK`, where some are not known yet.
        passes: 0 leaves the positions.
    """
    now, shift, last = list(crystals), [np.zeros((len(c), 3)) for c in crystals], np.zeros(len(crystals))
    for _ in range(passes):
        answers = ask(generator, now, [crystal.species for crystal in now])
        now = [displaced(crystal, -answer.perturbation) for crystal, answer in zip(now, answers, strict=True)]
        shift = [total - answer.perturbation for total, answer in zip(shift, answers, strict=True)]
        last = np.array([np.sqrt((answer.perturbation**2).sum(axis=1).mean()) for answer in answers])
    moved = [np.linalg.norm(total, axis=1) for total in shift]
    return [Placed(*parts) for parts in zip(now, moved, last.tolist(), strict=True)]


def displaced(crystal: Crystal, shift: NDArray[np.float64]) -> Crystal:
    """Return a crystal whose atoms are moved by (N, 3) Å."""
    return Crystal.of(
        crystal.id, crystal.species, crystal.lattice, crystal.frac + shift @ np.linalg.inv(crystal.lattice)
    )
