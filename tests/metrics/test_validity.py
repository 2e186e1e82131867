"""Validity against cells and compositions whose answer is known by hand."""

import time
from typing import Literal

import numpy as np
import pytest
from numpy.typing import ArrayLike

from crystalsweep.crystal import MASK, Crystal
from crystalsweep.metrics.settings import CompositionRules
from crystalsweep.metrics.validity import charge_balanced, compositionally_valid, structurally_valid
from crystalsweep.neighbours import shortest_distance

NA, CL, CU, ZN, HE = 11, 17, 29, 30, 2
CUBE = 5.0 * np.eye(3)


def crystal(lattice: ArrayLike, frac: ArrayLike) -> Crystal:
    frac = np.atleast_2d(np.asarray(frac))
    return Crystal.of("x", np.full(len(frac), CU), lattice, frac)


@pytest.mark.parametrize(("distance", "valid"), [(0.49, False), (0.51, True)])
@pytest.mark.parametrize("start", [0.3, 0.96])  # inside the cell, and across its face
def test_two_atoms_at_a_distance(distance: float, valid: bool, start: float) -> None:
    atoms = [[start, 0.5, 0.5], [start + distance / 5.0, 0.5, 0.5]]
    assert structurally_valid(crystal(CUBE, atoms)) is valid


@pytest.mark.parametrize(("edge", "valid"), [(0.49, False), (0.51, True)])
def test_own_image_in_cube_and_needle(edge: float, valid: bool) -> None:
    assert structurally_valid(crystal(edge * np.eye(3), [0, 0, 0])) is valid
    assert structurally_valid(crystal(np.diag([20.0, 20.0, edge]), [0.2, 0.1, 0.7])) is valid


def test_exactly_the_threshold_is_invalid() -> None:
    assert not structurally_valid(crystal(np.diag([4.0, 4.0, 0.5]), [0, 0, 0]))


def test_coinciding_atoms_are_invalid() -> None:
    assert not structurally_valid(crystal(CUBE, [[0.1, 0.1, 0.1], [0.1, 0.1, 0.1]]))


def test_small_volume_is_invalid_whatever_the_threshold() -> None:
    assert not structurally_valid(crystal(0.46 * np.eye(3), [0, 0, 0]), threshold=0.1)
    assert structurally_valid(crystal(0.47 * np.eye(3), [0, 0, 0]), threshold=0.1)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_is_invalid(bad: float) -> None:
    species = np.array([CU])
    assert not structurally_valid(Crystal(id="x", species=species, lattice=CUBE, frac=np.array([[bad, 0, 0]])))
    assert not structurally_valid(Crystal(id="x", species=species, lattice=np.full((3, 3), bad), frac=np.zeros((1, 3))))


def test_empty_crystal_is_invalid() -> None:
    assert not structurally_valid(Crystal.of("x", [], CUBE, np.zeros((0, 3))))
    assert not compositionally_valid(np.array([], dtype=np.int64))


def test_strongly_sheared_cell_is_cheap() -> None:
    sheared = crystal([[20, 0, 0], [19.99, 0.07, 0], [19.0, 3.0, 0.08]], [[0, 0, 0], [0.3, 0.2, 0.1]])
    start = time.perf_counter()
    assert not structurally_valid(sheared)
    assert time.perf_counter() - start < 0.1


def test_agrees_with_the_shortest_distance_in_random_cells() -> None:
    generator = np.random.default_rng(0)
    for _ in range(200):
        lattice = np.diag(generator.uniform(1, 4, 3)) + generator.normal(size=(3, 3))
        cell = crystal(lattice, generator.random((generator.integers(1, 9), 3)))
        expected = shortest_distance(cell.lattice, cell.frac) > 0.5 and cell.volume >= 0.1
        assert structurally_valid(cell) is expected


@pytest.mark.parametrize("states", ["smact14", "icsd24"])
def test_known_compositions(states: Literal["smact14", "icsd24"]) -> None:
    rules = CompositionRules(oxidation_states=states)
    assert compositionally_valid(np.array([NA, CL]), rules)
    assert compositionally_valid(np.array([CL, NA, NA, CL]), rules)
    assert not compositionally_valid(np.array([NA, NA, CL]), rules)
    assert compositionally_valid(np.array([1, 1]), rules)


def test_alloys_pass_by_the_alloy_rule_only() -> None:
    assert compositionally_valid(np.array([CU, ZN]))
    assert not compositionally_valid(np.array([CU, ZN]), CompositionRules(alloys=False))


@pytest.mark.parametrize("states", ["smact14", "icsd24"])
def test_pauling_rule(states: Literal["smact14", "icsd24"]) -> None:
    species = np.array([1, 1, 1, CL])  # neutral as H(-1)3 Cl(+3) only, where the cation is the more electronegative
    assert compositionally_valid(species, CompositionRules(oxidation_states=states, pauling=False))
    assert not compositionally_valid(species, CompositionRules(oxidation_states=states))


@pytest.mark.parametrize("species", [[MASK, NA], [104, CL], [118], [MASK]])
def test_mask_token_and_superheavy_elements_are_invalid(species: list[int]) -> None:
    assert not compositionally_valid(np.array(species))


@pytest.mark.parametrize("species", [[HE, NA, NA], [10, CL], [61, CL, CL, CL], [18, 9, 9], [103, CL], [86, 8]])
def test_elements_without_data_do_not_crash(species: list[int]) -> None:
    for states in ("smact14", "icsd24"):
        assert compositionally_valid(np.array(species), CompositionRules(oxidation_states=states)) is False


@pytest.mark.parametrize("states", ["smact14", "icsd24"])
@pytest.mark.parametrize("pauling", [True, False])
def test_charge_balance_agrees_with_smact(states: Literal["smact14", "icsd24"], pauling: bool) -> None:
    from pymatgen.core import Composition, Element
    from smact.screening import smact_validity

    rules = CompositionRules(oxidation_states=states, pauling=pauling)
    generator = np.random.default_rng(1)
    verdicts = []
    for _ in range(300):
        symbols = [
            Element.from_Z(z).symbol for z in generator.choice(np.arange(1, 95), generator.integers(2, 5), False)
        ]
        counts = generator.integers(1, 5, len(symbols)).tolist()
        composition = Composition(dict(zip(symbols, counts, strict=True)))
        expected = smact_validity(
            composition, use_pauling_test=pauling, oxidation_states_set=None if states == "icsd24" else states
        )
        assert charge_balanced(symbols, counts, rules) == expected, composition
        verdicts.append(expected)
    assert 0.1 < np.mean(verdicts) < 0.9


def test_many_elements_are_cheap() -> None:
    start = time.perf_counter()
    compositionally_valid(np.arange(1, 21))
    assert time.perf_counter() - start < 2
