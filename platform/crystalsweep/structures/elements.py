"""Element symbols and atomic numbers, both ways."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from functools import cache

from crystalsweep.structures.crystal import MASK, N_ELEMENTS

ISOTOPES = {"D": 1, "T": 1}
"""Deuterium and tritium are hydrogen to every model here."""

GRAMS_PER_CM3 = 1.66053906660
"""g/cm³ in one u/Å³."""


_BETWEEN = (32, 51, 52, 14, 33)
"""Elements of middling electronegativity, in whose place a formula shows what is masked."""


@cache
def _symbols() -> tuple[str, ...]:
    from pymatgen.core import Element

    return tuple(Element.from_Z(z).symbol for z in range(1, N_ELEMENTS + 1))


@cache
def _numbers() -> dict[str, int]:
    return {symbol: z for z, symbol in enumerate(_symbols(), start=1)} | ISOTOPES


def atomic_number(symbol: str) -> int:
    """Return Z of an element symbol; `MASK` for dummies and anything that is no element."""
    return _numbers().get(symbol, MASK)


def element_symbol(z: int) -> str:
    """Return symbol of atomic number 1…118; `ValueError` for the mask token and beyond."""
    if not 1 <= z <= N_ELEMENTS:
        raise ValueError(f"atomic number {z} is no element; masked or unknown species have no symbol")
    return _symbols()[z - 1]


def formula_of(species: Iterable[int]) -> str:
    """Return the reduced formula of atoms by atomic number, as `BaTiO3`, masked ones as `X`; empty for none."""
    from pymatgen.core import Composition

    counts = Counter(map(int, species))
    place = next((z for z in (*_BETWEEN, *range(N_ELEMENTS, 0, -1)) if z not in counts), 1)
    made = Composition({element_symbol(z or place): n for z, n in counts.items()})
    return re.sub(rf"{element_symbol(place)}(?![a-z])", "X", str(made.reduced_formula)) if counts else ""
