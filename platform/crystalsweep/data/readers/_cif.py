"""One CIF text to one crystal. gemmi parses and knows space groups; a CIF that contradicts itself is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial as bound

import numpy as np
from numpy.typing import NDArray

from crystalsweep.data.checks import Problem
from crystalsweep.data.readers._base import admit
from crystalsweep.data.readers._cif_block import CifBlock, RefusedError, block_of, number, refuse
from crystalsweep.data.readers._cif_claims import require_own_formula, require_own_volume
from crystalsweep.data.readers._cif_limits import TooLargeError, too_large_problem
from crystalsweep.data.readers._cif_sites import Sites, images_of, sites_of
from crystalsweep.data.readers._cif_symmetry import Symmetry, symmetries_of
from crystalsweep.structures.crystal import MASK, N_ELEMENTS, Crystal

ANGLES = ("alpha", "beta", "gamma")


def crystal_from_cif(
    text: str, row_id: str, labels: Mapping[str, float], *, partial: bool = False
) -> Crystal | Problem:
    """Return the crystal of `read_cif` without its notes."""
    return read_cif(text, row_id, labels, partial=partial)[0]


def read_cif(
    text: str, row_id: str, labels: Mapping[str, float], *, partial: bool = False
) -> tuple[Crystal | Problem, tuple[str, ...]]:
    """Return the crystal of a CIF with one structure, and notes on how it was read.

    Oxidation states are dropped, cells are kept as they are. With `partial`, sites whose symbol is `X` or `?` are
    masked.
    """
    try:
        block = block_of(text)
        lattice = _lattice(block)
        require_own_volume(block, lattice)
        sites = sites_of(block, partial=partial)
        read = bound(_read, block, sites, lattice, row_id, labels)
        return _the_one([read(symmetry) for symmetry in symmetries_of(block, lattice)]), sites.notes
    except TooLargeError as error:
        return too_large_problem(error), ()
    except RefusedError as error:
        return error.problem, ()


def _read(
    block: CifBlock,
    sites: Sites,
    lattice: NDArray[np.float64],
    row_id: str,
    labels: Mapping[str, float],
    symmetry: Symmetry,
) -> tuple[str, Crystal | Problem]:
    """Return what one reading of the symmetry gives, beside its name."""
    try:
        species, frac = images_of(sites, symmetry, lattice)
        require_own_formula(block, species)
    except RefusedError as error:
        return symmetry.name, error.problem
    return symmetry.name, _checked(row_id, species, lattice, frac, labels)


def _checked(
    row_id: str,
    species: NDArray[np.int64],
    lattice: NDArray[np.float64],
    frac: NDArray[np.float64],
    labels: Mapping[str, float],
) -> Crystal | Problem:
    """Return the crystal if it passes the checks of every form; masked sites pass as an element that is not in it."""
    masked = species == MASK
    stand_in = next(z for z in range(N_ELEMENTS, 0, -1) if not (species == z).any())
    read = admit(row_id, np.where(masked, stand_in, species), lattice, frac, labels)
    if isinstance(read, Problem) or not masked.any():
        return read
    return replace(read, species=np.where(read.species == stand_in, MASK, read.species))


def _lattice(block: CifBlock) -> NDArray[np.float64]:
    """Return the lattice vectors in pymatgen's orientation, (3, 3) Å. Raises `RefusedError` where there is no cell."""
    from pymatgen.core import Lattice

    names = (*(f"_cell_length_{edge}" for edge in "abc"), *(f"_cell_angle_{angle}" for angle in ANGLES))
    parameters = [number(block.value(name) or "?", name) for name in names]
    with np.errstate(all="ignore"):
        lattice = np.asarray(Lattice.from_parameters(*parameters).matrix)
    if min(parameters) <= 0 or not np.isfinite(lattice).all():
        raise refuse("zero volume", " ".join(f"{each:g}" for each in parameters), "give three lengths in Å and angles")
    return lattice


def _the_one(readings: list[tuple[str, Crystal | Problem]]) -> Crystal | Problem:
    """Return the one reading that is a crystal; where several are, the file does not say enough."""
    crystals = {name: read for name, read in readings if isinstance(read, Crystal)}
    if len(crystals) > 1:
        detail = f"{' or '.join(crystals)}: other crystals, and nothing in the file decides"
        raise refuse("symmetry is ambiguous", detail, "list the symmetry operations, or name the origin choice")
    return next(iter(crystals.values()), readings[0][1])
