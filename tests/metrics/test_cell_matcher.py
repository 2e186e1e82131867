"""The matcher on reduced cells is pymatgen's to the last bit, and so are the cells."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from crystalsweep.data import load_bundled
from crystalsweep.metrics import bounded_matcher
from crystalsweep.metrics.bounded_matcher import GivenUpError, matcher
from crystalsweep.metrics.cell_matcher import fits, rms_distance
from crystalsweep.metrics.duplicates import all_unscorable, unscorable
from crystalsweep.metrics.reduced_cell import Comparable, ReducedCell, structure
from crystalsweep.metrics.settings import MetricConfig
from crystalsweep.structures.crystal import Crystal

SETTINGS = MetricConfig()


def noisy(crystal: Crystal, sigma: float, seed: int) -> Crystal:
    noise = np.random.default_rng(seed).normal(size=(len(crystal), 3)) * sigma * crystal.min_edge
    cart = crystal.cart + noise - noise.mean(axis=0)
    return Crystal.of(crystal.id, crystal.species, crystal.lattice, cart @ np.linalg.inv(crystal.lattice))


def variants(number: int) -> list[list[Crystal]]:
    """Real crystals of at most 12 atoms, each with three noisy copies and one in another, equivalent cell."""
    known = [crystal for crystal in load_bundled() if 1 < len(crystal) <= 12][:: 2000 // number][:number]
    change = np.array([[1, 1, 0], [0, 1, 0], [0, 1, 1]])
    found = []
    for seed, crystal in enumerate(known):
        other = Crystal.of(crystal.id, crystal.species, change @ crystal.lattice, crystal.frac @ np.linalg.inv(change))
        copies = [noisy(crystal, sigma, seed) for sigma in (0.05, 0.15, 0.3)]
        found.append([each for each in (crystal, other, *copies) if not unscorable(each)])
    return found


def cell(crystal: Crystal) -> ReducedCell:
    reduced = Comparable(crystal).reduced
    assert reduced is not None
    return reduced


def test_the_reduced_cell_is_pymatgens_to_the_last_bit() -> None:
    for crystal in (each for group in variants(12) for each in group):
        ours, theirs = cell(crystal), structure(crystal).get_reduced_structure("niggli").get_primitive_structure()
        assert np.array_equal(ours.lattice, theirs.lattice.matrix)
        assert np.array_equal(ours.frac, theirs.frac_coords)
        assert ours.species.tolist() == list(theirs.atomic_numbers)
        assert ours.volume == theirs.volume


def test_the_rmsd_and_the_answer_are_pymatgens_to_the_last_bit() -> None:
    matched = asked = 0
    for group in variants(12):
        for first, second in [*pairwise(group), (group[0], group[-1])]:
            theirs = matcher(SETTINGS.match).get_rms_dist(structure(first), structure(second))
            ours = rms_distance(cell(first), cell(second), SETTINGS.match)
            assert ours == (None if theirs is None else theirs[0])
            fit = matcher(SETTINGS.duplicate).fit(structure(first), structure(second))
            assert fits(cell(first), cell(second), SETTINGS.duplicate) == fit
            matched, asked = matched + fit, asked + 1
    assert 0 < matched < asked, "both answers occur"


def test_other_atoms_are_another_crystal() -> None:
    groups = variants(2)
    first, second = cell(groups[0][0]), cell(groups[1][0])
    assert not fits(first, second, SETTINGS.duplicate)
    assert rms_distance(first, second, SETTINGS.match) is None


def test_a_comparison_gives_up_after_a_set_amount_of_work(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = [cell(variants(1)[0][0])] * 2
    monkeypatch.setattr(bounded_matcher, "MOST_WORK", 1.0)
    for ask in (fits, rms_distance):
        with pytest.raises(GivenUpError):
            ask(*pair, SETTINGS.duplicate)


def test_many_are_checked_as_one_by_one() -> None:
    good = load_bundled()[0]
    broken = [
        Crystal.of("none", [], np.eye(3), []),
        Crystal.of("hidden", [0], np.eye(3), [[0, 0, 0]]),
        Crystal.of("on each other", [6, 6], 3 * np.eye(3), [[0, 0, 0], [0.001, 0, 0]]),
        Crystal.of("flat", [6], 0.1 * np.eye(3), [[0, 0, 0]]),
    ]
    crystals = [broken[0], good, *broken[1:], good]
    assert all_unscorable(crystals) == [unscorable(each) for each in crystals]
    assert [bool(why) for why in all_unscorable(crystals)] == [True, False, True, True, True, False]
