"""One crystal: species, lattice, fractional coordinates and whatever labels came with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crystalsweep.structures.neighbours import shortest_distance

MASK = 0
"""Species index of the mask token; 1…118 are the elements (index = Z)."""

N_ELEMENTS = 118
"""Outputs of a species head (index = Z − 1)."""

N_SPECIES = N_ELEMENTS + 1
"""Rows of a species embedding: the mask token and the elements."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Crystal:
    """A periodic arrangement of N atoms. Arrays are float64/int64 and read-only by convention."""

    id: str
    """Unique within a data set; Materials Project id where there is one."""

    species: NDArray[np.int64]
    """(N,) atomic numbers; `MASK` where unknown."""

    lattice: NDArray[np.float64]
    """(3, 3) Å; rows are the lattice vectors."""

    frac: NDArray[np.float64]
    """(N, 3) fractional coordinates in [0, 1)."""

    labels: dict[str, float] = field(default_factory=dict)
    """Per-crystal properties, e.g. `e_above_hull` (eV/atom); a missing label is absent, never NaN."""

    @classmethod
    def of(cls, id: str, species: ArrayLike, lattice: ArrayLike, frac: ArrayLike, **labels: float) -> Crystal:  # noqa: A002
        """Return a crystal from anything array-like; coordinates are wrapped into the cell, NaN labels dropped."""
        wrapped = np.asarray(frac, dtype=np.float64).reshape(-1, 3) % 1.0
        return cls(
            id=id,
            species=np.asarray(species, dtype=np.int64).reshape(-1),
            lattice=np.asarray(lattice, dtype=np.float64).reshape(3, 3),
            frac=np.where(wrapped >= 1.0, 0.0, wrapped),  # −1e-17 % 1 is 1.0
            labels={name: float(value) for name, value in labels.items() if not np.isnan(value)},
        )

    def __len__(self) -> int:
        return len(self.species)

    @property
    def cart(self) -> NDArray[np.float64]:
        """(N, 3) Cartesian coordinates x = f L, Å."""
        return self.frac @ self.lattice

    @property
    def volume(self) -> float:
        """Cell volume, Å³."""
        return float(abs(np.linalg.det(self.lattice)))

    @cached_property
    def min_edge(self) -> float:
        """Shortest interatomic distance under periodic boundary conditions, own images included, Å."""
        return shortest_distance(self.lattice, self.frac)

    def with_min_edge(self, min_edge: float) -> Crystal:
        """Return the crystal itself, whose `min_edge` is known and need not be searched for."""
        vars(self)["min_edge"] = min_edge  # where `cached_property` keeps it
        return self

    @cached_property
    def reduced_formula(self) -> str:
        """Canonical reduced composition: atomic numbers ascending, e.g. `11:1 17:1` for NaCl."""
        numbers, counts = np.unique(self.species, return_counts=True)
        divisor = np.gcd.reduce(counts)
        return " ".join(f"{z}:{n // divisor}" for z, n in zip(numbers, counts, strict=True))
