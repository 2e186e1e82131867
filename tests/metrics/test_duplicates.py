"""Kind "not compared is not different": three answers of every comparison, for large, long and many crystals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from crystalsweep.data import load_bundled
from crystalsweep.metrics import bounded_matcher, duplicates
from crystalsweep.metrics.bounded_matcher import GivenUpError, matcher
from crystalsweep.metrics.duplicates import find, repeats, unscorable
from crystalsweep.metrics.matching import match
from crystalsweep.metrics.novelty import Reference
from crystalsweep.metrics.overlap import FEWEST
from crystalsweep.metrics.reduced_cell import Comparable, structure
from crystalsweep.metrics.settings import MetricConfig
from crystalsweep.metrics.summary import MATCHING_METRICS
from crystalsweep.metrics.uniqueness import kinds
from crystalsweep.registry.gates.leakage import Ancestor, leakage
from crystalsweep.structures.crystal import Crystal

DUPLICATE = MetricConfig().duplicate
ROCK_SALT = Crystal.of("salt", [11, 17], 2.82 * (1 - np.eye(3)), [[0, 0, 0], [0.5, 0.5, 0.5]])
COPPER = Crystal.of("copper", [29], 1.805 * (1 - np.eye(3)), [[0, 0, 0]])


def repeated(crystal: Crystal, n: int, name: str, noise: float = 0.0, seed: int = 0) -> Crystal:
    """n × n × n cells under another name, origin and order of atoms, with noise in Å."""
    random = np.random.default_rng(seed)
    cells = np.array(list(np.ndindex(n, n, n)))
    frac = ((crystal.frac + cells[:, None]).reshape(-1, 3) + random.random(3)) / n
    order, lattice = random.permutation(len(frac)), n * crystal.lattice
    shift = random.normal(scale=noise, size=frac.shape) @ np.linalg.inv(lattice) if noise else 0.0
    return Crystal.of(name, np.tile(crystal.species, n**3)[order], lattice, (frac + shift)[order])


def crowd(n: int, seed: int, species: tuple[int, ...] = (14, 8, 8)) -> Crystal:
    """n atoms anywhere in a cube, none on another."""
    random = np.random.default_rng(seed)
    while True:
        z = np.tile(species, n // len(species))
        made = Crystal.of(f"crowd-{n}-{seed}", z, np.eye(3) * (15 * n) ** (1 / 3), random.random((len(z), 3)))
        if not unscorable(made):
            return made


@pytest.mark.parametrize(("n", "noise"), [(5, 0.0), (6, 0.02), (10, 0.0)])
def test_supercells_of_hundreds_of_atoms_are_found(n: int, noise: float) -> None:
    """250, 432 and 2,000 atoms."""
    large = repeated(ROCK_SALT, n, "large", noise)
    assert Reference([ROCK_SALT]).look_up(large, DUPLICATE).name == "salt"
    assert Reference([large]).look_up(ROCK_SALT, DUPLICATE).name == "large"
    assert match(ROCK_SALT, large, MetricConfig().match).matched


def test_a_primitive_cell_of_hundreds_of_atoms_is_compared() -> None:
    one, other = crowd(402, 0), crowd(402, 1)
    moved = replace(one, id="moved", frac=one.frac[::-1] + 0.3, species=one.species[::-1])
    assert Reference([other, one]).look_up(moved, DUPLICATE).name == one.id
    assert Reference([other]).contains(moved, DUPLICATE) is False


@pytest.mark.parametrize("vacuum", [100.0, 300.0])
def test_a_layer_in_vacuum_is_compared(vacuum: float) -> None:
    layer = Crystal.of(
        "layer",
        [42, 16, 16],
        np.diag([3.2, 3.2, vacuum]),
        np.array([[0, 0, 0], [0.3, 0.6, 1.6], [0.3, 0.6, -1.6]]) / [1, 1, vacuum],
    )
    apart = replace(layer, id="apart", frac=layer.frac * [1, 1, vacuum / 8])
    turned = Crystal.of("turned", layer.species[::-1], layer.lattice[[2, 0, 1]], layer.frac[::-1][:, [2, 0, 1]] + 0.4)
    assert Reference([layer]).look_up(turned, DUPLICATE).name == "layer"
    assert Reference([layer]).contains(apart, DUPLICATE) is False


def undecidable() -> dict[str, tuple[Crystal, Crystal]]:
    """Pairs of unlike crystals that no test can tell apart."""
    long = np.diag([3.0, 3.0, 2000.0])
    return {
        "more than 3,000": (crowd(3003, 0), crowd(3003, 1)),
        "too elongated": (
            replace(ROCK_SALT, lattice=long),
            replace(ROCK_SALT, lattice=long, frac=np.array([[0, 0, 0], [0.5, 0.5, 0.1]])),
        ),
        "too many ways": (repeated(COPPER, 8, "a", 0.3, 1), repeated(COPPER, 8, "b", 0.3, 2)),
    }


@pytest.mark.parametrize("reason", undecidable())
def test_what_no_test_can_tell_is_undecided_everywhere(reason: str) -> None:
    one, other = (
        replace(crystal, id=name) for crystal, name in zip(undecidable()[reason], ("one", "other"), strict=True)
    )
    assert Reference([one]).contains(other, DUPLICATE) is None
    assert reason in Reference([one]).look_up(other, DUPLICATE).undecided
    found = kinds([one, other, replace(other, id="again")], DUPLICATE)
    assert np.isnan(found.unique[1])
    assert found.unique[[0, 2]].tolist() == [1.0, 0.0], "its copy is the same, whatever it is itself"
    assert reason in found.undecided[1]
    gate = leakage([Ancestor(told="mine", train=[one], val=[])], [], [other])
    assert gate.refuses
    assert gate.checks[0].numbers["undecided"] == 1
    assert "could not be compared" in gate.checks[0].says


def test_the_same_sites_are_the_same_crystal_at_any_size() -> None:
    for one, _ in undecidable().values():
        assert Reference([one]).contains(replace(one, frac=one.frac + 0.2), DUPLICATE) is True
        gate = leakage(
            [Ancestor(told="mine", train=[replace(one, id="known")], val=[])], [], [replace(one, id="asked")]
        )
        assert "known (structure)" in gate.checks[0].says


def test_a_matcher_that_fails_or_gives_up_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = crowd(12, 0), crowd(12, 1)
    assert Reference([one]).contains(other, DUPLICATE) is False

    def broken(*_: object, **__: object) -> bool:
        raise ValueError("no lattice")

    monkeypatch.setattr(duplicates, "fits", broken)
    assert Reference([one]).contains(other, DUPLICATE) is None
    assert "no lattice" in Reference([one]).look_up(other, DUPLICATE).undecided


def test_work_is_counted_where_pymatgen_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its private `_preprocess` and `_cart_dists` are still what a comparison calls."""
    monkeypatch.setattr(bounded_matcher, "MOST_WORK", 1.0)
    pair = [structure(crowd(12, 0))] * 2
    for ask in (matcher(DUPLICATE).fit, matcher(DUPLICATE).get_rms_dist, matcher(DUPLICATE, supercells=True).fit):
        with pytest.raises(GivenUpError):
            ask(*pair)


def test_a_cell_that_can_be_divided_in_many_ways_is_not_tried() -> None:
    assert Comparable(repeated(COPPER, 8, "", 0.05)).obstacle
    assert not Comparable(repeated(COPPER, 8, "")).obstacle, "an exact one is one atom"
    assert not Comparable(crowd(402, 0)).obstacle


@pytest.mark.parametrize("species", [(14, 8, 8), (6,)])
@pytest.mark.parametrize("n", [3, 6])
def test_what_is_left_out_without_asking_the_matcher_it_would_refuse(n: int, species: tuple[int, ...]) -> None:
    """Sizes, shapes and overlaps are necessary for a match: `fit` says no to every pair that they exclude."""
    rows = [crowd(n, seed, species) for seed in range(FEWEST + 8)]
    random = np.random.default_rng(0)
    rows += [replace(c, frac=c.frac + random.normal(scale=0.12, size=c.frac.shape)) for c in rows[:8]]
    sheared = [replace(c, lattice=c.lattice + random.normal(scale=0.6, size=(3, 3))) for c in rows[:8]]
    cells = [Comparable(crystal) for crystal in (*rows, *sheared) if not unscorable(crystal)]
    excluded = 0
    for i, new in enumerate(cells[FEWEST:], start=FEWEST):
        possible = duplicates._possible(cells[:i], new, DUPLICATE)
        for known in np.array(cells[:i], dtype=object)[~possible]:
            excluded += 1
            pair = (known.reduced.structure, new.reduced.structure)
            assert not matcher(DUPLICATE).fit(*pair, skip_structure_reduction=True)
    assert excluded


def test_the_nearest_on_the_same_sites_is_found_before_the_matcher_is_asked() -> None:
    near, far = (
        replace(ROCK_SALT, id=name, frac=ROCK_SALT.frac + np.array([[0, 0, 0], [d, 0, 0]]))
        for name, d in (("near", 0.01), ("far", 0.1))
    )
    assert Reference([far, near]).look_up(ROCK_SALT, DUPLICATE).name == "near"
    assert find([], Comparable(ROCK_SALT), DUPLICATE).position is None


def test_a_supercell_that_cannot_be_asked_for_is_undecided() -> None:
    long = Comparable(replace(ROCK_SALT, lattice=np.diag([3.0, 3.0, 2000.0])))
    assert repeats(Comparable(ROCK_SALT), long, DUPLICATE)[1] == "cell too elongated"


def test_undecided_rows_stand_beside_the_figure() -> None:
    table = pd.DataFrame(
        {"matched": [1.0, 0.0, np.nan], "match_undecided": ["", "", "cell too elongated"], "parent": list("abc")}
    )
    metric = next(metric for metric in MATCHING_METRICS if metric.name == "match_rate")
    assert metric.over(table).mean == 0.5
    assert metric.over(table).n == 2
    assert metric.undecided_in(table) == 1


def test_bundled_crystals_are_all_decided() -> None:
    every = load_bundled()
    reference = Reference(every[::2])
    looked = [reference.look_up(crystal, DUPLICATE) for crystal in every[1::20]]
    assert not any(each.undecided for each in looked)
