"""Structural and compositional validity of one crystal (Liu et al., iScience 27, 110672 (2024), Fig. 4).

Structure: the shortest periodic distance against 0.5 Å, as in CDVAE (Xie et al., ICLR 2022), whose own check misses
an atom's images. Composition: charge neutrality with electronegativity ordering as in SMACT 4 (Davies et al.,
J. Open Source Softw. 4, 1361 (2019)). doi:10.1016/j.isci.2024.110672
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from crystalsweep.crystal import MASK, Crystal
from crystalsweep.metrics.settings import DEFAULT_RULES, CompositionRules
from crystalsweep.metrics.similarity import reduced_lattice
from crystalsweep.neighbours import neighbour_list

MIN_VOLUME = 0.1
"""Å³; a cell smaller than this is invalid whatever its distances."""

HEAVIEST = 103
"""Lr, the last element SMACT holds data for."""

_ENUMERATED = 5
"""Elements up to which SMACT's product over oxidation states is tried (milliseconds; it takes seconds at nine)."""


def structurally_valid(crystal: Crystal, threshold: float = 0.5) -> bool:
    """Whether every periodic distance, own images included, is > `threshold` (Å) and the volume >= 0.1 Å³.

    Non-finite coordinates and empty crystals are invalid, never an error.
    """
    finite = np.isfinite(crystal.lattice).all() and np.isfinite(crystal.frac).all()
    if not len(crystal) or not finite or crystal.volume < MIN_VOLUME:
        return False
    # The reduced cell holds the same crystal and bounds the search: a sheared cell has thousands of images in reach.
    reduced = reduced_lattice(crystal.lattice)
    if np.linalg.norm(reduced, axis=1).min() <= threshold:
        return False
    frac = crystal.cart @ np.linalg.inv(reduced)
    return not (neighbour_list(reduced, frac % 1.0, threshold * (1 + 1e-9)).distance <= threshold).any()


def compositionally_valid(species: NDArray[np.int64], rules: CompositionRules = DEFAULT_RULES) -> bool:
    """Whether species (N,) pass SMACT 4's `smact_validity` under `rules`; cached by reduced composition.

    False for empty crystals, mask tokens and Z > 103, and where SMACT has no data or fails.
    """
    numbers, counts = np.unique(species, return_counts=True)
    if not len(numbers) or numbers[0] <= MASK or numbers[-1] > HEAVIEST:
        return False
    divisor = np.gcd.reduce(counts)
    return _valid(tuple(zip(numbers.tolist(), (counts // divisor).tolist(), strict=True)), rules)


@lru_cache(maxsize=1 << 18)
def _valid(composition: tuple[tuple[int, int], ...], rules: CompositionRules) -> bool:
    """The verdict for ((Z, count), ...). SMACT is imported here: it takes more than a second."""
    from pymatgen.core import Composition, Element
    from smact.screening import smact_validity

    symbols = [Element.from_Z(z).symbol for z, _ in composition]
    counts = [count for _, count in composition]
    if len(symbols) > _ENUMERATED:
        return charge_balanced(symbols, counts, rules)
    try:
        return bool(
            smact_validity(
                Composition(dict(zip(symbols, counts, strict=True))),
                use_pauling_test=rules.pauling,
                include_alloys=rules.alloys,
                oxidation_states_set=_states_set(rules),
            )
        )
    except (ArithmeticError, AttributeError, LookupError, NameError, TypeError, ValueError):
        return False  # SMACT holds no states or electronegativity for an element


def charge_balanced(symbols: Sequence[str], counts: Sequence[int], rules: CompositionRules) -> bool:
    """`smact_validity` for two or more elements without its product over oxidation states; the answer is the same.

    Cations below anions in electronegativity means that one cut through the sorted electronegativities has only
    states >= 0 below it and <= 0 from it on. Per cut, the reachable total charges are one growing set of integers.
    """
    from smact import Element, metals

    if rules.alloys and all(symbol in metals for symbol in symbols):
        return True
    states = [_states(symbol, rules) for symbol in symbols]
    if not rules.pauling:
        return _reaches_zero(states, counts)
    scale = [Element(symbol).pauling_eneg for symbol in symbols]
    if None in scale:
        return False
    return any(
        _reaches_zero(
            [[q for q in qs if (q >= 0 if e < cut else q <= 0)] for qs, e in zip(states, scale, strict=True)], counts
        )
        for cut in [*sorted(set(scale)), np.inf]
    )


def _reaches_zero(states: Sequence[Sequence[int]], counts: Sequence[int]) -> bool:
    """Whether one state per element can be chosen such that the charges, times the counts, add up to zero."""
    charges = {0}
    for choices, count in zip(states, counts, strict=True):
        charges = {charge + count * state for charge in charges for state in choices}
    return 0 in charges


def _states_set(rules: CompositionRules) -> str | None:
    # SMACT's set named "icsd24" keeps states seen once; its default (None) is the filtered one.
    return None if rules.oxidation_states == "icsd24" else rules.oxidation_states


@cache
def _states(symbol: str, rules: CompositionRules) -> tuple[int, ...]:
    """Oxidation states SMACT would try for one element; empty where it has none."""
    from smact import Element
    from smact.utils.oxidation import ICSD24OxStatesFilter

    if rules.oxidation_states == "smact14":
        return tuple(Element(symbol).oxidation_states_smact14 or ())
    table = ICSD24OxStatesFilter().filter(consensus=3, include_zero=False, commonality="low")
    return tuple(int(q) for text in table.loc[table["element"] == symbol, "oxidation_state"] for q in str(text).split())
