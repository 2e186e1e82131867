"""Why a raw structure cannot become a `Crystal`: pure functions from a structure to a `Problem`, or None."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crystalsweep.structures.crystal import MASK, N_ELEMENTS
from crystalsweep.structures.elements import atomic_number
from crystalsweep.structures.neighbours import NeighboursError, shortest_distance

MIN_VOLUME = 0.1
"""Å³; a cell below this holds no atom."""

MIN_DISTANCE = 0.1
"""Å; two atoms closer than this are one atom written twice."""

MAX_EDGE = 1000.0
"""Å; a lattice vector above this is in the wrong unit, and neighbour searches would exhaust the memory."""


MAX_COORDINATE = 1000.0
"""Cells; beyond this a fraction loses the digits that tell where an atom is."""


class Problem(NamedTuple):
    """One reason for a reject."""

    reason: str
    """The same words for every row that fails in this way, so that rejects can be counted by reason."""
    detail: str = ""
    """What is particular to this row."""
    remedy: str = ""
    """What to do next."""


class RawStructure(NamedTuple):
    """A structure as read, unchecked."""

    species: NDArray[np.int64]
    """(N,) atomic numbers."""
    lattice: NDArray[np.float64]
    """(3, 3) Å; rows are the lattice vectors."""
    frac: NDArray[np.float64]
    """(N, 3) fractional coordinates."""


def no_atoms(raw: RawStructure) -> Problem | None:
    """Report a structure without atoms."""
    return None if len(raw.species) else Problem("no atoms")


def shape_mismatch(raw: RawStructure) -> Problem | None:
    """Report anything but nine lattice components, and three coordinates for each atom."""
    n = len(raw.species)
    if raw.lattice.size == 9 and raw.frac.size == 3 * n:
        return None
    detail = f"{n} atoms, {raw.frac.size} coordinates, {raw.lattice.size} lattice components"
    return Problem("array lengths do not fit", detail, "expected N atoms, 3N coordinates and 9 lattice components")


def unknown_numbers(raw: RawStructure) -> Problem | None:
    """Report atomic numbers outside 1…118."""
    unknown = np.unique(raw.species[(raw.species < 1) | (raw.species > N_ELEMENTS)])
    return _unknown(unknown.tolist()) if len(unknown) else None


def degenerate_lattice(raw: RawStructure) -> Problem | None:
    """Report a lattice with NaN, |det| below `MIN_VOLUME`, or a vector longer than `MAX_EDGE`."""
    if not np.isfinite(raw.lattice).all():
        return Problem("lattice is not finite", "", "give nine numbers in Å")
    with np.errstate(over="ignore", invalid="ignore"):
        volume = abs(float(np.linalg.det(raw.lattice)))
    if volume < MIN_VOLUME:
        return Problem("zero volume", f"|det| = {volume:.3g} Å³", "give three independent lattice vectors in Å")
    with np.errstate(over="ignore"):
        longest = float(np.linalg.norm(raw.lattice, axis=1).max())
    if longest > MAX_EDGE:
        return Problem("lattice vector too long", f"{longest:.3g} Å", "check the unit: lattices are in Å")
    return None


def non_finite_coordinates(raw: RawStructure) -> Problem | None:
    """Report NaN or infinite coordinates."""
    bad = np.flatnonzero(~np.isfinite(raw.frac).all(axis=1))
    if not len(bad):
        return None
    return Problem("coordinates are not finite", f"atom {bad[0] + 1} of {len(raw.frac)}", "give every atom a position")


def far_coordinates(raw: RawStructure) -> Problem | None:
    """Report coordinates so far outside the cell that the digits which tell where an atom is are lost."""
    farthest = float(np.abs(raw.frac).max(initial=0.0))
    if farthest <= MAX_COORDINATE:
        return None
    return Problem("coordinate far outside the cell", f"{farthest:.3g} cells", "give coordinates in the cell")


def overlapping_atoms(raw: RawStructure) -> Problem | None:
    """Report atoms closer than `MIN_DISTANCE` under periodic boundary conditions, own images included."""
    try:
        distance = shortest_distance(raw.lattice, raw.frac % 1.0)
    except NeighboursError as error:
        reason, _, remedy = str(error).partition("; ")
        return Problem("too large", reason, remedy)
    if distance >= MIN_DISTANCE:
        return None
    return Problem("atoms closer than 0.1 Å", f"{distance:.3g} Å", "remove the duplicated atom or repair the cell")


STRUCTURE_CHECKS: tuple[Callable[[RawStructure], Problem | None], ...] = (
    no_atoms,
    shape_mismatch,
    unknown_numbers,
    degenerate_lattice,
    non_finite_coordinates,
    far_coordinates,
    overlapping_atoms,
)
"""In this order: each may rely on those before it."""


def structure_problem(raw: RawStructure) -> Problem | None:
    """Return the first check that fails."""
    return next((problem for check in STRUCTURE_CHECKS if (problem := check(raw))), None)


def unknown_symbols(symbols: Sequence[str]) -> Problem | None:
    """Report symbols that are no element, e.g. dummy species; D and T count as hydrogen."""
    unknown = sorted({symbol for symbol in symbols if atomic_number(symbol) == MASK})
    return _unknown(unknown) if unknown else None


def infinite_label(labels: Mapping[str, float]) -> Problem | None:
    """Report infinite labels: NaN means that a label is missing; infinity is a mistake."""
    infinite = sorted(name for name, value in labels.items() if np.isinf(value))
    return Problem("label is infinite", ", ".join(infinite), "correct it, or leave it empty") if infinite else None


def _unknown(names: Sequence[object]) -> Problem:
    shown = ", ".join(str(name)[:40] for name in names[:5])
    return Problem("unknown element", shown, "only the elements 1…118 (and D, T as H) can be read")
