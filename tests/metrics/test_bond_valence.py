"""Bond-valence sums: known crystals, pymatgen's analyzer beside ours, and what is no question of charges."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from pymatgen.core import Structure
from pymatgen.core.bond_valence import BVAnalyzer, calculate_bv_sum

from crystalsweep.data import load_bundled
from crystalsweep.metrics.bond_valence import (
    BOND_VALENCE_COLUMNS,
    CUTOFF,
    STRETCH,
    _neutral,
    _Option,
    bond_valence,
    bond_valence_columns,
    bond_valence_sums,
)
from crystalsweep.structures.crystal import Crystal

FCC = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
ROCK_SALT = [*FCC, *(np.array(FCC) + 0.5)]


def salt(edge: float = 5.69, cation: int = 11) -> Crystal:
    return Crystal.of("salt", [cation] * 4 + [17] * 4, np.eye(3) * edge, ROCK_SALT)


def structure(crystal: Crystal) -> Structure:
    return Structure(crystal.lattice, crystal.species.tolist(), crystal.frac)


@pytest.fixture(scope="module")
def crystals() -> list[Crystal]:
    every = [crystal for crystal in load_bundled("val") if len(crystal) <= 20]
    return every[:: len(every) // 40]


def test_common_salt_is_sodium_chloride() -> None:
    found = bond_valence(salt())
    assert found.balanced
    assert found.states == (1,) * 4 + (-1,) * 4
    assert found.instability < 0.3


@pytest.mark.parametrize(("edge", "cation"), [(3.4, 11), (5.69, 13)])
def test_charges_do_not_balance_in_a_crushed_cell_or_with_a_cation_of_another_charge(edge: float, cation: int) -> None:
    found = bond_valence(salt(edge, cation))
    assert found.balanced is False
    assert found.states == ()
    assert np.isnan(found.instability)
    assert not found.reason


@pytest.mark.parametrize("edge", [5.2, 6.2])
def test_a_strained_cell_is_less_stable(edge: float) -> None:
    assert bond_valence(salt(edge)).instability > bond_valence(salt()).instability


def test_sums_are_those_of_pymatgen(crystals: list[Crystal]) -> None:
    for crystal in crystals[:10]:
        if bond_valence(crystal).balanced is None:
            continue
        made = structure(crystal)
        sums = [calculate_bv_sum(site, made.get_neighbors(site, CUTOFF), STRETCH) for site in made]
        np.testing.assert_allclose(bond_valence_sums(crystal), sums, rtol=1e-6, atol=1e-6)


def test_what_pymatgens_analyzer_finds_is_found(crystals: list[Crystal]) -> None:
    """Without symmetry both look at every site; the analyzer's own search gives up, ours does not."""
    compared = 0
    for crystal in crystals:
        found = bond_valence(crystal)
        if found.balanced is None or len(crystal) > 8:
            continue
        try:
            states = tuple(BVAnalyzer(symm_tol=0).get_valences(structure(crystal)))
        except ValueError:
            assert not found.balanced
            continue
        assert found.balanced
        compared += found.states == states
    assert compared >= 5


def test_sites_do_not_depend_on_their_order_or_the_cell(crystals: list[Crystal]) -> None:
    for crystal in crystals[:12]:
        turned = crystal.lattice[[1, 2, 0]]
        other = Crystal.of("other", crystal.species[::-1], turned, crystal.frac[::-1][:, [1, 2, 0]] + 0.3)
        a, b = bond_valence(crystal), bond_valence(other)
        assert a.balanced == b.balanced
        assert a.instability == pytest.approx(b.instability, nan_ok=True)


def test_the_likeliest_neutral_choice_is_found_among_all() -> None:
    generator = np.random.default_rng(0)
    for _ in range(50):
        options = [
            [_Option(int(q), float(generator.normal()), np.zeros(1, dtype=np.int64)) for q in qs]
            for qs in (generator.choice(np.arange(-6, 7), size=4, replace=False) for _ in range(3))
        ]
        neutral = [each for each in itertools.product(*options) if sum(option.charge for option in each) == 0]
        found = _neutral(options)
        if found is None:
            assert not neutral
        else:
            best = max(sum(option.score for option in each) for each in neutral)
            assert sum(option.score for option in found) == pytest.approx(best)


def test_mixed_valence_is_shared_out() -> None:
    """Magnetite's iron is Fe2+ and Fe3+: the spinel cell (Fd-3m, a = 8.39 Å, u = 0.3797)."""
    magnetite = Structure.from_spacegroup(
        "Fd-3m", np.eye(3) * 8.394, ["Fe", "Fe", "O"], [[0.0] * 3, [0.625] * 3, [0.3797] * 3]
    ).get_primitive_structure()
    crystal = Crystal.of("Fe3O4", magnetite.atomic_numbers, magnetite.lattice.matrix, magnetite.frac_coords)
    found = bond_valence(crystal)
    assert found.balanced
    assert sorted(q for q in found.states if q > 0) == [2, 2, 3, 3, 3, 3]


@pytest.mark.parametrize(
    ("species", "reason"),
    [([79, 17], "no bond-valence parameters of Au"), ([11, 19], "metals alone"), ([26, 26], "an element alone")],
)
def test_what_is_no_question_has_a_reason(species: list[int], reason: str) -> None:
    found = bond_valence(Crystal.of("x", species, np.eye(3) * 4, [[0, 0, 0], [0.5, 0.5, 0.5]]))
    assert found.balanced is None
    assert found.reason == reason


@pytest.mark.parametrize(
    "crystal",
    [
        Crystal.of("nothing", [], np.eye(3), []),
        Crystal.of("masked", [0, 17], np.eye(3) * 4, [[0, 0, 0], [0.5, 0.5, 0.5]]),
        Crystal.of("on each other", [11, 17], np.eye(3) * 4, [[0, 0, 0], [0.01, 0, 0]]),
        dataclasses.replace(salt(), frac=np.full((8, 3), np.nan)),
    ],
    ids=lambda crystal: str(crystal.id),
)
def test_what_is_no_crystal_does_not_balance(crystal: Crystal) -> None:
    assert bond_valence(crystal).balanced is False


def test_a_large_crystal_takes_no_longer_than_its_size() -> None:
    """A thousand atoms, no two in the same place: a search over combinations would not end."""
    copies = np.array(list(itertools.product(range(5), repeat=3)))
    frac = np.concatenate([(np.array(ROCK_SALT) + copy) / 5 for copy in copies])
    species = np.tile([11] * 4 + [17] * 4, len(copies))
    moved = frac + np.random.default_rng(0).normal(0, 0.001, frac.shape)
    assert bond_valence(Crystal.of("large", species, np.eye(3) * 5 * 5.69, moved)).balanced


def test_columns_say_each_of_them() -> None:
    same = salt()
    table = bond_valence_columns([same, same, salt(3.4), Crystal.of("Fe", [26], np.eye(3) * 2.5, [[0, 0, 0]])])
    assert list(table.columns) == list(BOND_VALENCE_COLUMNS)
    assert table["charges_balance"].tolist()[:3] == [1, 1, 0]
    assert table["charges_balance"].isna().tolist() == [False, False, False, True]
    assert table["bond_instability"].isna().tolist() == [False, False, True, True]
    assert table["bond_valence_failure"].tolist() == ["", "", "", "an element alone"]
