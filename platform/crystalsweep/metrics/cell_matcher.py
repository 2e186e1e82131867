"""pymatgen's `StructureMatcher` on reduced cells, with what depends on the two lattices alone computed once.

The search is pymatgen's, step by step and to the last bit (`fit` and `get_rms_dist` of two cells of the same size; Ong
et al., Comput. Mater. Sci. 68, 314 (2013), doi:10.1016/j.commatsci.2012.10.028): each way to lay one lattice over the
other, each site of the rarest species as the origin. pymatgen makes the lattices anew for each pair, which takes two
thirds of its time; the crystals that are compared here mostly share a few lattices.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import isclose
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crystalsweep.metrics.bounded_matcher import add_work
from crystalsweep.metrics.reduced_cell import ReducedCell
from crystalsweep.metrics.settings import MatcherTolerances

if TYPE_CHECKING:
    from pymatgen.core import Lattice

_KEPT = 512
"""Pairs of lattices whose overlays are kept: up to 50 MB where all are cubic, else a few."""

_EXACT = 1e-5
"""RMSD below which pymatgen looks no further."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Overlay:
    """One way to lay the known lattice over the new one."""

    inverse: NDArray[np.float64]
    """(3, 3) 1/Å: Cartesian to fractional coordinates of the known lattice so laid."""
    mean: Lattice
    """The lattice halfway between the two, in which distances are measured."""

    @cached_property
    def volume(self) -> float:
        return float(self.mean.volume)

    @cached_property
    def reciprocal(self) -> NDArray[np.float64]:
        return np.array(self.mean.reciprocal_lattice.abc)

    @cached_property
    def lll_reciprocal(self) -> NDArray[np.float64]:
        return np.array(self.mean.get_lll_reduced_lattice().reciprocal_lattice.abc)


class _Overlays(NamedTuple):
    """Both lattices scaled to one volume, and the ways to lay one over the other."""

    known: NDArray[np.float64]
    """(3, 3) Å."""
    ways: tuple[_Overlay, ...]


def fits(known: ReducedCell, new: ReducedCell, tolerances: MatcherTolerances) -> bool:
    """Return `StructureMatcher.fit(known, new, skip_structure_reduction=True)`: no site moves by more than stol.

    Raises:
        GivenUpError: It takes more than `bounded_matcher.MOST_WORK`.
    """
    if known.composition != new.composition:
        return False
    return any(max(moved) < tolerances.stol for moved in _mappings(known, new, tolerances))


def rms_distance(known: ReducedCell, new: ReducedCell, tolerances: MatcherTolerances) -> float | None:
    """Return the RMSD of `StructureMatcher.get_rms_dist` for two reduced cells, in (V/N)^(1/3); None for no match.

    Raises:
        GivenUpError: It takes more than `bounded_matcher.MOST_WORK`.
    """
    if known.composition != new.composition:
        return None
    best = np.inf
    for moved in _mappings(known, new, tolerances):
        best = min(best, float(np.linalg.norm(moved) / len(moved) ** 0.5))
        if best < min(_EXACT, tolerances.stol):
            break
    return best if best < tolerances.stol else None


def _mappings(known: ReducedCell, new: ReducedCell, tolerances: MatcherTolerances) -> Iterator[NDArray[np.float64]]:
    """Yield how far each site moves, (n,) in (V/N)^(1/3), under each mapping that no coarse test excludes."""
    from pymatgen.core.structure_matcher import get_linear_assignment_solution
    from pymatgen.util.coord_cython import is_coord_subset_pbc, pbc_shortest_vectors

    scaled, ways = _overlays(
        known.lattice.tobytes(), known.volume, new.lattice.tobytes(), new.volume, tolerances.ltol, tolerances.angle_tol
    )
    if not ways:
        return
    cart = np.array([np.dot(site, scaled) for site in known.frac])  # site by site, as pymatgen rounds it
    forbidden = (new.species[:, None] != known.species[None, :]).astype(np.int64)
    origin = int(np.argmax(forbidden.sum(axis=-1)))
    anchors, n, work = np.flatnonzero(forbidden[origin] == 0).tolist(), len(known), 0.0
    for way in ways:
        laid = np.dot(cart, way.inverse)
        laid -= np.floor(laid)
        normalization = (n / way.volume) ** (1 / 3)
        reach = way.reciprocal * tolerances.stol / (np.pi * normalization)
        for anchor in anchors:
            shifted = new.frac + (laid[anchor] - new.frac[origin])
            if not is_coord_subset_pbc(shifted, laid, reach, forbidden):
                continue
            work = add_work(work, n)
            lll_reach = way.lll_reciprocal * tolerances.stol / (np.pi * normalization)
            vectors, squared = pbc_shortest_vectors(
                way.mean, shifted, laid, forbidden, return_d2=True, lll_frac_tol=lll_reach
            )
            assigned, _ = get_linear_assignment_solution(squared)
            moved = vectors[np.arange(len(assigned)), assigned]
            yield np.sum((moved - np.mean(moved, axis=0)) ** 2, axis=-1) ** 0.5 * normalization


@lru_cache(maxsize=_KEPT)
def _overlays(
    known: bytes, known_volume: float, new: bytes, new_volume: float, ltol: float, angle_tol: float
) -> _Overlays:
    from pymatgen.core import Lattice

    ratio = (new_volume / known_volume) ** (1 / 6)
    ours = Lattice(np.frombuffer(known).reshape(3, 3) * ratio)
    target = Lattice(np.frombuffer(new).reshape(3, 3) / ratio)
    found = ours.find_all_mappings(target, ltol=ltol, atol=angle_tol, skip_rotation_matrix=True)
    laid = [
        lattice
        for lattice, _, change in found
        if isclose(abs(np.linalg.det(change)), 1, abs_tol=0.5, rel_tol=0)  # one cell over one cell
    ]
    ways = (_Overlay(inverse=each.inv_matrix, mean=_mean(each, target)) for each in laid)
    return _Overlays(np.array(ours.matrix), tuple(ways))


def _mean(a: Lattice, b: Lattice) -> Lattice:
    from pymatgen.core import Lattice

    return Lattice.from_parameters(*(np.array(a.parameters) + np.array(b.parameters)) / 2)
