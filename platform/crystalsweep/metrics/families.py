"""Chemical families of the elements and an order in which neighbours are alike.

The axes of Fig. 5A of Liu et al., iScience 27, 110672 (2024). doi:10.1016/j.isci.2024.110672
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

FAMILIES = (
    "alkali metals",
    "alkaline earths",
    "lanthanides",
    "actinides",
    "transition metals",
    "post-transition metals",
    "metalloids",
    "nonmetals",
    "halogens",
    "noble gases",
)
"""In the order of the figures. Each element is of one: La and Ac are no transition metals, Te and Po are metalloids."""

_SUPERHEAVY = 112
"""Cn; pymatgen names no family for 113 to 117, which stand below post-transition metals."""


@cache
def family(number: int) -> str:
    """Return the entry of `FAMILIES` that an element (1…118) belongs to, from pymatgen's `Element`."""
    from pymatgen.core import Element

    element = Element.from_Z(number)
    is_of = {
        "alkali metals": element.is_alkali,
        "alkaline earths": element.is_alkaline,
        "lanthanides": element.is_lanthanoid,
        "actinides": element.is_actinoid,
        "transition metals": element.is_transition_metal,
        "post-transition metals": element.is_post_transition_metal,
        "metalloids": element.is_metalloid,
        "halogens": element.is_halogen,
        "noble gases": element.is_noble_gas,
    }
    other = "post-transition metals" if number > _SUPERHEAVY else "nonmetals"
    return next((name for name, member in is_of.items() if member), other)


@cache
def group(number: int) -> int:
    """Return column of the periodic table, 1…18; lanthanides and actinides count as group 3, as in pymatgen."""
    from pymatgen.core import Element

    return int(Element.from_Z(number).group)


def by_family(numbers: Iterable[int]) -> list[int]:
    """Return atomic numbers sorted by family, then group, then row: Ti, Zr and Hf stand side by side."""
    return sorted(numbers, key=lambda z: (FAMILIES.index(family(z)), group(z), z))
