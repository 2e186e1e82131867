"""Whether two crystals are the same one: what uniqueness and novelty rest on.

pymatgen's `StructureMatcher.fit` (Ong et al., Comput. Mater. Sci. 68, 314 (2013), doi:10.1016/j.commatsci.2012.10.028):
a mapping that moves no site by more than stol (V/N)^(1/3). Its cells are reduced once per crystal and kept.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from crystalsweep.metrics.settings import MatcherTolerances, StructureRules
from crystalsweep.metrics.similarity import minimum_image, reduced_lattice
from crystalsweep.metrics.validity import structurally_valid
from crystalsweep.structures.crystal import MASK, N_ELEMENTS, Crystal

if TYPE_CHECKING:
    from pymatgen.analysis.structure_matcher import StructureMatcher
    from pymatgen.core import Structure

LARGEST = 200
"""Atoms of the largest cell that is compared: the matcher takes 0.5, 5 and 44 s for 54, 108 and 256 atoms of Cu."""

ELONGATED = 10_000
"""Lattice points within 1.3 longest vectors, which the matcher enumerates. Real crystals have up to 6000
(2 s at 2000); a cell of 3 Å × 3 Å × 1000 Å has a million."""

APART = StructureRules(min_distance=0.1, min_volume=0.1)
"""Atoms within 0.1 Å (own images included) are one atom, and a cell below 0.1 Å³ is flat."""

MATCHER_ERRORS = (ArithmeticError, LookupError, MemoryError, RuntimeError, TypeError, ValueError)
"""What pymatgen raises on cells that cannot be reduced; numpy's LinAlgError is a ValueError."""


_asked: WeakKeyDictionary[Crystal, str] = WeakKeyDictionary()


def unscorable(crystal: Crystal) -> str:
    """Return why a crystal cannot be compared with any other; empty if it can.

    Found out once per crystal object: matching, novelty and uniqueness all ask.
    """
    if crystal not in _asked:
        _asked[crystal] = _unscorable(crystal)
    return _asked[crystal]


def too_large_to_match(crystal: Crystal) -> str:
    """Return why a scorable crystal is not given to the matcher, which would take minutes; empty if it is."""
    if len(crystal) > LARGEST:
        return f"{len(crystal)} atoms, more than {LARGEST}"
    return "cell too elongated" if _lattice_points(crystal) > ELONGATED else ""


def _unscorable(crystal: Crystal) -> str:
    n = len(crystal)
    if not n:
        return "no atoms"
    if crystal.frac.shape != (n, 3):
        return f"{n} species and coordinates of shape {crystal.frac.shape}"
    if (crystal.species == MASK).any():
        return "masked species"
    if crystal.species.min() < MASK or crystal.species.max() > N_ELEMENTS:
        return "species outside 1…118"
    if not np.isfinite(crystal.frac).all() or not np.isfinite(crystal.lattice).all():
        return "non-finite coordinates or lattice"
    if not APART.min_volume <= crystal.volume < np.inf:
        return f"volume of {crystal.volume:.3g} Å³"
    return "" if structurally_valid(crystal, APART) else f"atoms within {APART.min_distance} Å of each other"


def _lattice_points(crystal: Crystal) -> float:
    longest = np.linalg.norm(reduced_lattice(crystal.lattice), axis=1).max()
    return float(4 / 3 * np.pi * (1.3 * longest) ** 3 / crystal.volume)


def structure(crystal: Crystal) -> Structure:
    """Return the crystal for pymatgen."""
    from pymatgen.core import Structure

    return Structure(crystal.lattice, crystal.species.tolist(), crystal.frac)


def free_length(crystal: Crystal) -> float:
    """Return (V/N)^(1/3), Å: the unit of `stol` and of the RMSD."""
    return float((crystal.volume / len(crystal)) ** (1 / 3))


def same_lattice(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return whether lattices (..., 3, 3), Å, agree to what single precision and text files keep."""
    return np.asarray(np.isclose(a, b, rtol=1e-5, atol=1e-4).all(axis=(-2, -1)))


class Comparable:
    """A crystal and its reduced cell, made when first asked for."""

    def __init__(self, crystal: Crystal) -> None:
        self.crystal = crystal

    @cached_property
    def reduced(self) -> Structure | None:
        """Niggli cell, then primitive cell, as the matcher itself reduces; None where pymatgen cannot."""
        try:
            return structure(self.crystal).get_reduced_structure("niggli").get_primitive_structure()
        except MATCHER_ERRORS:
            return None


def largest_gaps(known: list[Comparable], crystal: Crystal) -> NDArray[np.float64]:
    """Return (R,): the largest displacement, in (V/N)^(1/3), between `crystal` and each known one, paired site by site.

    The mean displacement is removed. Infinite where the two do not have the same lattice and species, site by site.
    Any mapping bounds the best one from above, so a gap below stol settles that the two are the same.
    """
    gaps = np.full(len(known), np.inf)
    n = len(crystal)
    alike = [i for i, other in enumerate(known) if np.array_equal(other.crystal.species, crystal.species)]
    if not alike:
        return gaps
    rows = np.array(alike)[same_lattice(np.stack([known[i].crystal.lattice for i in alike]), crystal.lattice)]
    if not len(rows):
        return gaps
    frac = np.concatenate([known[i].crystal.frac for i in rows]).reshape(len(rows), n, 3)
    moved = minimum_image((frac - crystal.frac) @ crystal.lattice, crystal.lattice)
    moved -= moved.mean(axis=1, keepdims=True)
    gaps[rows] = np.linalg.norm(moved, axis=2).max(axis=1) / free_length(crystal)
    return gaps


def fits(known: Comparable, crystal: Comparable, tolerances: MatcherTolerances) -> bool:
    """Return `StructureMatcher.fit(known, crystal)`; False where pymatgen fails or one is too large.

    Both must have the same reduced composition. Reduced cells with different numbers of sites never fit, so the matcher
    is not asked. Its answer may depend on which of the two comes first; here it is always the one known before.
    """
    if too_large_to_match(known.crystal) or too_large_to_match(crystal.crystal):
        return False
    a, b = known.reduced, crystal.reduced
    if a is None or b is None or len(a) != len(b):
        return False
    try:
        return bool(matcher(tolerances).fit(a, b, skip_structure_reduction=True))
    except MATCHER_ERRORS:
        return False


@lru_cache(maxsize=8)
def matcher(tolerances: MatcherTolerances) -> StructureMatcher:
    """Return pymatgen's matcher with these tolerances and its other defaults."""
    from pymatgen.analysis.structure_matcher import StructureMatcher

    return StructureMatcher(**tolerances.model_dump())
