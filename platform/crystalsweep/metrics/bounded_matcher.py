"""pymatgen's `StructureMatcher`, which gives up after a set amount of work rather than after hours.

Two noisy cells of one element, 256 atoms each, pass every coarse test and fail the last one under each of thousands of
mappings: 11 s. The work is counted, not timed, so that a slow machine gives the same answers as a fast one.
Ong et al., Comput. Mater. Sci. 68, 314 (2013), doi:10.1016/j.commatsci.2012.10.028.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from crystalsweep.metrics.settings import MatcherTolerances

if TYPE_CHECKING:
    from pymatgen.analysis.structure_matcher import StructureMatcher
    from pymatgen.core import Structure

MOST_WORK = 200e9
"""Σ N³ over the assignments of N sites that one comparison may solve: about 10 s."""


class GivenUpError(RuntimeError):
    """A comparison that took more than `MOST_WORK`."""


@lru_cache(maxsize=8)
def matcher(tolerances: MatcherTolerances, *, supercells: bool = False) -> StructureMatcher:
    """Return a matcher with these tolerances and pymatgen's other defaults; its comparisons may raise `GivenUpError`.

    Args:
        tolerances: ltol, stol and angle_tol.
        supercells: Repeat the smaller cell until it is as large as the other, instead of reducing both.
    """
    kind = _bounded_matcher()
    return kind(**tolerances.model_dump(), primitive_cell=not supercells, attempt_supercell=supercells)


@cache
def _bounded_matcher() -> type[StructureMatcher]:
    """Make the class. Two private methods of pymatgen are extended; a test sees that comparisons still call them."""
    from pymatgen.analysis.structure_matcher import StructureMatcher

    class BoundedMatcher(StructureMatcher):
        def _preprocess(self, *args: Any, **kwargs: Any) -> Any:
            self._work = 0.0  # every comparison begins here
            return super()._preprocess(*args, **kwargs)

        def _cart_dists(self, s1: Any, *args: Any, **kwargs: Any) -> Any:
            """Return what pymatgen does of one assignment of sites; a comparison may ask for thousands."""
            self._work += float(len(s1)) ** 3
            if self._work > MOST_WORK:
                raise GivenUpError(f"given up after {MOST_WORK:.0e} steps")
            return super()._cart_dists(s1, *args, **kwargs)

    return BoundedMatcher


def same_shape(known: Structure, new: Structure, tolerances: MatcherTolerances) -> bool:
    """Return whether some basis of the known lattice, scaled to one volume, has the new one's lengths and angles.

    It is the first thing that `fit` asks, and takes a fifth of its time; most pairs of polymorphs end here.
    """
    from pymatgen.core import Lattice

    ratio = (new.volume / known.volume) ** (1 / 6)
    scaled, target = Lattice(known.lattice.matrix * ratio), Lattice(new.lattice.matrix / ratio)
    found = scaled.find_mapping(target, ltol=tolerances.ltol, atol=tolerances.angle_tol, skip_rotation_matrix=True)
    return found is not None
