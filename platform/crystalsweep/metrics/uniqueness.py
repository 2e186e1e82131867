"""Which generated crystals are copies of earlier ones: the uniqueness of a table.

Duplicates as in MatterGen (doi:10.1038/s41586-025-08628-5): StructureMatcher with pymatgen's default tolerances.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crystalsweep.metrics.duplicates import all_unscorable, find
from crystalsweep.metrics.reduced_cell import Comparable
from crystalsweep.metrics.settings import MatcherTolerances
from crystalsweep.structures.crystal import Crystal

UNSCORABLE = -1
"""In place of an index: a crystal that cannot be compared with any."""


class Kinds(NamedTuple):
    """What the crystals of a sequence are, each beside the earlier ones."""

    first: NDArray[np.int64]
    """(n,) index of the earlier crystal that each is a copy of, its own if none is known to be, or `UNSCORABLE`."""
    undecided: list[str]
    """(n,) why nothing could tell whether a crystal is a copy of an earlier one; empty where that is known."""

    @property
    def unique(self) -> NDArray[np.float64]:
        """Return (n,) 1.0 for the first of its kind, 0.0 for a copy or an unscorable crystal, NaN for undecided."""
        own = (self.first == np.arange(len(self.first))).astype(np.float64)
        own[[bool(why) for why in self.undecided]] = np.nan
        return own


def kinds(crystals: Sequence[Crystal], tolerances: MatcherTolerances) -> Kinds:
    """Return which crystals are copies of earlier ones.

    Being the same within a tolerance is not transitive: a may match b and b match c, but not a c. Each crystal is
    compared with the first ones of their kind only, so b is a copy of a, and c is a kind of its own; the order of the
    sequence matters. Only crystals of one reduced composition are compared, each with every kind there is, the nearest
    first. A crystal that nothing could tell from some kind counts as a kind of its own for those that come after it. A
    thousand kinds of one composition take minutes to hours.
    """
    first = np.full(len(crystals), UNSCORABLE, dtype=np.int64)
    undecided = [""] * len(crystals)
    known: dict[str, list[Comparable]] = defaultdict(list)
    indices: dict[str, list[int]] = defaultdict(list)
    for i, (crystal, why) in enumerate(zip(crystals, all_unscorable(crystals), strict=True)):
        if why:
            continue
        formula, new = crystal.reduced_formula, Comparable(crystal)
        found = find(known[formula], new, tolerances)
        if found.position is not None:
            first[i] = indices[formula][found.position]
            continue
        first[i] = i
        undecided[i] = next(iter(found.undecided.values()), "")
        known[formula].append(new)
        indices[formula].append(i)
    return Kinds(first, undecided)
