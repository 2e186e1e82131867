"""A composition, and a structure, as numbers that a baseline learns from.

The statistics of elements' properties are those that Magpie uses (doi:10.1038/npjcompumats.2016.28), of the properties
that pymatgen has.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from crystalsweep.structures.crystal import N_ELEMENTS, Crystal
from crystalsweep.structures.neighbours import neighbour_list

Values = NDArray[np.float64]

PROPERTIES = ("Z", "X", "row", "group", "mendeleev_no", "atomic_mass", "atomic_radius", "melting_point")
"""Of elements, by pymatgen's names; where one is not known, the mean over the elements that have it stands in."""

REACH, SHELLS = 8.0, 32
"""Å to which atoms around an atom are counted, and the shells of equal width that they are counted in."""


def composition_features(crystals: Sequence[Crystal]) -> Values:
    """Return (M, 118 + 5 × properties): share of each element, then mean, deviation, least, greatest and range of each
    property of the elements."""
    shares = np.array([np.bincount(c.species - 1, minlength=N_ELEMENTS) / len(c) for c in crystals])
    table = _properties()
    mean = shares @ table
    deviation = np.sqrt(np.maximum(shares @ table**2 - mean**2, 0))
    there = shares[:, :, None] > 0
    least = np.where(there, table, np.inf).min(axis=1)
    greatest = np.where(there, table, -np.inf).max(axis=1)
    return np.concatenate([shares, mean, deviation, least, greatest, greatest - least], axis=1)


def structure_features(crystals: Sequence[Crystal]) -> Values:
    """Return (M, shells + 2): atoms around an atom by distance, mean over atoms, over the density that a shell has by
    chance; then volume per atom, Å³, and the shortest distance, Å. Blind to elements."""
    edges = np.linspace(0, REACH, SHELLS + 1)
    shell = 4 / 3 * np.pi * np.diff(edges**3)
    rows = []
    for crystal in crystals:
        distances = neighbour_list(crystal.lattice, crystal.frac, REACH).distance
        volume = crystal.volume / len(crystal)
        counts = np.histogram(distances, bins=edges)[0] / len(crystal)
        rows.append([*(counts * volume / shell), volume, crystal.min_edge])
    return np.array(rows, dtype=np.float64)


@cache
def _properties() -> Values:
    """Return (118, properties) of the elements."""
    from pymatgen.core import Element

    table = np.full((N_ELEMENTS, len(PROPERTIES)), np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is not known, which the mean stands in for
        for z in range(1, N_ELEMENTS + 1):
            element = Element.from_Z(z)
            for i, name in enumerate(PROPERTIES):
                value = getattr(element, name, None)
                table[z - 1, i] = np.nan if value is None else float(value)
    known = np.nanmean(table, axis=0)
    return np.where(np.isnan(table), known, table)
