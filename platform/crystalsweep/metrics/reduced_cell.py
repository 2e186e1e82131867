"""Reduced cells for the matcher: made once per crystal, of any crystal that can be reduced in reasonable time.

pymatgen's reduction tolerates 0.25 Å and so finds the primitive cell of a noisy supercell, but tries every way to
divide a cell that cannot be divided: 283 s for 500 atoms of Cu with noise. spglib (doi:10.1080/27660400.2024.2384822)
takes exact supercells of thousands of atoms down to their primitive cell in 0.1 s; what remains has to be small enough.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property, lru_cache
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


_KEPT = 4096
"""Reduced cells, and Niggli lattices, that are kept by content: a few MB for cells of tens of atoms."""

Matrix = NDArray[np.float64]
"""(3, 3) Å; rows are the lattice vectors."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ReducedCell:
    """A reduced cell as arrays, which are read-only by convention: a pymatgen `Structure` takes 50 times as much."""

    lattice: Matrix
    species: NDArray[np.int64]
    """(n,) atomic numbers, in pymatgen's order of sites."""
    frac: NDArray[np.float64]
    """(n, 3) fractional coordinates."""

    def __len__(self) -> int:
        return len(self.species)

    @cached_property
    def volume(self) -> float:
        """Å³, by the formula of pymatgen's `Lattice`, to the last bit."""
        m = self.lattice
        return float(abs(np.dot(np.cross(m[0], m[1]), m[2])))

    @cached_property
    def lengths(self) -> NDArray[np.float64]:
        """(3,) lengths of the cell's edges for unit volume, ascending."""
        return np.sort(np.sqrt(np.sum(self.lattice**2, axis=1))) / self.volume ** (1 / 3)

    @cached_property
    def composition(self) -> bytes:
        """The numbers of each species: equal where two cells hold the same atoms."""
        return np.sort(self.species).tobytes()

    @property
    def structure(self) -> Structure:
        """The same for pymatgen."""
        from pymatgen.core import Structure

        return Structure(self.lattice, self.species.tolist(), self.frac)

    @classmethod
    def of(cls, cell: Structure) -> ReducedCell:
        """Return the arrays of a cell that pymatgen made."""
        numbers = np.array(cell.atomic_numbers, dtype=np.int64)
        return cls(lattice=np.array(cell.lattice.matrix), species=numbers, frac=np.array(cell.frac_coords))


class Comparable:
    """A crystal and its reduced cell, made when first asked for."""

    def __init__(self, crystal: Crystal) -> None:
        self.crystal = crystal

    @property
    def reduced(self) -> ReducedCell | None:
        """Niggli cell, then primitive cell, as the matcher itself reduces; None where `obstacle` says why not."""
        return self._reduction[0]

    @property
    def obstacle(self) -> str:
        """Why no matcher is asked about this crystal; empty if one is."""
        return self._reduction[1]

    @property
    def elongated(self) -> bool:
        """Whether the matcher would have too many lattice points to look at."""
        return _elongated(np.ascontiguousarray(self.crystal.lattice, dtype=np.float64).tobytes())

    @property
    def lengths(self) -> NDArray[np.float64]:
        """(3,) lengths of the reduced cell for unit volume, ascending; NaN where there is none."""
        return np.full(3, np.nan) if self.reduced is None else self.reduced.lengths

    @cached_property
    def _reduction(self) -> tuple[ReducedCell | None, str]:
        crystal = self.crystal
        species = np.ascontiguousarray(crystal.species, dtype=np.int64)
        lattice, frac = (np.ascontiguousarray(each, dtype=np.float64) for each in (crystal.lattice, crystal.frac))
        return _reduced(species.tobytes(), lattice.tobytes(), frac.tobytes())


@lru_cache(maxsize=_KEPT)
def _reduced(species: bytes, lattice: bytes, frac: bytes) -> tuple[ReducedCell | None, str]:
    """Return the reduced cell of a crystal, or why there is none: matching, novelty and uniqueness ask for the same."""
    crystal = Crystal(
        id="",
        species=np.frombuffer(species, dtype=np.int64),
        lattice=np.frombuffer(lattice).reshape(3, 3),
        frac=np.frombuffer(frac).reshape(-1, 3),
    )
    if _elongated(lattice):
        return None, "cell too elongated"
    if len(crystal) > SMALL:
        crystal = _without_repeats(crystal)
    if len(crystal) > LARGEST:
        return None, f"{len(crystal):,} atoms, more than {LARGEST:,}"
    if _divisions(crystal) > DIVISIONS:
        return None, f"{len(crystal):,} atoms in a cell that can be divided in too many ways"
    try:
        if gcd(*np.unique(crystal.species, return_counts=True)[1].tolist()) == 1:
            return _niggli_cell(crystal), ""  # no smaller cell can hold its share of every species
        return ReducedCell.of(structure(crystal).get_reduced_structure("niggli").get_primitive_structure()), ""
    except MATCHER_ERRORS as error:
        return None, f"reduction: {type(error).__name__}: {error}"


def _niggli_cell(crystal: Crystal) -> ReducedCell:
    """Return what `get_reduced_structure("niggli")` does, to the last bit (hence site by site), for a cached
    lattice."""
    lattice, inverse = _niggli_lattice(np.ascontiguousarray(crystal.lattice).tobytes())
    frac = crystal.frac
    if inverse is not None:
        frac = np.array([np.mod(np.dot(np.dot(site, crystal.lattice), inverse), 1) for site in frac])
    return ReducedCell(lattice=lattice, species=crystal.species, frac=frac)


@lru_cache(maxsize=_KEPT)
def _niggli_lattice(lattice: bytes) -> tuple[Matrix, Matrix | None]:
    """Return the Niggli cell of a lattice and its inverse; the lattice itself and None where it is one already."""
    from pymatgen.core import Lattice

    given = Lattice(np.frombuffer(lattice).reshape(3, 3))
    reduced = given.get_niggli_reduced_lattice()
    return (given.matrix, None) if reduced == given else (reduced.matrix, reduced.inv_matrix)


def structure(crystal: Crystal) -> Structure:
    """Return the crystal for pymatgen."""
    from pymatgen.core import Structure

    return Structure(crystal.lattice, crystal.species.tolist(), crystal.frac)


@lru_cache(maxsize=_KEPT)
def _elongated(lattice: bytes) -> bool:
    return _lattice_points(np.frombuffer(lattice).reshape(3, 3)) > ELONGATED


def _lattice_points(lattice: Matrix) -> float:
    """Return about how many lattice points lie within 1.3 longest vectors of the reduced lattice."""
    longest = np.linalg.norm(reduced_lattice(lattice), axis=1).max()
    return float(4 / 3 * np.pi * (1.3 * longest) ** 3 / abs(np.linalg.det(lattice)))


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
