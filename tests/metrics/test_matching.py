"""Match rate and RMSD on real crystals; the matcher's own answer is the measure where it finds one."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from crystalsweep.data import load_bundled
from crystalsweep.metrics.bounded_matcher import matcher
from crystalsweep.metrics.duplicates import unscorable
from crystalsweep.metrics.matching import MATCH_COLUMNS, match, match_columns
from crystalsweep.metrics.novelty import Reference
from crystalsweep.metrics.reduced_cell import structure
from crystalsweep.metrics.settings import MetricConfig
from crystalsweep.structures.crystal import Crystal

SETTINGS = MetricConfig()
CUBE = 4.0 * np.eye(3)
HALVED_ALONE = "mp-559435"
"""The matcher halves this crystal's cell, but not that of the same crystal with noise."""


@cache
def crystals() -> dict[str, Crystal]:
    return {crystal.id: crystal for crystal in load_bundled()}


def sample(number: int, seed: int = 0) -> list[Crystal]:
    known = [crystal for crystal in crystals().values() if len(crystal) > 1]
    return [known[i] for i in np.random.default_rng(seed).choice(len(known), number, replace=False)]


def noisy(crystal: Crystal, sigma_noise: float, seed: int = 0) -> Crystal:
    """Centred noise of sigma_noise · min_edge, as the evaluation draws it."""
    noise = np.random.default_rng(seed).normal(size=(len(crystal), 3)) * sigma_noise * crystal.min_edge
    cart = crystal.cart + noise - noise.mean(axis=0)
    return Crystal.of(crystal.id, crystal.species, crystal.lattice, cart @ np.linalg.inv(crystal.lattice))


def sodium_chloride(first: int = 11, second: int = 17, a: float = 5.64) -> Crystal:
    lattice = a / 2 * (1 - np.eye(3))
    return Crystal.of(f"{first}-{second}", [first, second], lattice, [[0, 0, 0], [0.5, 0.5, 0.5]])


def test_the_truth_matches_itself_with_zero() -> None:
    for crystal in sample(50):
        assert match(crystal, crystal, SETTINGS.match) == (True, 0.0, "")


def test_single_precision_is_no_displacement() -> None:
    for crystal in sample(20):
        lattice, frac = (part.astype(np.float32) for part in (crystal.lattice, crystal.frac))
        assert match(crystal, Crystal.of("", crystal.species, lattice, frac), SETTINGS.match).rmsd == 0


def test_a_translation_is_no_displacement() -> None:
    for crystal in sample(20):
        moved = Crystal.of("", crystal.species, crystal.lattice, crystal.frac + np.array([0.31, 0.77, 0.5]))
        assert match(crystal, moved, SETTINGS.match) == (True, 0.0, "")


def test_little_noise_matches_with_the_matchers_rmsd() -> None:
    for crystal in sample(12):
        generated = noisy(crystal, 0.1)
        found = matcher(SETTINGS.match).get_rms_dist(structure(crystal), structure(generated))
        ours = match(crystal, generated, SETTINGS.match)
        assert ours.matched
        assert not ours.reason
        assert found is not None
        assert ours.rmsd == pytest.approx(found[0], abs=1e-6)


def test_rmsd_of_a_displacement_computed_by_hand() -> None:
    salt = sodium_chloride()
    moved = replace(salt, frac=salt.frac + np.array([[0, 0, 0], [0.02, 0.02, -0.02]]))  # 0.0564 Å along x less itself
    shift = np.linalg.norm(np.array([0.02, 0.02, -0.02]) @ salt.lattice)
    expected = shift / 2 / (salt.volume / 2) ** (1 / 3)  # each site is half of it from the mean
    assert match(salt, moved, SETTINGS.match).rmsd == pytest.approx(expected, rel=1e-6)


def test_sites_within_tolerance_match_where_the_matcher_reduces_one_cell_only() -> None:
    crystal = crystals()[HALVED_ALONE]
    generated = noisy(crystal, 0.05)
    assert matcher(SETTINGS.match).get_rms_dist(structure(crystal), structure(generated)) is None
    found = match(crystal, generated, SETTINGS.match)
    assert found.matched
    assert 0 < found.rmsd < 0.15


def test_one_atom_gone_elsewhere_is_no_match_site_by_site() -> None:
    crystal = next(c for c in sample(200) if len(c) >= 16 and c.min_edge > 1.5)
    frac = crystal.frac.copy()
    frac[0] += 0.5
    found = match(crystal, Crystal.of("", crystal.species, crystal.lattice, frac), SETTINGS.match)
    searched = matcher(SETTINGS.match).get_rms_dist(
        structure(crystal), structure(Crystal.of("", crystal.species, crystal.lattice, frac))
    )
    assert found.matched == (searched is not None)


def test_strong_noise_is_no_match() -> None:
    crystal = max(sample(50), key=len)
    assert match(crystal, noisy(crystal, 1.0), SETTINGS.match)[::2] == (False, "")


def test_another_composition_does_not_match() -> None:
    assert match(sodium_chloride(), sodium_chloride(12, 8, 4.21), SETTINGS.match)[::2] == (False, "")
    for crystal in sample(20):
        species = crystal.species.copy()
        species[0] = species[0] % 90 + 1
        assert not match(crystal, replace(crystal, species=species), SETTINGS.match).matched


def test_same_composition_on_exchanged_sites_is_left_to_the_matcher() -> None:
    salt = sodium_chloride()
    exchanged = match(salt, replace(salt, species=salt.species[::-1]), SETTINGS.match)
    assert exchanged.matched
    assert exchanged.rmsd == pytest.approx(0, abs=1e-9)


def test_a_strained_and_turned_cell_matches() -> None:
    for crystal in sample(8, seed=2):
        turned = Crystal.of("", crystal.species, 1.05 * crystal.lattice[:, [1, 2, 0]], crystal.frac)
        found = match(crystal, turned, SETTINGS.match)
        assert found.matched
        assert found.rmsd < 1e-3


def impossible() -> dict[str, Crystal]:
    salt = sodium_chloride()
    return {
        "no atoms": Crystal.of("", [], CUBE, []),
        "masked species": replace(salt, species=np.array([11, 0])),
        "species outside 1…118": replace(salt, species=np.array([11, 119])),
        "non-finite coordinates or lattice": replace(salt, frac=np.full((2, 3), np.nan)),
        "volume of 0 Å³": replace(salt, lattice=np.zeros((3, 3))),
        "volume of inf Å³": replace(salt, lattice=1e150 * np.eye(3)),
        "atoms within 0.1 Å of each other": replace(salt, frac=np.zeros((2, 3))),
        "2 species and coordinates of shape (1, 3)": replace(salt, frac=np.zeros((1, 3))),
    }


def large() -> dict[str, Crystal]:
    crowd = np.random.default_rng(0).random((4000, 3))
    return {
        "4,000 atoms, more than 3,000": Crystal.of("", [29] * 3999 + [30], 40 * CUBE, crowd),
        "cell too elongated": replace(sodium_chloride(), lattice=np.diag([3.0, 3.0, 1000.0])),
    }


@pytest.mark.parametrize("reason", large())
def test_a_large_cell_is_matched_site_by_site_or_undecided(reason: str) -> None:
    """Kind 1: what no test could tell is neither a match nor new."""
    crystal = large()[reason]
    shuffled = replace(crystal, frac=(crystal.frac + 0.5 * np.random.default_rng(1).random(crystal.frac.shape)) % 1)
    assert match(crystal, replace(crystal), SETTINGS.match) == (True, 0.0, "")
    assert match(crystal, replace(crystal, frac=crystal.frac + 1e-5), SETTINGS.match).matched
    found = match(crystal, shuffled, SETTINGS.match)
    assert found.matched is None
    assert found.reason.removeprefix("parent: ") == reason
    reference = Reference([replace(crystal, id="known")])
    assert reference.contains(replace(crystal), SETTINGS.duplicate)
    assert reference.contains(shuffled, SETTINGS.duplicate) is None
    table = match_columns([crystal], [shuffled], SETTINGS, reference)
    assert table[["matched", "novel_vs_reference"]].isna().all(axis=None)
    assert reason in table["match_undecided"][0]
    assert reason in table["novel_undecided"][0]
    assert table["match_failure"][0] == ""


@pytest.mark.parametrize("reason", impossible())
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_an_impossible_crystal_gives_its_reason(reason: str) -> None:
    salt, broken = sodium_chloride(), impossible()[reason]
    found = match(salt, broken, SETTINGS.match)
    assert not found.matched
    assert np.isnan(found.rmsd)
    assert found.reason == reason
    assert match(broken, salt, SETTINGS.match).reason == f"parent: {reason}"


def test_odd_crystals_that_exist_are_compared() -> None:
    argon = Crystal.of("", [18], CUBE, [[0, 0, 0]])
    roomy = Crystal.of("", [11, 17], 1e5 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]])
    for crystal in (argon, roomy):
        assert match(crystal, crystal, SETTINGS.match) == (True, 0.0, "")


def test_every_bundled_crystal_can_be_compared() -> None:
    assert [crystal.id for crystal in list(crystals().values())[::4] if unscorable(crystal)] == []


def test_columns_of_a_batch() -> None:
    first, second, third = sample(3, seed=1)
    salt = sodium_chloride()
    originals = [first, second, third, salt]
    generated = [first, noisy(second, 0.02), replace(third, frac=np.full_like(third.frac, np.nan)), salt]
    reference = Reference([replace(second, id="leaked"), third])
    table = match_columns(originals, generated, SETTINGS, reference)
    assert tuple(table) == MATCH_COLUMNS
    assert table["matched"].tolist() == [1.0, 1.0, 0.0, 1.0]
    assert table["rmsd"].isna().tolist() == [False, False, True, False]
    assert table["match_failure"].tolist() == ["", "", "non-finite coordinates or lattice", ""]
    assert table["novel_vs_reference"].tolist() == [1.0, 0.0, 0.0, 1.0]
    assert table["reference_match"].tolist() == ["", "leaked", "", ""]
    assert table.equals(match_columns(originals, generated, SETTINGS, reference))


def test_novelty_is_unknown_without_a_reference() -> None:
    salt = sodium_chloride()
    assert match_columns([salt], [salt], SETTINGS, None)["novel_vs_reference"].isna().all()


def test_no_rows_keep_their_types() -> None:
    table = match_columns([], [], SETTINGS, None)
    assert tuple(table) == MATCH_COLUMNS
    assert table["matched"].dtype == float
    assert table["rmsd"].dtype == float


def test_columns_refuse_lists_of_other_lengths() -> None:
    with pytest.raises(ValueError, match="shorter"):
        match_columns([sodium_chloride()], [], SETTINGS, None)
