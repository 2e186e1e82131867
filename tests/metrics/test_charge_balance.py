"""The charge balance against SMACT's own screening and CDVAE's published routine."""

import itertools
from collections.abc import Sequence
from functools import cache
from typing import Any, Literal

import numpy as np
import pytest

from crystalsweep.data import load_bundled
from crystalsweep.metrics.charge_balance import charge_balanced
from crystalsweep.metrics.settings import CompositionRules

Composition = tuple[list[int], list[int]]
PM, RN, LR = 61, 86, 103  # no electronegativity in SMACT


@cache
def real_compositions() -> list[Composition]:
    """200 of the bundled ones, with 1 to 6 elements."""
    formulas = sorted({crystal.reduced_formula for crystal in load_bundled()})
    picks = np.random.default_rng(0).choice(len(formulas), 200, replace=False)
    pairs = [[pair.split(":") for pair in formulas[k].split()] for k in picks]
    return [([int(z) for z, _ in pair], [int(n) for _, n in pair]) for pair in pairs]


def drawn_compositions(number: int, always: Sequence[int] = ()) -> list[Composition]:
    """Elements and counts at random, with one of `always` in each."""
    generator = np.random.default_rng(1)
    drawn = []
    for _ in range(number):
        elements = generator.choice(np.arange(1, 95), generator.integers(2, 5), replace=False).tolist()
        if always:
            elements = [*elements[:3], int(generator.choice(always))]
        numbers = sorted(set(elements))
        counts = generator.integers(1, 5, len(numbers))
        drawn.append((numbers, (counts // np.gcd.reduce(counts)).tolist()))
    return drawn


def symbols_of(numbers: Sequence[int]) -> list[str]:
    from pymatgen.core import Element

    return [Element.from_Z(z).symbol for z in numbers]


@pytest.mark.parametrize("states", ["smact14", "icsd24"])
@pytest.mark.parametrize("pauling", [True, False])
@pytest.mark.parametrize("alloys", [True, False])
def test_verdicts_are_those_of_smact(states: Literal["smact14", "icsd24"], pauling: bool, alloys: bool) -> None:
    import pymatgen.core
    from smact.screening import smact_validity

    rules = CompositionRules(oxidation_states=states, pauling=pauling, alloys=alloys)
    verdicts = []
    for numbers, counts in real_compositions() + drawn_compositions(80) + drawn_compositions(40, (2, 10, PM, RN, LR)):
        composition = pymatgen.core.Composition(dict(zip(symbols_of(numbers), counts, strict=True)))
        expected = smact_validity(
            composition,
            use_pauling_test=pauling,
            include_alloys=alloys,
            oxidation_states_set=None if states == "icsd24" else states,
        )
        assert charge_balanced(numbers, counts, rules) == expected, composition
        verdicts.append(expected)
    assert 0.2 < np.mean(verdicts) < 0.98


def published_pauling_test(charges: Sequence[int], scale: Sequence[Any]) -> bool:
    """SMACT 2.2.1's, with which CDVAE was published."""
    for (q1, e1), (q2, e2) in itertools.combinations(list(zip(charges, scale, strict=True)), 2):
        if q1 > 0 > q2 and e1 >= e2:
            return False
        if q1 < 0 < q2 and e1 <= e2:
            return False
        if e1 is None or e2 is None:
            return False
    return True


def published_routine(numbers: Sequence[int], counts: Sequence[int]) -> bool:
    """CDVAE's `smact_validity` with Pauling test and alloy rule."""
    import smact

    symbols = symbols_of(numbers)
    elements = [smact.Element(symbol) for symbol in symbols]
    if len(symbols) == 1 or all(symbol in smact.metals for symbol in symbols):
        return True
    for charges in itertools.product(*(element.oxidation_states_smact14 or [] for element in elements)):
        if smact.neutral_ratios(charges, stoichs=[(count,) for count in counts], threshold=max(counts)):
            try:
                passes = published_pauling_test(charges, [element.pauling_eneg for element in elements])
            except TypeError:
                passes = True
            if passes:
                return True
    return False


def test_unknown_electronegativities_pass_as_in_cdvae() -> None:
    rules = CompositionRules(missing_electronegativity="passes")
    strict = CompositionRules()
    cases = drawn_compositions(300, (PM, RN, LR, 2))
    found = [charge_balanced(*case, rules) for case in cases]
    assert found == [published_routine(*case) for case in cases]
    assert sum(found) > sum(charge_balanced(*case, strict) for case in cases) + 10


def test_real_compositions_pass_as_in_cdvae() -> None:
    rules = CompositionRules(missing_electronegativity="passes")
    for case in real_compositions():
        assert charge_balanced(*case, rules) == published_routine(*case), case


def test_only_the_first_element_is_compared_with_the_unknown_as_in_cdvae() -> None:
    passes = CompositionRules(missing_electronegativity="passes")
    assert charge_balanced([9, 11, PM], [4, 1, 1], passes)  # F− and Pm3+ cannot be compared, which passes
    assert not charge_balanced([3, 9, PM], [1, 4, 1], passes)  # Li+ and Pm3+ are both cations: rejected
    assert not charge_balanced([9, 11, PM], [4, 1, 1], CompositionRules())


def test_many_elements_and_large_counts_are_cheap() -> None:
    for missing in ("invalid", "passes"):
        rules = CompositionRules(alloys=False, missing_electronegativity=missing)
        charge_balanced(list(range(19, 58)), [97 + k for k in range(39)], rules)
        charge_balanced([8, *range(50, 80)], [97 + k for k in range(31)], rules)
