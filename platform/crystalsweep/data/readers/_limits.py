"""How large a structure may be, so that a hostile or broken one is refused before it fills the memory or the day.

What takes long grows with counts that are known beforehand, so counts are bounded and no clock is: a clock would refuse
on a slow machine what it reads on a fast one, and Python interrupts a computation in a thread by no means at all.
"""

from __future__ import annotations

import numpy as np

from crystalsweep.data.checks import MIN_VOLUME, Problem, RawStructure
from crystalsweep.structures.neighbours import plane_spacings

MAX_ATOMS_READ = 10_000
"""Atoms of one crystal."""

MAX_DENSITY = 2.0
"""Atoms/Å³: ten times diamond's, and twice that of hydrogen at 500 GPa."""

MAX_IMAGES = 20_000_000
"""Periodic images of atoms that the search for the shortest distance may go through."""

SEARCH_RADIUS = 4.0
"""Å; where that search begins."""

MINKOWSKI = 2.3
"""A search that doubles its radius ends before this times V^(1/3): some lattice vector is shorter than half of that."""

TOO_LARGE = "too large"


def size_problem(raw: RawStructure) -> Problem | None:
    """Report more atoms, a denser or a more skewed cell than can be searched. What else is wrong is left to other
    checks."""
    atoms = max(len(raw.species), raw.frac.size // 3)
    if atoms > MAX_ATOMS_READ:
        return Problem(TOO_LARGE, f"{atoms:,} atoms, at most {MAX_ATOMS_READ:,} are read", "give a smaller cell")
    if raw.lattice.size != 9 or not np.isfinite(raw.lattice).all():
        return None
    with np.errstate(all="ignore"):  # what overflows is refused as too long elsewhere
        volume = abs(float(np.linalg.det(raw.lattice)))
    if not volume >= MIN_VOLUME or not np.isfinite(volume):
        return None
    if (density := atoms / volume) > max(MAX_DENSITY, 1 / volume):
        found = f"{density:.3g} atoms/Å³, at most {MAX_DENSITY:g} are read"
        return Problem("too many atoms for the cell", found, "check the cell: lattices are in Å")
    spacings = plane_spacings(raw.lattice)
    radius = max(SEARCH_RADIUS, MINKOWSKI * volume ** (1 / 3))
    images = atoms * float(np.prod(2 * np.ceil(radius / np.array(spacings)) + 1))
    if images > MAX_IMAGES:
        found = f"lattice planes only {min(spacings):.2g} Å apart"
        return Problem("cell too skewed", found, "give a reduced cell, such as Niggli's")
    return None
