"""Validity against cells and compositions whose answer is known by hand."""

import time
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from crystalsweep.metrics.settings import CompositionRules, StructureRules
from crystalsweep.metrics.validity import (
    all_structurally_valid,
    compositionally_valid,
    exempt_composition,
    structurally_valid,
)
from crystalsweep.structures.crystal import MASK, Crystal
from crystalsweep.structures.neighbours import shortest_distance

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


def test_small_volume_is_invalid_whatever_the_least_distance() -> None:
    assert not structurally_valid(crystal(0.46 * np.eye(3), [0, 0, 0]), StructureRules(min_distance=0.1))
    assert structurally_valid(crystal(0.47 * np.eye(3), [0, 0, 0]), StructureRules(min_distance=0.1))


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


def random_crystals(number: int) -> list[Crystal]:
    """Roomy, tight, thin and sheared cells with 1 to 8 atoms, some of them close."""
    generator = np.random.default_rng(2)
    crystals = []
    for _ in range(number):
        lattice = np.diag(generator.uniform(0.6, 5, 3)) + generator.normal(scale=0.4, size=(3, 3))
        if generator.random() < 0.4:
            lattice = (np.eye(3) + np.tril(generator.integers(-9, 10, (3, 3)), -1)) @ lattice
        crystals.append(crystal(lattice, generator.random((generator.integers(1, 9), 3))))
    return crystals


@pytest.mark.parametrize("least", [0.3, 0.5, 1.1])
def test_many_crystals_at_once_agree_with_the_shortest_distance(least: float) -> None:
    crystals = random_crystals(400)
    expected = [shortest_distance(c.lattice, c.frac) > least and c.volume >= 0.1 for c in crystals]
    assert all_structurally_valid(crystals, StructureRules(min_distance=least)).tolist() == expected
    assert 0.1 < np.mean(expected) < 0.95


def test_without_own_images_the_verdict_is_cdvaes() -> None:
    from pymatgen.core import Lattice

    def published(cell: Crystal) -> bool:
        distances = Lattice(cell.lattice).get_all_distances(cell.frac, cell.frac) + 10.5 * np.eye(len(cell))
        return not (distances.min() < 0.5 or cell.volume < 0.1)

    needles = [crystal(np.diag([4.0, 4.0, edge]), [[0, 0, 0], [0.5, 0.5, 0.5]]) for edge in (0.3, 0.49, 0.51)]
    crystals = [*random_crystals(400), *needles, crystal(0.47 * np.eye(3), [0, 0, 0])]
    verdicts = all_structurally_valid(crystals, StructureRules(own_images=False)).tolist()
    assert verdicts == [published(cell) for cell in crystals]
    assert verdicts[-4:] == [True] * 4
    assert structurally_valid(crystals[-1]) is False


@given(seed=st.integers(0, 2**32 - 1), least=st.floats(0.2, 2.0))
@settings(max_examples=40, deadline=None)
def test_a_wrapped_difference_decides_where_planes_are_far_apart(seed: int, least: float) -> None:
    generator = np.random.default_rng(seed)
    lattice = np.diag(generator.uniform(1, 6, 3)) + generator.normal(size=(3, 3))
    spacings = 1 / np.linalg.norm(np.linalg.inv(lattice), axis=0)
    cell = crystal(lattice * (2.001 * least / spacings.min()), generator.random((4, 3)))  # barely far enough
    expected = shortest_distance(cell.lattice, cell.frac) > least and cell.volume >= 0.1
    assert structurally_valid(cell, StructureRules(min_distance=least)) is expected


def test_300_atoms() -> None:
    grid = np.stack(np.meshgrid(*[np.arange(7)] * 3), axis=-1).reshape(-1, 3)[:300] / 7
    close = grid.copy()
    close[299] = close[150] + [0.02, 0, 0]
    lattice = 15.0 * np.eye(3)
    assert all_structurally_valid([crystal(lattice, grid), crystal(lattice, close)]).tolist() == [True, False]


def test_impossible_structures_do_not_stop_the_others() -> None:
    good = crystal(CUBE, [[0, 0, 0], [0.5, 0.5, 0.5]])
    bad = [
        Crystal.of("x", [], CUBE, np.zeros((0, 3))),
        Crystal(id="x", species=np.array([CU]), lattice=np.full((3, 3), np.nan), frac=np.zeros((1, 3))),
        Crystal(id="x", species=np.array([CU]), lattice=CUBE, frac=np.full((1, 3), np.inf)),
        Crystal(id="x", species=np.array([CU, CU]), lattice=CUBE, frac=np.zeros((1, 3))),
        crystal(np.zeros((3, 3)), [0, 0, 0]),
        crystal(np.diag([4.0, 4.0, 0.0]), [0, 0, 0]),
        crystal(np.diag([1e-9, 1e9, 1e9]), [[0, 0, 0], [0.5, 0.5, 0.5]]),
        crystal(1e200 * np.eye(3), [[0.1, 0, 0], [0.1, 0, 0]]),
    ]
    assert all_structurally_valid([good, *bad, good]).tolist() == [True, *[False] * len(bad), True]
    assert structurally_valid(crystal(1e200 * np.eye(3), [[0, 0, 0], [0.5, 0, 0]]))
    assert all_structurally_valid([]).tolist() == []


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


def test_many_elements_are_cheap() -> None:
    start = time.perf_counter()
    compositionally_valid(np.arange(1, 21))
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize(
    ("species", "exempt"),
    [([26], True), ([26, 28, 28], True), ([11, 17], False), ([], False), ([0, 26], False), ([104], False)],
)
def test_elements_and_alloys_are_exempt(species: list[int], exempt: bool) -> None:
    assert exempt_composition(np.array(species, dtype=np.int64)) is exempt
