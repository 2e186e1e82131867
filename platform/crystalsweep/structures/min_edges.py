"""Shortest distances of many crystals at once, for data sets of thousands.

In fractional coordinates, two atoms differ by at most half a cell along each axis once whole lattice vectors are taken
off. An image n cells further along an axis is then at least (n − ½) plane spacings away, so that few images are looked
at, and where a cell is so skewed that they do not suffice, its crystal is searched by `shortest_distance`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crystalsweep.structures.neighbours import NeighboursError, shortest_distance

_PAIRS_AT_ONCE = 30_000
"""Of atoms: their arrays stay in a processor's cache."""

_MOST_ATOMS = 128
"""All pairs are looked at, whose number is quadratic; in larger crystals pymatgen's search is the faster."""

_SHIFTS = np.stack(np.meshgrid(*[[-1.0, 0.0, 1.0]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
"""(27, 3) cells."""

_IMAGES = _SHIFTS[np.abs(_SHIFTS).any(axis=1)]
"""(26, 3) of them without the cell itself."""


def min_edges(
    counts: NDArray[np.int64], lattice: NDArray[np.float64], frac: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return (M,) what `shortest_distance` gives for each of M crystals, but for rounding, Å; NaN where it raises.

    Args:
        counts: (M,) atoms of each, at least one.
        lattice: (M, 3, 3) Å, none without volume.
        frac: (sum of counts, 3) fractional coordinates, one crystal's after another's.
    """
    found = np.empty(len(counts))
    start = np.cumsum(counts) - counts
    for atoms in np.unique(counts):
        rows = np.flatnonzero(counts == atoms)
        at_once = max(1, int(_PAIRS_AT_ONCE // max(atoms * (atoms - 1) // 2, 1))) if atoms <= _MOST_ATOMS else 1
        for first in range(0, len(rows), at_once):
            chosen = rows[first : first + at_once]
            positions = frac[start[chosen][:, None] + np.arange(atoms)]
            found[chosen] = _alike(lattice[chosen], positions)
    return found


def _alike(lattice: NDArray[np.float64], frac: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (m,) shortest distances of m crystals with (m, 3, 3) lattices and (m, N, 3) coordinates."""
    atoms = frac.shape[1]
    if atoms > _MOST_ATOMS:
        return np.array([_searched(cell, part) for cell, part in zip(lattice, frac, strict=True)])
    spacing = 1.0 / np.linalg.norm(np.linalg.inv(lattice), axis=1).max(axis=1)  # of the closest lattice planes
    least = np.linalg.norm(_IMAGES @ lattice, axis=-1).min(axis=1)
    if atoms > 1:
        first, second = np.triu_indices(atoms, 1)
        columns = np.ascontiguousarray(frac.transpose(0, 2, 1))
        apart = columns[:, :, first] - columns[:, :, second]
        apart -= np.rint(apart)
        least = np.minimum(least, _shortest(lattice, apart))
        near = np.flatnonzero(least > 0.499 * spacing)  # an image may be closer; a little room for rounding
        for shift in _IMAGES if len(near) else ():
            least[near] = np.minimum(least[near], _shortest(lattice[near], apart[near] + shift[:, None]))
    for row in np.flatnonzero(least > 1.499 * spacing):
        least[row] = _searched(lattice[row], frac[row])
    return least


def _searched(lattice: NDArray[np.float64], frac: NDArray[np.float64]) -> float:
    try:
        return shortest_distance(lattice, frac)
    except NeighboursError:
        return np.nan


def _shortest(lattice: NDArray[np.float64], apart: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (m,) the lengths of the shortest of (m, 3, P) differences in fractional coordinates, Å."""
    steps = lattice.transpose(0, 2, 1) @ apart
    steps *= steps
    return np.asarray(np.sqrt((steps[:, 0] + steps[:, 1] + steps[:, 2]).min(axis=1)))
