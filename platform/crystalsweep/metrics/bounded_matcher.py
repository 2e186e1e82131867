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

MOST_WORK = 200e9
"""Σ N³ over the assignments of N sites that one comparison may solve: about 10 s."""


class GivenUpError(RuntimeError):
    """A comparison that took more than `MOST_WORK`."""


def add_work(work: float, sites: int) -> float:
    """Return the work with that of one more assignment of so many sites. Raises `GivenUpError` beyond `MOST_WORK`."""
    work += float(sites) ** 3
    if work > MOST_WORK:
        raise GivenUpError(f"given up after {MOST_WORK:.0e} steps")
    return work


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
            self._work = add_work(self._work, len(s1))
            return super()._cart_dists(s1, *args, **kwargs)

    return BoundedMatcher
