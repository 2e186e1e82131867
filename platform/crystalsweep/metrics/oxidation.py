"""Oxidation states guessed from a composition, within a bounded time (pymatgen's guess, from ICSD statistics)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from math import comb

import numpy as np
from numpy.typing import NDArray

from crystalsweep.structures.crystal import MASK, N_ELEMENTS
from crystalsweep.structures.elements import element_symbol

_TRIALS = 20_000
"""Oxidation states tried, atom by atom, up to which a charge balance is looked for (about 0.1 s)."""


@cache
def known_states(number: int) -> frozenset[int]:
    """Return oxidation states found in the ICSD, or else common ones; what pymatgen guesses from."""
    from pymatgen.core import Element

    element = Element.from_Z(number)
    return frozenset(int(q) for q in element.icsd_oxidation_states or element.common_oxidation_states)


def oxidation_states(species: NDArray[np.int64]) -> Mapping[int, float]:
    """Return the likeliest mean oxidation state by atomic number for species (N,), as pymatgen guesses it from the
    composition.

    Empty where no charge balance exists (alloys), for a lone element, and where looking for one would take too many
    trials. Cached by reduced composition.
    """
    numbers, counts = np.unique(species, return_counts=True)
    if len(numbers) < 2 or numbers[0] <= MASK or numbers[-1] > N_ELEMENTS:
        return {}
    divisor = np.gcd.reduce(counts)
    return _guessed(tuple(zip(numbers.tolist(), (counts // divisor).tolist(), strict=True)))


@lru_cache(maxsize=1 << 16)
def _guessed(composition: tuple[tuple[int, int], ...]) -> Mapping[int, float]:
    """Return the guess for ((Z, count), ...)."""
    from pymatgen.core import Composition

    if _trials(composition) > _TRIALS:
        return {}
    symbols = {element_symbol(z): z for z, _ in composition}
    guesses = Composition(dict(zip(symbols, (n for _, n in composition), strict=True))).oxi_state_guesses()
    return {symbols[symbol]: float(state) for symbol, state in guesses[0].items()} if guesses else {}


def _trials(composition: tuple[tuple[int, int], ...]) -> float:
    """Return what pymatgen's guess costs: states per element and atom, then totals of the elements against each
    other."""
    tried, totals = 0, 1
    for z, count in composition:
        states = known_states(z)
        if not states:
            return np.inf
        combinations = comb(count + len(states) - 1, count)
        tried += combinations * count
        totals *= min(combinations, count * (max(states) - min(states)) + 1)
    return tried + totals
