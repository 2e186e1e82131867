"""The known crystal that a candidate is nearest to: the same one, another structure of its composition, or a relative.

Known are the bundled crystals, or others: what a candidate is new against is said with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crystalsweep.data.packed import Pack
from crystalsweep.data.packing import pack_of
from crystalsweep.metrics.duplicates import find, unscorable
from crystalsweep.metrics.reduced_cell import Comparable
from crystalsweep.metrics.settings import MetricConfig
from crystalsweep.structures.crystal import N_SPECIES, Crystal
from crystalsweep.structures.elements import formula_of

_ROUNDING = 1e-5
"""Difference of shares of atoms that means nothing."""

MOST = 40
"""Known crystals of one composition that are compared with a candidate, the nearest in volume."""


class Nearest(NamedTuple):
    """A known crystal beside a candidate."""

    id: str
    formula: str
    relation: Literal["same", "same composition", "near"]
    """`same`: by pymatgen's structure matcher at its defaults. `same composition`: another structure of it, or nothing
    could tell. `near`: of all known ones it shares the most atoms, and of several such its atoms have the most similar
    volume."""

    def __str__(self) -> str:
        """Write it as a cell of a table."""
        return {
            "same": self.id,
            "same composition": f"{self.id}, other structure",
            "near": f"none; near {self.id} {self.formula}",
        }[self.relation]


class Known:
    """Crystals in which candidates are looked up; nothing is compared before one is asked for."""

    def __init__(self, crystals: Sequence[Crystal]) -> None:
        self._pack: Pack = pack_of(crystals)
        self._crystals = crystals
        self._shares = _shares(self._pack)
        counts = np.diff(self._pack.start)
        self._volume_per_atom = np.abs(np.linalg.det(self._pack.lattice.astype(np.float64))) / counts

    def nearest(self, crystal: Crystal) -> Nearest | None:
        """Return the nearest known crystal; None where nothing is known, or the crystal is broken."""
        if not len(self._pack) or unscorable(crystal):
            return None
        elements, counts = np.unique(crystal.species, return_counts=True)
        common = np.minimum(self._shares[elements], (counts / len(crystal))[:, None]).sum(axis=0)
        rows = np.flatnonzero(common > common.max() - _ROUNDING)
        volume = np.abs(np.log(self._volume_per_atom[rows] / (crystal.volume / len(crystal))))
        nearest = rows[np.argsort(volume, kind="stable")[:MOST]]
        if common.max() < 1 - _ROUNDING:
            return _told(self._crystals[int(nearest[0])], "near")
        known = [each for each in (self._crystals[int(row)] for row in nearest) if not unscorable(each)]
        found = find([Comparable(each) for each in known], Comparable(crystal), MetricConfig().duplicate)
        if found.position is not None:
            return _told(known[found.position], "same")
        return _told(self._crystals[int(nearest[0])], "same composition")


def _told(crystal: Crystal, relation: Literal["same", "same composition", "near"]) -> Nearest:
    return Nearest(crystal.id, formula_of(crystal.species), relation)


def _shares(pack: Pack) -> NDArray[np.float64]:
    """Return (119, M) the share of atoms that each element has."""
    counts = np.diff(pack.start)
    row = np.repeat(np.arange(len(counts)), counts)
    table = np.bincount(pack.species.astype(np.int64) * len(counts) + row, minlength=len(counts) * N_SPECIES)
    return table.reshape(N_SPECIES, len(counts)) / np.maximum(counts, 1)
