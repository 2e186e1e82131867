"""What a formula tells of a crystal: shares of the elements, and statistics of properties of its elements.

After Magpie (Ward et al., npj Comput. Mater. 2, 16028 (2016), doi:10.1038/npjcompumats.2016.28), with the properties
that pymatgen holds of nearly all elements. No structure goes in: crystals of one composition have the same features.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from crystalsweep.metrics.geometry import Array
from crystalsweep.structures.crystal import N_ELEMENTS, Crystal

PROPERTIES = (
    *("atomic number", "Mendeleev number", "group", "row", "atomic mass (u)", "electronegativity"),
    *("calculated radius (Å)", "ionization energy (eV)", "electron affinity (eV)", "molar volume (cm³/mol)"),
    *("melting point (K)", "valence s electrons", "valence p electrons", "valence d electrons", "valence f electrons"),
)
"""Of an element, from pymatgen; where it has none, the median of the others."""

STATISTICS = ("mean", "mean deviation", "minimum", "maximum", "range", "of the commonest element")
"""Of each property over the atoms of a crystal."""

_SHELL = re.compile(r"\d([spdf])(\d+)")


def composition_features(crystals: Sequence[Crystal]) -> Array:
    """Return (M, 118 + properties × statistics) features of M crystals; masked atoms do not count."""
    shares = element_shares(crystals)
    values = element_properties()
    present = shares > 0
    mean = shares @ values
    commonest = values[shares.argmax(axis=1)]
    low, high, deviation = np.empty_like(mean), np.empty_like(mean), np.empty_like(mean)
    for column, value in enumerate(values.T):
        held = np.where(present, value, np.nan)
        low[:, column], high[:, column] = np.nanmin(held, axis=1), np.nanmax(held, axis=1)
        deviation[:, column] = (shares * np.abs(value - mean[:, column, None])).sum(axis=1)
    return np.hstack([shares, mean, deviation, low, high, high - low, commonest])


def feature_names() -> list[str]:
    """Return what the columns of `composition_features` are."""
    return [f"share of Z = {z}" for z in range(1, N_ELEMENTS + 1)] + [
        f"{statistic} {name}" for statistic in STATISTICS for name in PROPERTIES
    ]


def element_shares(crystals: Sequence[Crystal]) -> Array:
    """Return (M, 118) share of each crystal's atoms that is of each element; column Z − 1."""
    shares = np.zeros((len(crystals), N_ELEMENTS))
    for row, crystal in zip(shares, crystals, strict=True):
        row += np.bincount(crystal.species, minlength=N_ELEMENTS + 1)[1:]
    return shares / shares.sum(axis=1, keepdims=True)


@cache
def element_properties() -> Array:
    """Return (118, properties); read-only."""
    from pymatgen.core import Element

    raw = np.array([_of(Element.from_Z(z)) for z in range(1, N_ELEMENTS + 1)], dtype=np.float64)
    filled = np.where(np.isnan(raw), np.nanmedian(raw, axis=0), raw)
    filled.flags.writeable = False
    return filled


def _of(element: object) -> list[float]:
    names = (
        *("Z", "mendeleev_no", "group", "row", "atomic_mass", "X", "atomic_radius_calculated", "ionization_energy"),
        *("electron_affinity", "molar_volume", "melting_point"),
    )
    return [*(_number(element, name) for name in names), *_valence(element)]


def _number(element: object, name: str) -> float:
    """Return a property of an element; NaN where pymatgen has none."""
    value = _property(element, name)
    return np.nan if value is None else float(value)


def _valence(element: object) -> list[float]:
    """Return electrons in the s, p, d and f shells outside the noble gas core, as `[Ar].3d6.4s2` has 2, 0, 6, 0."""
    structure = _property(element, "electronic_structure")
    if structure is None:
        return [np.nan] * 4
    shells = _SHELL.findall(structure.split("]")[-1])
    return [float(sum(int(n) for kind, n in shells if kind == wanted)) for wanted in "spdf"]


def _property(element: object, name: str) -> Any:
    """Return what pymatgen has of an element; None of what it has not, as of most superheavy ones."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # "No data available": that is what None says
            return getattr(element, name)
    except (AttributeError, KeyError):
        return None
