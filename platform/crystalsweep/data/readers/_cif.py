"""One CIF text to one crystal. gemmi parses and knows space groups; a CIF that contradicts itself is refused."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial as bound
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crystalsweep.data.checks import Problem
from crystalsweep.data.readers._base import FileSites, admit
from crystalsweep.data.readers._cif_block import CifBlock, RefusedError, block_of, number, refuse
from crystalsweep.data.readers._cif_claims import require_own_formula, require_own_volume
from crystalsweep.data.readers._cif_limits import TooLargeError, too_large_problem
from crystalsweep.data.readers._cif_sites import Sites, images_of, sites_of
from crystalsweep.data.readers._cif_symmetry import Symmetry, symmetries_of
from crystalsweep.structures.crystal import Crystal

ANGLES = ("alpha", "beta", "gamma")


class CifReading(NamedTuple):
    """What a CIF says."""

    outcome: Crystal | Problem
    notes: tuple[str, ...] = ()
    """On how it was read."""
    sites: FileSites | None = None
    """Where it was read as partial, and is a crystal."""


def crystal_from_cif(
    text: str, row_id: str, labels: Mapping[str, float], *, partial: bool = False
) -> Crystal | Problem:
    """Return the crystal of `read_cif` alone."""
    return read_cif(text, row_id, labels, partial=partial).outcome


def read_cif(text: str, row_id: str, labels: Mapping[str, float], *, partial: bool = False) -> CifReading:
    """Return the crystal of a CIF with one structure, and notes on how it was read.

    Oxidation states are dropped, cells are kept as they are. With `partial`, sites are masked whose symbol is `X` or
    `?`, or which several elements share.
    """
    try:
        block = block_of(text)
        lattice = _lattice(block)
        require_own_volume(block, lattice)
        sites = sites_of(block, partial=partial)
        read = bound(_read, block, sites, lattice, row_id, labels, partial)
        outcome, numbers = _the_one([read(symmetry) for symmetry in symmetries_of(block, lattice)])
        known = FileSites(numbers, sites.mixtures) if partial and isinstance(outcome, Crystal) else None
        return CifReading(outcome, sites.notes, known)
    except TooLargeError as error:
        return CifReading(too_large_problem(error))
    except RefusedError as error:
        return CifReading(error.problem)


_Read = tuple[str, Crystal | Problem, NDArray[np.int64]]
"""What one reading of the symmetry gives: its name, the crystal, and the sites that its atoms are of."""


def _read(
    block: CifBlock,
    sites: Sites,
    lattice: NDArray[np.float64],
    row_id: str,
    labels: Mapping[str, float],
    partial: bool,
    symmetry: Symmetry,
) -> _Read:
    """Return what one reading of the symmetry gives."""
    try:
        at, frac = images_of(sites, symmetry, lattice)
        species = sites.species[at]
        require_own_formula(block, species)
    except RefusedError as error:
        return symmetry.name, error.problem, sites.numbers
    outcome = admit(row_id, species, lattice, frac, labels, partial=partial)
    return symmetry.name, outcome, sites.numbers[at]


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


def _the_one(readings: list[_Read]) -> tuple[Crystal | Problem, NDArray[np.int64]]:
    """Return the one reading that is a crystal; where several are, the file does not say enough."""
    crystals = {name: (read, numbers) for name, read, numbers in readings if isinstance(read, Crystal)}
    if len(crystals) > 1:
        detail = f"{' or '.join(crystals)}: other crystals, and nothing in the file decides"
        raise refuse("symmetry is ambiguous", detail, "list the symmetry operations, or name the origin choice")
    return next(iter(crystals.values()), readings[0][1:])
