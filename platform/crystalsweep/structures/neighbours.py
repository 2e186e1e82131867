"""Periodic neighbours of one crystal, by pymatgen's compiled search.

pymatgen's `find_points_in_spheres` was the fastest exact search of those measured (`benchmarks/neighbour_lists.py`);
it needs no padding or minimum-image assumption, so one-atom, needle-shaped and strongly skewed cells are plain input.

What it takes grows with the cube of the cutoff, the square of the number of atoms and the emptiness of the cell, so it
is asked for the neighbours of some atoms at a time, by cubes that are not too many, and pairs are counted as they come.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_PERIODIC = np.ones(3, dtype=np.int64)
_SAME_SITE = 1e-8
"""Å; a pair closer than this within one image is an atom and itself."""

MAX_EDGES = 5_000_000
"""Of one graph. The largest crystal that is read, of 10,000 atoms, with 500 neighbours each; a fifth of a gigabyte
before any network sees it, and in training more than 40 GB of the smallest network worth it."""

MAX_PAIRS = 20_000_000
"""Within the cutoff in one crystal, before the nearest are chosen: some twenty seconds. 10,000 atoms of diamond have
that many at 14 Å, 1,000 at 30 Å; published networks look 4 to 12 Å far."""

_PAIRS_AT_ONCE = 2_000_000
"""That one call may find: 0.2 GB. All of a crystal of some hundred atoms are found at once."""

_MAX_POINTS = 1_000_000_000
"""Images of atoms that all calls together may go through: some ten seconds."""

_MAX_CUBES = 200_000
"""Into which a call divides space: 43 MB. Cubes are as wide as the cutoff, and an empty cell of 1000 Å has millions."""

_FEW = 500
"""Atoms whose shortest distance is looked for within 4 Å at once; of more, from 1 Å on, where fewer pairs are."""

_LEAST_RADIUS = 1.0
"""Å; pymatgen's own `min_r`."""


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


class NeighboursError(ValueError):
    """A crystal with more neighbours than are searched for: how many, and what to do."""


def neighbour_list(lattice: NDArray[np.float64], frac: NDArray[np.float64], cutoff: float) -> NeighbourList:
    """Return every pair within `cutoff` (Å) under periodic boundary conditions, own images included, an atom itself
    not. Raises `NeighboursError` where they are too many."""
    return _counted(_portions(lattice, frac, cutoff))


def nearest_neighbours(
    lattice: NDArray[np.float64], frac: NDArray[np.float64], cutoff: float, max_neighbours: int
) -> NeighbourList:
    """Return `nearest` of the `neighbour_list`, which may itself be larger than the memory. Raises
    `NeighboursError`."""
    return _counted(nearest(portion, max_neighbours) for portion in _portions(lattice, frac, cutoff))


def plane_spacings(lattice: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return distances between neighbouring lattice planes, Å; in Python's numbers, which for three are the faster.

    Raises `NeighboursError` for a cell without volume.
    """
    a, b, c = lattice.tolist()
    normals = _cross(b, c), _cross(c, a), _cross(a, b)
    volume = abs(sum(x * y for x, y in zip(a, normals[0], strict=True)))
    if not volume > 0:
        raise NeighboursError("a cell without volume; give three independent lattice vectors in Å")
    first, second, third = (volume / math.hypot(*normal) for normal in normals)
    return first, second, third


def _cross(a: list[float], b: list[float]) -> tuple[float, float, float]:
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def require_edges(edges: int) -> None:
    """Raise `NeighboursError` for more edges than one graph may have."""
    if edges > MAX_EDGES:
        raise NeighboursError(
            f"a graph of more than {edges:,} edges, at most {MAX_EDGES:,} are made; lower backbone.max_neighbours, "
            "backbone.cutoff or batch_size, or leave large crystals out with max_atoms"
        )


def _counted(portions: Iterator[NeighbourList]) -> NeighbourList:
    """Return the pairs of all portions, counted as they come."""
    found: list[NeighbourList] = []
    for portion in portions:
        found.append(portion)
        require_edges(sum(len(each.src) for each in found))
    return found[0] if len(found) == 1 else NeighbourList(*map(np.concatenate, zip(*found, strict=True)))


def _portions(lattice: NDArray[np.float64], frac: NDArray[np.float64], cutoff: float) -> Iterator[NeighbourList]:
    """Yield all pairs within the cutoff, those of some centres at a time, in the order of centres."""
    cart = np.ascontiguousarray(frac @ lattice)
    radius = _search_radius(cart, cutoff)
    size = _centres_at_once(lattice, len(cart), radius, cutoff)
    pairs = 0
    for start in range(0, max(len(cart), 1), size):
        portion = _pairs(lattice, cart, start, start + size, radius, cutoff)
        pairs += len(portion.src)
        if pairs > MAX_PAIRS:
            raise _too_many(len(cart), cutoff, f"more than {pairs:,}")
        yield portion


def _pairs(
    lattice: NDArray[np.float64], cart: NDArray[np.float64], start: int, stop: int, radius: float, cutoff: float
) -> NeighbourList:
    """Return pairs within the cutoff whose centres are the atoms from `start` to `stop`, found within `radius`."""
    from pymatgen.optimization.neighbors import (
        find_points_in_spheres,
    )  # a tenth of a second, where many only read crystals

    centres = np.ascontiguousarray(cart[start:stop])
    dst, src, offset, distance = find_points_in_spheres(
        cart, centres, r=radius, pbc=_PERIODIC, lattice=np.ascontiguousarray(lattice), tol=_SAME_SITE
    )
    dst = dst + start
    pair = (src != dst) | (distance > _SAME_SITE)
    if radius > cutoff:
        pair &= distance <= cutoff + _SAME_SITE
    return NeighbourList(src[pair], dst[pair], offset[pair], distance[pair])


def _search_radius(cart: NDArray[np.float64], cutoff: float) -> float:
    """Return the cutoff, or as much more as leaves a call few enough cubes, in Å."""
    span = (cart.max(axis=0) - cart.min(axis=0)).tolist() if len(cart) else []
    radius = float(cutoff)
    while math.prod(edge / max(radius, _LEAST_RADIUS) + 3 for edge in span) > _MAX_CUBES:
        radius = 1.25 * max(radius, _LEAST_RADIUS)
    return radius


def _centres_at_once(lattice: NDArray[np.float64], atoms: int, radius: float, cutoff: float) -> int:
    """Return how many centres one call may have, so that whatever the positions it finds not too many pairs.

    Raises `NeighboursError` where so many calls would take too long, or the pairs are too many on average.
    """
    a, b, c = plane_spacings(lattice)
    of_a_centre = atoms * math.prod(2 * radius // spacing + 1 for spacing in (a, b, c))
    points = atoms * math.prod(2 * (radius // spacing) + 3 for spacing in (a, b, c))
    size = int(max(1, _PAIRS_AT_ONCE // max(of_a_centre, 1)))
    if atoms * of_a_centre > _PAIRS_AT_ONCE:
        expected = atoms**2 * 4 / 3 * math.pi * cutoff**3 / abs(float(np.linalg.det(lattice)))
        if not expected <= min(1.5 * MAX_PAIRS, atoms * _PAIRS_AT_ONCE):
            raise _too_many(atoms, cutoff, f"about {expected:,.3g}")
    if not points * -(-atoms // size) <= _MAX_POINTS:
        raise NeighboursError(
            f"a cell of {atoms:,} atoms with lattice planes only {min(a, b, c):.2g} Å apart has too many images "
            f"within {cutoff:g} Å; give a reduced cell, such as Niggli's, or lower the cutoff"
        )
    return size


def _too_many(atoms: int, cutoff: float, pairs: str) -> NeighboursError:
    return NeighboursError(
        f"{pairs} pairs of atoms within {cutoff:g} Å in a crystal of {atoms:,} atoms, at most {MAX_PAIRS:,} are "
        "searched for; lower the cutoff, or give a crystal with fewer atoms or a larger cell"
    )


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
    """Return `min_edge`: shortest periodic interatomic distance, own images included, Å. Zero for coinciding atoms.

    Raises `NeighboursError` where the search would not end."""
    image = float(np.linalg.norm(lattice, axis=1).min())  # an atom always sees its own image this far away
    radius = min(4.0 if len(frac) <= _FEW else 1.0, image)
    while True:
        portions = _portions(lattice, frac, radius * (1 + 1e-6))
        found = [float(each.distance.min()) for each in portions if len(each.distance)]
        if found:
            return min(found)
        radius = min(2 * radius, image)
