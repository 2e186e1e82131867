"""Which generated crystals are copies of earlier ones: the uniqueness of a table.

Duplicates as in MatterGen (doi:10.1038/s41586-025-08628-5): StructureMatcher with pymatgen's default tolerances.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crystalsweep.metrics.duplicates import Comparable, fits, largest_gaps, unscorable
from crystalsweep.metrics.settings import MatcherTolerances
from crystalsweep.structures.crystal import Crystal

ASKED = 8
"""Representatives that the matcher compares one crystal with, nearest first."""


def first_of_kind(crystals: Sequence[Crystal], tolerances: MatcherTolerances) -> NDArray[np.bool_]:
    """Return (n,): True where no earlier crystal of the sequence is the same one; see `representatives`."""
    return representatives(crystals, tolerances) == np.arange(len(crystals))


def representatives(
    crystals: Sequence[Crystal], tolerances: MatcherTolerances, asked: int | None = ASKED
) -> NDArray[np.int64]:
    """Return (n,): index of the earlier crystal that each is a copy of; its own if it is the first, −1 if it is
    unscorable.

    Being the same within a tolerance is not transitive: a may match b and b match c, but not a c. Each crystal is
    compared with the first ones of their kind only, so b is a copy of a, and c is a kind of its own; the order of the
    sequence matters. Only crystals of one reduced composition are compared. Crystals on the same sites (rows that
    restore one parent) are the same where no site differs by stol or more; where that fails (two rows with
    noise of one parent), the matcher still finds another mapping in 11 % of the pairs, so it is asked, for the `asked`
    nearest representatives (None: all; on 774 rows with noise the unique share was the same).
    """
    found = np.full(len(crystals), -1, dtype=np.int64)
    kinds: dict[str, list[Comparable]] = defaultdict(list)
    indices: dict[str, list[int]] = defaultdict(list)
    for i, crystal in enumerate(crystals):
        if unscorable(crystal):
            continue
        formula = crystal.reduced_formula
        new = Comparable(crystal)
        position = _position(kinds[formula], new, tolerances, asked)
        if position is None:
            kinds[formula].append(new)
            indices[formula].append(i)
        found[i] = i if position is None else indices[formula][position]
    return found


def _position(known: list[Comparable], new: Comparable, tolerances: MatcherTolerances, asked: int | None) -> int | None:
    """Return which of the known crystals the new one is a copy of."""
    if not known:
        return None
    gaps = largest_gaps(known, new.crystal)
    order = np.argsort(gaps, kind="stable")
    if gaps[order[0]] < tolerances.stol:
        return int(order[0])
    return next((int(i) for i in order[:asked] if fits(known[i], new, tolerances)), None)
