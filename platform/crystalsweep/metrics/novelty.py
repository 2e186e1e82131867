"""Which generated crystals are new: beside their own input, and beside a reference such as the training crystals.

`novel_vs_input` is the novelty of Liu et al., iScience 27, 110672 (2024), doi:10.1016/j.isci.2024.110672;
`Reference` that of the field (MatterGen, doi:10.1038/s41586-025-08628-5): no duplicate in the reference.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from crystalsweep.metrics.duplicates import find, unscorable
from crystalsweep.metrics.reduced_cell import Comparable
from crystalsweep.metrics.settings import MatcherTolerances
from crystalsweep.structures.crystal import Crystal


class Looked(NamedTuple):
    """What looking a crystal up in a reference gives."""

    name: str
    """Id of a reference crystal that is the same one; empty if none is known to be."""
    undecided: str
    """Why nothing could tell, with how many reference crystals; empty where one is the same or all are different."""


class Reference:
    """Crystals that a generated one is looked up in, by reduced composition; can be pickled.

    Nothing is computed when it is built: a crystal is checked and reduced when one of its composition is asked for, and
    what was found is kept (and left behind by pickling), for each crystal object that was looked up too.
    """

    def __init__(self, crystals: Iterable[Crystal]) -> None:
        self._crystals: dict[str, list[Crystal]] = defaultdict(list)
        for crystal in crystals:
            if len(crystal):
                self._crystals[crystal.reduced_formula].append(crystal)
        self._known: dict[str, list[Comparable]] = {}
        self._found: WeakKeyDictionary[Crystal, dict[MatcherTolerances, Looked]] = WeakKeyDictionary()

    def __len__(self) -> int:
        return sum(map(len, self._crystals.values()))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_known": {}, "_found": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state | {"_found": WeakKeyDictionary()}

    def look_up(self, crystal: Crystal, tolerances: MatcherTolerances) -> Looked:
        """Return which reference crystal is the same one, or why that could not be told.

        Of several, the nearest on the same sites, else the first in the order they were given. An unscorable crystal
        is none of them.
        """
        found = self._found.setdefault(crystal, {})
        if tolerances not in found:
            found[tolerances] = Looked("", "") if unscorable(crystal) else self._search(crystal, tolerances)
        return found[tolerances]

    def contains(self, crystal: Crystal, tolerances: MatcherTolerances) -> bool | None:
        """Return whether a reference crystal is the same one; None if `crystal` is unscorable or nothing could tell."""
        looked = self.look_up(crystal, tolerances)
        return None if unscorable(crystal) or looked.undecided else bool(looked.name)

    def _search(self, crystal: Crystal, tolerances: MatcherTolerances) -> Looked:
        known = self._of_composition(crystal.reduced_formula)
        found = find(known, Comparable(crystal), tolerances)
        if found.position is not None:
            return Looked(known[found.position].crystal.id, "")
        reasons = list(found.undecided.values())
        if broken := len(self._crystals.get(crystal.reduced_formula, ())) - len(known):
            reasons += ["reference crystal that cannot be compared"] * broken
        return Looked("", f"{len(reasons):,} × {reasons[0]}" if reasons else "")

    def _of_composition(self, formula: str) -> list[Comparable]:
        if formula not in self._known:
            crystals = self._crystals.get(formula, [])
            self._known[formula] = [Comparable(c) for c in crystals if not unscorable(c)]
        return self._known[formula]


def novel_vs_input(table: pd.DataFrame) -> pd.Series:
    """Return (n,) 1.0 where a crystal is valid both ways and its reduced composition is not its parent's, else 0.0.

    Reads structural_validity, compositional_validity, species_before and species_after (arrays of atomic numbers).
    """
    pairs = zip(table["species_before"], table["species_after"], strict=True)
    other = np.array([reduced_composition(before) != reduced_composition(after) for before, after in pairs], dtype=bool)
    return novel_of(table, other)


def novel_of(table: pd.DataFrame, other: NDArray[np.bool_]) -> pd.Series:
    """Return the same of rows whose reduced composition is known to be another than the parent's, or not: other
    (n,)."""
    valid = table["structural_validity"].astype(bool) & table["compositional_validity"].astype(bool)
    return (valid & other).astype(float).rename("novel_vs_input")


def reduced_composition(species: ArrayLike) -> tuple[tuple[int, int], ...]:
    """Return ((Z, share), ...) with the shares in lowest terms; empty for no atoms."""
    numbers, counts = np.unique(np.asarray(species, dtype=np.int64), return_counts=True)
    divisor = np.gcd.reduce(counts) if len(counts) else 1
    return tuple(zip(numbers.tolist(), (counts // divisor).tolist(), strict=True))
