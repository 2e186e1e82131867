"""Periodic neighbours of one crystal, by pymatgen's compiled search.

pymatgen's `find_points_in_spheres` was the fastest exact search of those measured (`benchmarks/neighbour_lists.py`);
it needs no padding or minimum-image assumption, so one-atom, needle-shaped and strongly skewed cells are plain input.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_PERIODIC = np.ones(3, dtype=np.int64)
_SAME_SITE = 1e-8
"""Å; a pair closer than this within one image is an atom and itself."""


class NeighbourList(NamedTuple):
    """E directed pairs: atom `dst` sees atom `src` in the cell shifted by `offset`."""

    src: NDArray[np.int64]
    """(E,) index of the neighbour."""
    dst: NDArray[np.int64]
    """(E,) index of the centre."""
    offset: NDArray[np.float64]
    """(E, 3) whole lattice vectors added to the neighbour."""
    distance: NDArray[np.float64]
    """(E,) Å."""


def neighbour_list(lattice: NDArray[np.float64], frac: NDArray[np.float64], cutoff: float) -> NeighbourList:
    """Return every pair within `cutoff` (Å) under periodic boundary conditions, own images included, an atom itself
    not."""
    from pymatgen.optimization.neighbors import (
        find_points_in_spheres,
    )  # a tenth of a second, where many only read crystals

    cart = np.ascontiguousarray(frac @ lattice)
    dst, src, offset, distance = find_points_in_spheres(
        cart, cart, r=float(cutoff), pbc=_PERIODIC, lattice=np.ascontiguousarray(lattice), tol=_SAME_SITE
    )
    pair = (src != dst) | (distance > _SAME_SITE)
    return NeighbourList(src[pair], dst[pair], offset[pair], distance[pair])


def nearest(neighbours: NeighbourList, max_neighbours: int, tolerance: float = 0.01) -> NeighbourList:
    """Keep, per centre, the pairs up to its `max_neighbours`-th distance plus `tolerance` (Å).

    Whole shells are kept: symmetric crystals have exact ties, and cutting one would make the graph depend on atom
    order.
    """
    order = np.lexsort((neighbours.distance, neighbours.dst))
    distance, count = neighbours.distance[order], np.bincount(neighbours.dst)
    last = np.cumsum(count) - 1
    limit = distance[np.minimum(last - count + max_neighbours, last)] + tolerance  # one per centre
    kept = order[distance <= np.repeat(limit, count)]
    return NeighbourList(neighbours.src[kept], neighbours.dst[kept], neighbours.offset[kept], neighbours.distance[kept])


def shortest_distance(lattice: NDArray[np.float64], frac: NDArray[np.float64]) -> float:
    """Return `min_edge`: shortest periodic interatomic distance, own images included, Å. Zero for coinciding atoms."""
    image = float(np.linalg.norm(lattice, axis=1).min())  # an atom always sees its own image this far away
    radius = min(4.0, image)
    while True:
        distance = neighbour_list(lattice, frac, radius * (1 + 1e-6)).distance
        if len(distance):
            return float(distance.min())
        radius = min(2 * radius, image)
