"""Reduced cells for the matcher: made once per crystal, of any crystal that can be reduced in reasonable time.

pymatgen's reduction tolerates 0.25 Å and so finds the primitive cell of a noisy supercell, but tries every way to
divide a cell that cannot be divided: 283 s for 500 atoms of Cu with noise. spglib (doi:10.1080/27660400.2024.2384822)
takes exact supercells of thousands of atoms down to their primitive cell in 0.1 s; what remains has to be small enough.
"""

from __future__ import annotations

import warnings
from functools import cached_property
from math import gcd, prod
from typing import TYPE_CHECKING

import numpy as np
import spglib
from numpy.typing import NDArray

from crystalsweep.metrics.similarity import reduced_lattice
from crystalsweep.structures.crystal import Crystal

if TYPE_CHECKING:
    from pymatgen.core import Structure

SMALL = 200
"""Atoms up to which pymatgen reduces a cell alone, as the field does; spglib goes first in larger ones."""

LARGEST_READ = 5_000
"""Atoms of the largest cell that spglib is given: 3 s."""

LARGEST = 3_000
"""Atoms of the largest reduced cell that is compared: two of them that differ take 2 s."""

DIVISIONS = 100_000_000
"""Ways to divide a cell, times atoms of its rarest species, that pymatgen may try: a minute if none of them does."""

ELONGATED = 200_000
"""Lattice points within 1.3 longest vectors, which the matcher enumerates: 1 s. A cell of 3 Å × 3 Å × 400 Å has
160,000."""

SYMPREC = 0.01
"""Å; what spglib takes for one position."""

MATCHER_ERRORS = (ArithmeticError, LookupError, MemoryError, RuntimeError, TypeError, ValueError)
"""What pymatgen raises on cells that cannot be reduced; numpy's LinAlgError is a ValueError."""


class Comparable:
    """A crystal and its reduced cell, made when first asked for."""

    def __init__(self, crystal: Crystal) -> None:
        self.crystal = crystal

    @property
    def reduced(self) -> Structure | None:
        """Niggli cell, then primitive cell, as the matcher itself reduces; None where `obstacle` says why not."""
        return self._reduction[0]

    @property
    def obstacle(self) -> str:
        """Why no matcher is asked about this crystal; empty if one is."""
        return self._reduction[1]

    @property
    def elongated(self) -> bool:
        """Whether the matcher would have too many lattice points to look at."""
        return _lattice_points(self.crystal) > ELONGATED

    @cached_property
    def lengths(self) -> NDArray[np.float64]:
        """(3,) lengths of the reduced cell for unit volume, ascending; NaN where there is none."""
        if self.reduced is None:
            return np.full(3, np.nan)
        return np.sort(self.reduced.lattice.abc) / self.reduced.volume ** (1 / 3)

    @cached_property
    def _reduction(self) -> tuple[Structure | None, str]:
        if self.elongated:
            return None, "cell too elongated"
        crystal = self.crystal if len(self.crystal) <= SMALL else _without_repeats(self.crystal)
        if len(crystal) > LARGEST:
            return None, f"{len(crystal):,} atoms, more than {LARGEST:,}"
        if _divisions(crystal) > DIVISIONS:
            return None, f"{len(crystal):,} atoms in a cell that can be divided in too many ways"
        try:
            return structure(crystal).get_reduced_structure("niggli").get_primitive_structure(), ""
        except MATCHER_ERRORS as error:
            return None, f"reduction: {type(error).__name__}: {error}"


def structure(crystal: Crystal) -> Structure:
    """Return the crystal for pymatgen."""
    from pymatgen.core import Structure

    return Structure(crystal.lattice, crystal.species.tolist(), crystal.frac)


def _lattice_points(crystal: Crystal) -> float:
    """Return about how many lattice points lie within 1.3 longest vectors of the reduced lattice."""
    longest = np.linalg.norm(reduced_lattice(crystal.lattice), axis=1).max()
    return float(4 / 3 * np.pi * (1.3 * longest) ** 3 / crystal.volume)


def _without_repeats(crystal: Crystal) -> Crystal:
    """Return the primitive cell of an exact supercell; the crystal itself where spglib finds none or it is too
    large."""
    if len(crystal) > LARGEST_READ:
        return crystal
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # spglib 2.8 announces new error handling at every call
            found = spglib.find_primitive((crystal.lattice, crystal.frac, crystal.species), symprec=SYMPREC)
    except spglib.SpglibError:
        return crystal
    if found is None:
        return crystal
    lattice, frac, species = found
    return Crystal.of(crystal.id, species, lattice, frac)


def _divisions(crystal: Crystal) -> int:
    """Return the sublattices by which the cell may be divided, times the atoms of its rarest species.

    A cell with n of its rarest species and g the greatest common divisor of all counts may hold a smaller cell 1 to g
    times; there are Σ d σ(d) sublattices over the divisors d of an index.
    """
    counts = np.unique(crystal.species, return_counts=True)[1].tolist()
    divisors = [d for d in range(1, gcd(*counts) + 1) if gcd(*counts) % d == 0]
    return min(counts) * sum(_sublattices(d) for d in divisors)


def _sublattices(index: int) -> int:
    """Return how many sublattices of an index a three-dimensional lattice has (OEIS A001001)."""
    found, p = [], 2
    while index > 1:
        power = 0
        while index % p == 0:
            index, power = index // p, power + 1
        found.append((p ** (power + 1) - 1) * (p ** (power + 2) - 1) // ((p - 1) * (p * p - 1)))
        p += 1
    return prod(found)
