"""The primitive cell in one standard form: spglib's standardised primitive cell, Niggli-reduced.

spglib alone leaves centred monoclinic and rhombohedral cells skewed; the Niggli cell is the most compact one and the
same for every description of the lattice, so a crystal enters a network in one shape. The lattice is turned so that it
is lower triangular (a along x, b in the xy plane), and atoms are ordered by Z, then position.
"""

from __future__ import annotations

import numpy as np
import spglib
from numpy.typing import NDArray

from crystalsweep.data.errors import DataError
from crystalsweep.structures.crystal import Crystal
from crystalsweep.structures.quiet import quiet_spglib

PRIMITIVE_SYMPREC = 0.01
"""Å; the distance within which two positions count as the same, spglib's usual choice for relaxed crystals."""

NIGGLI_EPS = 1e-5
DECIMALS = 6
"""Of lattice (Å) and coordinates: what the sources give, and enough for a canonical order."""


def primitive_cell(crystal: Crystal, symprec: float = PRIMITIVE_SYMPREC) -> Crystal:
    """Return the standard primitive cell, id and labels kept; labels must be intensive. `DataError` if spglib finds
    none."""
    with quiet_spglib():
        found = _standardised(crystal, symprec)
        reduced = None if found is None else spglib.niggli_reduce(found[0], eps=NIGGLI_EPS)
    if found is None or reduced is None:
        raise DataError(f"{crystal.id}: spglib finds no primitive cell within {symprec} Å; leave this crystal as it is")
    lattice, frac, species = found
    lattice_reduced = np.asarray(reduced) * np.sign(np.linalg.det(reduced))  # −L is the same lattice, right-handed
    frac_reduced = frac @ lattice @ np.linalg.inv(lattice_reduced)
    return canonical(
        Crystal(id=crystal.id, species=species, lattice=lattice_reduced, frac=frac_reduced, labels=crystal.labels)
    )


def canonical(crystal: Crystal) -> Crystal:
    """Return lattice turned to lower triangular, values rounded, atoms sorted by Z, then by fractional coordinates."""
    frac = np.round(crystal.frac, DECIMALS) % 1.0 + 0.0  # rounded before wrapping: 0.9999999 is 0
    order = np.lexsort((frac[:, 2], frac[:, 1], frac[:, 0], crystal.species))
    lattice = np.round(lower_triangular(crystal.lattice), DECIMALS) + 0.0  # + 0.0 turns −0 into 0
    return Crystal(
        id=crystal.id, species=crystal.species[order], lattice=lattice, frac=frac[order], labels=crystal.labels
    )


def lower_triangular(lattice: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the same right-handed lattice turned so that a lies along x and b in the xy plane."""
    upper = np.linalg.qr(lattice.T, mode="r")
    return np.asarray((upper * np.sign(np.diag(upper))[:, None]).T, dtype=np.float64)


def _standardised(
    crystal: Crystal, symprec: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]] | None:
    cell = (crystal.lattice, crystal.frac, crystal.species)
    try:
        found = spglib.standardize_cell(cell, to_primitive=True, no_idealize=False, symprec=symprec)
    except spglib.SpglibError:
        return None
    if found is None:
        return None
    lattice, frac, species = found
    return np.asarray(lattice), np.asarray(frac), np.asarray(species, dtype=np.int64)
