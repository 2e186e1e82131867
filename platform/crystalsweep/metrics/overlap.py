"""A quick test that leaves the matcher few of many crystals in cells of one shape, all of them in one go.

Thousands of polymorphs in, say, cubic cells take the matcher 12 ms a pair, most of it to lay one cell over the other in
each of 24 ways. Here that is done once for all of them, and most that cannot match are told by a few of their atoms.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crystalsweep.metrics.reduced_cell import ReducedCell
from crystalsweep.metrics.settings import MatcherTolerances

FEWEST = 32
"""Crystals of one shape for which this is quicker than asking the matcher."""

_DECIMALS = 4
"""Of cells of unit volume; those that agree to so many have one shape."""

_SLACK = 1.01
"""On every tolerance: what differs only in rounding is left to the matcher."""


def by_shape(cells: Sequence[ReducedCell]) -> list[NDArray[np.int64]]:
    """Return the positions of cells with the same lattice, up to its volume, together."""
    groups: dict[bytes, list[int]] = defaultdict(list)
    for i, cell in enumerate(cells):
        groups[np.round(_unit(cell), _DECIMALS).tobytes()].append(i)
    return [np.array(positions) for positions in groups.values()]


def may_overlap(known: Sequence[ReducedCell], new: ReducedCell, tolerances: MatcherTolerances) -> NDArray[np.bool_]:
    """Return (K,) False where the matcher would find that `new` is none of the known cells, which have one shape.

    A mapping moves no site by more than stol from a common shift. So with one atom of the rarest species laid on the
    one that it becomes, each atom of the new cell has one of its species within 2 stol: that is what is asked here, of
    each way to lay one lattice over the other and each atom. All have the new cell's numbers of each species.
    """
    from pymatgen.core import Lattice

    possible = np.zeros(len(known), dtype=bool)
    ours, theirs = _by_species(new), [np.stack(each) for each in zip(*map(_by_species, known), strict=True)]
    target, wider = Lattice(_unit(new)), {"ltol": tolerances.ltol * _SLACK, "atol": tolerances.angle_tol * _SLACK}
    reach = 2 * _SLACK * tolerances.stol / len(new) ** (1 / 3)
    for lattice, _, change in Lattice(_unit(known[0])).find_all_mappings(target, **wider, skip_rotation_matrix=True):
        laid = [each @ np.linalg.inv(change) for each in theirs]
        mean = Lattice.from_parameters(*(np.array(lattice.parameters) + np.array(target.parameters)) / 2)
        box = np.array(mean.reciprocal_lattice.abc) * reach / (2 * np.pi)
        for anchor in range(laid[0].shape[1]):
            left, shift = np.flatnonzero(~possible), laid[0][:, anchor, None] - ours[0][0]
            for atom, candidates in ((atom, each) for each, atoms in zip(laid, ours, strict=True) for atom in atoms):
                gaps = candidates[left] - shift[left] - atom
                gaps -= np.round(gaps)
                near = (np.abs(gaps) < box).all(axis=-1)
                if (box < 0.5).all():  # else another image than this one may be the nearest
                    near &= np.linalg.norm(gaps @ mean.matrix, axis=-1) < reach
                left = left[near.any(axis=1)]
                if not len(left):
                    break
            possible[left] = True
        if possible.all():
            break
    return possible


def _by_species(cell: ReducedCell) -> list[NDArray[np.float64]]:
    """Return fractional coordinates (n, 3) of each species, the rarest first."""
    kinds, counts = np.unique(cell.species, return_counts=True)
    return [cell.frac[cell.species == kinds[i]] for i in np.argsort(counts, kind="stable")]


def _unit(cell: ReducedCell) -> NDArray[np.float64]:
    return np.asarray(cell.lattice / cell.volume ** (1 / 3), dtype=np.float64)
