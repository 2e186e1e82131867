"""What a network's training crystals were like, and what about another crystal is new to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from crystalsweep.config import Config
from crystalsweep.structures.crystal import MASK, N_ELEMENTS, Crystal
from crystalsweep.structures.elements import element_symbol

RARE = 20
"""Training crystals with an element, below which what is said beside it is hardly tested."""

Count = Annotated[int, Field(ge=0, lt=1 << 53)]
Density = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]


class Training(Config):
    """What the training crystals were like."""

    crystals: Count
    """How many."""
    elements: Annotated[tuple[Count, ...], Field(min_length=N_ELEMENTS, max_length=N_ELEMENTS)]
    """Crystals that have each element; index = Z − 1."""
    sparsest: Density
    """Atoms per Å³; one in a thousand has fewer."""
    densest: Density
    """Atoms per Å³; one in a thousand has more."""


def training_of(crystals: Sequence[Crystal]) -> Training:
    """Return what training crystals are like."""
    counts = np.zeros(N_ELEMENTS, dtype=np.int64)
    for crystal in crystals:
        counts[np.unique(crystal.species) - 1] += 1
    densities = [len(crystal) / crystal.volume for crystal in crystals]
    sparsest, densest = np.quantile(densities, [0.001, 0.999]) if densities else (0.0, 100.0)
    return Training(
        crystals=len(crystals), elements=tuple(counts.tolist()), sparsest=float(sparsest), densest=float(densest)
    )


def unfamiliar(partial: Crystal, training: Training) -> Iterator[str]:
    """Yield what about a partial crystal is new to a network that was trained on such crystals."""
    yield from _never(partial, training)
    if rare := rare_elements(partial, training):
        told = ", ".join(f"{element_symbol(z)} in {training.elements[z - 1]:,}" for z in rare)
        yield f"rare to the model, of {training.crystals:,} training crystals: {told}"
    yield from _far(partial, training)


def strange(crystal: Crystal, training: Training) -> Iterator[str]:
    """Yield the same but for elements that a few training crystals have."""
    yield from _never(crystal, training)
    yield from _far(crystal, training)


def rare_elements(crystal: Crystal, training: Training) -> list[int]:
    """Return the visible elements that some training crystals have, but fewer than `RARE`."""
    return [z for z in _visible(crystal) if 0 < training.elements[z - 1] < RARE]


def _never(crystal: Crystal, training: Training) -> Iterator[str]:
    if never := [z for z in _visible(crystal) if training.elements[z - 1] == 0]:
        yield f"new to the model: none of its {training.crystals:,} training crystals has {_named(never)}"


def _far(crystal: Crystal, training: Training) -> Iterator[str]:
    density = len(crystal) / crystal.volume
    if not training.sparsest <= density <= training.densest:
        yield (
            f"{density:.3f} atoms/Å³ is beyond the model's training crystals, of which all but 0.2 % have "
            f"{training.sparsest:.3f} to {training.densest:.3f}; see that the cell is right"
        )


def _visible(crystal: Crystal) -> list[int]:
    return [int(z) for z in np.unique(crystal.species) if z != MASK]


def _named(numbers: Iterable[int]) -> str:
    return ", ".join(element_symbol(z) for z in numbers)
