"""The mined probabilities against pymatgen's class, and a baseline that keeps charges and never restores an atom."""

import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from pymatgen.core import Element
from pymatgen.core.structure_prediction.substitution_probability import SubstitutionProbability

from crystalsweep.data import load_bundled
from crystalsweep.metrics.oxidation import oxidation_states
from crystalsweep.metrics.scoring import score
from crystalsweep.metrics.substitution import likeliest_substitute, mined_matrix, substitution
from crystalsweep.structures.crystal import MASK, Crystal

SALT = Crystal.of("NaCl", [11, 17], 4.0 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 1.4, [[0, 0, 0], [0.5] * 3])


def masked(crystal: Crystal, z: int) -> Crystal:
    return replace(crystal, species=np.where(crystal.species == z, MASK, crystal.species))


def put_in_place(formula: dict[str, int], hidden: str) -> str:
    """Symbol that takes the place of `hidden` in a composition."""
    species = [Element(symbol).Z for symbol, count in formula.items() for _ in range(count)]
    crystal = Crystal.of("", species, 9 * np.eye(3), np.linspace(0, 0.9, 3 * len(species)))
    filled = substitution()(crystal, masked(crystal, Element(hidden).Z)).species
    return str(Element.from_Z(int(filled[species.index(Element(hidden).Z)])).symbol)


def test_elements_have_the_summed_probability_of_their_ions() -> None:
    ions = SubstitutionProbability()
    by_element: dict[str, list[object]] = {}
    for ion in ions.species:
        by_element.setdefault(ion.symbol, []).append(ion)
    joint = {b: sum(ions.prob(s, t) for s in by_element["Fe"] for t in by_element[b]) for b in by_element if b != "Fe"}
    assert set(joint) | {"Fe"} == set(mined_matrix().columns)
    for b in ("Mn", "Co", "O", "Xe"):
        assert mined_matrix().loc["Fe", b] == pytest.approx(joint[b] / sum(joint.values()), rel=1e-9)


def test_rows_are_probabilities_of_another_element() -> None:
    matrix = mined_matrix()
    assert matrix.shape == (90, 90)
    assert matrix.sum(axis=1).to_numpy() == pytest.approx(1)
    assert (np.diag(matrix) == 0).all()
    assert (matrix.to_numpy() + np.eye(90) > 0).all()
    assert "He" not in matrix.columns


def test_chlorine_in_salt_becomes_another_halide() -> None:
    filled = substitution()(SALT, masked(SALT, 17))
    assert filled.species[0] == 11
    assert filled.species[1] in (9, 35, 53)
    row = score(SALT, masked(SALT, 17), filled)
    assert row["compositional_validity"]
    assert not row["compositional_similarity"]


def test_positions_stay_as_corrupted() -> None:
    corrupted = replace(masked(SALT, 17), frac=SALT.frac + 0.01)
    filled = substitution()(SALT, corrupted)
    assert np.array_equal(filled.frac, corrupted.frac)
    assert np.array_equal(filled.lattice, corrupted.lattice)


@pytest.mark.parametrize(
    ("formula", "hidden", "allowed"),
    [
        ({"Ti": 1, "O": 2}, "Ti", {"Sn", "Zr", "Ge", "Mn", "Hf", "Si", "V", "Nb"}),
        ({"Ba": 1, "Te": 1}, "Te", {"Se", "S"}),  # the table has no Te2-
        ({"Al": 1, "N": 1}, "N", {"P"}),  # nor another ion of charge -3
        ({"Fe": 3, "O": 4}, "Fe", {"Mn", "Co", "Cr", "Ni", "V"}),  # 8/3+: both 2+ and 3+
        ({"Pm": 2, "O": 3}, "Pm", {"Nd", "Sm"}),  # an element without data
    ],
)
def test_substitutes_keep_the_charge(formula: dict[str, int], hidden: str, allowed: set[str]) -> None:
    assert put_in_place(formula, hidden) in allowed


def test_alloys_take_the_likeliest_over_all_charges() -> None:
    assert not oxidation_states(np.array([29, 79]))
    assert likeliest_substitute(79).rule == "any charge"


def test_mixed_valence_needs_both_charges() -> None:
    """Zn is the likeliest for Cu2+, but has no 1+ state."""
    assert Element.from_Z(likeliest_substitute(29, 5 / 3).number).symbol == "Ag"
    assert Element.from_Z(likeliest_substitute(29, 2.0).number).symbol == "Zn"


@pytest.mark.parametrize("charge", [None, -4.0, -3.0, -1.0, 0.0, 0.5, 8 / 3, 3.0, 7.0, 12.0])
def test_every_element_gets_another(charge: float | None) -> None:
    numbers = [likeliest_substitute(z, charge).number for z in range(1, 119)]
    assert all(1 <= number <= 103 and number != z for z, number in enumerate(numbers, start=1))


def test_a_composition_too_large_to_guess_is_left_alone_quickly() -> None:
    start = time.process_time()
    many = np.repeat([25, 26, 41, 42, 44, 23, 27, 75, 8, 16], [7, 9, 11, 13, 17, 5, 3, 2, 40, 19])
    assert not oxidation_states(many)
    assert time.process_time() - start < 0.5


def test_bundled_crystals_are_all_filled_with_other_elements() -> None:
    """The rule is counted: the table itself decides in most cases, and in almost all where a charge is known."""
    fill, rules = substitution(), Counter[str]()
    for crystal in load_bundled()[::20]:
        states = oxidation_states(crystal.species)
        for z in np.unique(crystal.species).tolist():
            corrupted = masked(crystal, z)
            filled = fill(crystal, corrupted).species
            hidden = corrupted.species == MASK
            assert not np.isin(filled[hidden], [MASK, z]).any()
            assert np.array_equal(filled[~hidden], crystal.species[~hidden])
            assert len(np.unique(filled[hidden])) == 1
            rules[likeliest_substitute(z, states.get(z)).rule] += 1
    assert rules["mined"] > 0.55 * rules.total()
    assert rules["charge"] < 0.15 * rules.total()
    assert rules["similar"] < 0.01 * rules.total()
