"""Can a composition be charge-neutral? SMACT's question, answered without its product over oxidation states.

SMACT (Davies et al., J. Open Source Softw. 4, 1361 (2019), doi:10.21105/joss.01361) gives every element one oxidation
state in all ways there are. Here the total charges within reach are the bits of one integer, and an element shifts it
by its states. The data are SMACT 4's; the verdicts are those of `smact.screening.smact_validity` and, for
`missing_electronegativity="passes"`, of CDVAE's evaluation (doi:10.48550/arXiv.2110.06197).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from crystalsweep.metrics.settings import CompositionRules
from crystalsweep.structures.elements import atomic_number

States = Sequence[int]


class _Element(NamedTuple):
    """What the search needs to know of an element."""

    states: tuple[int, ...]
    """Oxidation states; empty where the set holds none."""
    positive: tuple[int, ...]
    """Those >= 0."""
    negative: tuple[int, ...]
    """Those <= 0, without their sign."""
    electronegativity: float | None
    """Pauling's; None where SMACT has no value."""


def charge_balanced(numbers: Sequence[int], counts: Sequence[int], rules: CompositionRules) -> bool:
    """Return whether `smact_validity` accepts a composition.

    Args:
        numbers: Distinct atomic numbers 1…103, ascending (the order matters for `missing_electronegativity="passes"`).
        counts: Atoms of each, positive.
        rules: Settings.
    """
    if len(numbers) == 1:
        return True
    if rules.alloys and metals_alone(numbers):
        return True
    elements = [_element(z, rules.oxidation_states) for z in numbers]
    states = [element.states for element in elements]
    if not all(states):
        return False
    if not rules.pauling:
        return _reaches_zero(states, counts)
    scale = [element.electronegativity for element in elements]
    if None not in scale:
        return _ordered(elements, counts)
    return rules.missing_electronegativity == "passes" and _passes_unknown(states, counts, scale)


def metals_alone(numbers: Sequence[int]) -> bool:
    """Return whether all of these atomic numbers are of metals, as SMACT has it."""
    return _metals().issuperset(numbers)


@cache
def _metals() -> frozenset[int]:
    """Return atomic numbers of what SMACT takes for metals. Imported here: SMACT takes more than a second."""
    from smact import metals

    return frozenset(atomic_number(symbol) for symbol in metals)


def _ordered(elements: Sequence[_Element], counts: Sequence[int]) -> bool:
    """Return whether a formula is neutral with every cation less electronegative than every anion; all
    electronegativities are known.

    Then one cut through the sorted electronegativities has no anion below it and no cation from it on: the charges
    that the elements below can reach must meet those that the others can.
    """
    scale = [element.electronegativity or 0.0 for element in elements]
    levels = sorted(set(scale))
    for cut in reversed(levels[1:] or levels):  # below the lowest level there is nothing to balance the anions
        positive = negative = 1
        for element, count, e in zip(elements, counts, scale, strict=True):
            if e < cut:
                positive = _shifted(positive, element.positive, count)
            else:
                negative = _shifted(negative, element.negative, count)
        if positive & negative:
            return True
    return False


def _passes_unknown(states: Sequence[States], counts: Sequence[int], scale: Sequence[float | None]) -> bool:
    """Return whether a formula is neutral and accepted by CDVAE's routine where an electronegativity is unknown.

    With SMACT 2.2.1, for which CDVAE wrote it, the Pauling test goes through the pairs (0, 1), (0, 2), … and stops at
    the first pair with an unknown: it rejects charges of equal sign, and cannot compare those of unlike sign, which
    CDVAE takes as a pass. So only the first element's pairs up to that one count; later elements are free.
    """
    reference = scale[0]
    stop = 1 if reference is None else scale.index(None)
    for sign in (1, -1):
        choices = [[q for q in states[0] if q * sign > 0]]
        for qs, e in zip(states[1:stop], scale[1:stop], strict=True):
            bonds = reference is not None and e is not None and (e - reference) * sign > 0
            choices.append([q for q in qs if bonds or q * sign >= 0])
        choices.append([q for q in states[stop] if q * sign < 0])
        if _reaches_zero([*choices, *states[stop + 1 :]], counts):
            return True
    return False


def _reaches_zero(states: Sequence[States], counts: Sequence[int]) -> bool:
    """Return whether one state per element can be chosen such that the charges, times the counts, add up to zero."""
    if not all(states):
        return False
    lowest = [min(choices) for choices in states]
    reached, zero = 1, 0
    for choices, count, low in zip(states, counts, lowest, strict=True):
        reached = _shifted(reached, [q - low for q in choices], count)
        zero -= count * low
    return zero >= 0 and bool(reached >> zero & 1)


def _shifted(reached: int, states: States, count: int) -> int:
    """Return the integers `reached` (bit k for charge k) with `count` atoms in one of `states` (>= 0) added; 0 if
    none."""
    union = 0
    for state in states:
        union |= reached << count * state
    return union


@cache
def _element(number: int, oxidation_states: str) -> _Element:
    """Return SMACT's data, imported here: it takes more than a second."""
    from smact import Element, ordered_elements

    symbol = ordered_elements(number, number)[0]
    element = Element(symbol)
    known = element.oxidation_states_smact14 if oxidation_states == "smact14" else _icsd24().get(symbol)
    states = tuple(known or ())
    positive, negative = tuple(q for q in states if q >= 0), tuple(-q for q in states if q <= 0)
    return _Element(states, positive, negative, element.pauling_eneg)


@cache
def _icsd24() -> dict[str, list[int]]:
    """Return the states that `smact_validity` takes by default. SMACT's set named "icsd24" also keeps those seen
    once."""
    from smact.utils.oxidation import ICSD24OxStatesFilter

    table = ICSD24OxStatesFilter().filter(consensus=3, include_zero=False, commonality="low")
    texts = zip(table["element"], table["oxidation_state"], strict=True)
    return {str(symbol): [int(q) for q in str(text).split()] for symbol, text in texts}
