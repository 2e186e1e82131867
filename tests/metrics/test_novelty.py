"""Crystals under other names, cells and frames are found in a reference; others are not."""

from __future__ import annotations

import pickle
from dataclasses import replace
from functools import cache
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy.stats import special_ortho_group

from crystalsweep.data import load_bundled
from crystalsweep.metrics.novelty import Reference, novel_vs_input
from crystalsweep.metrics.settings import MetricConfig
from crystalsweep.structures.crystal import Crystal

DUPLICATE = MetricConfig().duplicate


@cache
def crystals() -> list[Crystal]:
    return load_bundled()


def supercell(crystal: Crystal, repeats: tuple[int, int, int], seed: int = 0) -> Crystal:
    """Another cell of the same crystal: repeated, turned, translated, its atoms shuffled, under another name."""
    generator = np.random.default_rng(seed)
    cells = np.array(list(product(*map(range, repeats))))
    frac = ((crystal.frac + cells[:, None] + generator.random(3)) / np.array(repeats)).reshape(-1, 3)
    order = generator.permutation(len(frac))
    turned = np.diag(repeats) @ crystal.lattice @ special_ortho_group.rvs(3, random_state=generator)
    return Crystal.of(f"copy-of-{crystal.id}", np.tile(crystal.species, len(cells))[order], turned, frac[order])


@pytest.mark.parametrize("repeats", [(1, 1, 1), (2, 1, 1), (2, 1, 2)])
def test_another_cell_of_a_crystal_is_found_by_its_name(repeats: tuple[int, int, int]) -> None:
    reference = Reference(crystals()[::40])
    chosen = [crystal for crystal in crystals()[::40] if 1 < len(crystal) <= 12][:12]
    assert [reference.look_up(supercell(crystal, repeats), DUPLICATE).name for crystal in chosen] == [
        c.id for c in chosen
    ]


def test_five_leaked_crystals_are_found_and_no_others() -> None:
    train, test = crystals()[::50], crystals()[1::50]
    leaked = [crystal for crystal in test if len(crystal) <= 10][:5]
    cells = [(1, 1, 1), (2, 1, 1), (1, 3, 1), (1, 1, 2), (2, 2, 1)]
    copies = [
        supercell(crystal, repeats, seed) for seed, (crystal, repeats) in enumerate(zip(leaked, cells, strict=True))
    ]
    before = {c.id: name for c in test if (name := Reference(train).look_up(c, DUPLICATE).name)}
    reference = Reference([*train, *copies])
    found = {c.id: name for c in test if (name := reference.look_up(c, DUPLICATE).name)}
    assert found == before | {crystal.id: f"copy-of-{crystal.id}" for crystal in leaked}


def test_one_prototype_with_other_elements_is_another_crystal() -> None:
    sites = [[0, 0, 0], [0.5, 0.5, 0.5]]
    salt = Crystal.of("NaCl", [11, 17], 2.82 * (1 - np.eye(3)), sites)
    magnesia = Crystal.of("MgO", [12, 8], 2.11 * (1 - np.eye(3)), sites)
    assert Reference([salt]).contains(magnesia, DUPLICATE) is False
    assert Reference([salt]).contains(salt, DUPLICATE) is True


def test_polymorphs_are_told_apart() -> None:
    sites = [[0, 0, 0], [0.5, 0.5, 0.5]]
    rocksalt = Crystal.of("B1", [11, 17], 2.82 * (1 - np.eye(3)), sites)
    caesium_chloride = Crystal.of("B2", [11, 17], 3.4 * np.eye(3), sites)
    assert (
        Reference([rocksalt, caesium_chloride]).look_up(supercell(caesium_chloride, (1, 1, 1)), DUPLICATE).name == "B2"
    )
    assert Reference([rocksalt]).look_up(caesium_chloride, DUPLICATE).name == ""


def test_an_unscorable_crystal_is_neither_found_nor_missed() -> None:
    crystal = crystals()[0]
    reference = Reference([crystal, Crystal.of("empty", [], np.eye(3), [])])
    broken = replace(crystal, frac=np.full_like(crystal.frac, np.nan))
    assert reference.contains(broken, DUPLICATE) is None
    assert reference.look_up(broken, DUPLICATE).name == ""
    assert Reference([broken]).contains(crystal, DUPLICATE) is None, "nothing could tell"
    assert "cannot be compared" in Reference([broken]).look_up(crystal, DUPLICATE).undecided


def test_the_first_of_two_equal_entries_is_named() -> None:
    crystal = next(c for c in crystals() if len(c) == 8)
    entries = [supercell(crystal, (1, 1, 1), 1), supercell(crystal, (2, 1, 1), 2)]
    query = supercell(crystal, (1, 1, 2), 3)
    names = [
        Reference([replace(entries[i], id=str(i)) for i in order]).look_up(query, DUPLICATE).name
        for order in ((0, 1), (1, 0))
    ]
    assert names == ["0", "1"]


def test_a_reference_travels_without_what_it_has_found() -> None:
    reference = Reference(crystals()[:200])
    size = len(pickle.dumps(reference))
    query = next(c for c in crystals()[:200] if len(c) > 2)
    assert reference.look_up(supercell(query, (1, 1, 1)), DUPLICATE).name == query.id
    sent = pickle.dumps(reference)
    assert len(sent) < 1.01 * size
    assert pickle.loads(sent).look_up(supercell(query, (1, 1, 1)), DUPLICATE).name == query.id
    assert len(reference) == 200


def test_novelty_beside_the_input_needs_validity_and_another_reduced_composition() -> None:
    table = pd.DataFrame(
        {
            "structural_validity": [True, True, False, True, True],
            "compositional_validity": [True, False, True, True, True],
            "species_before": [np.array([11, 17])] * 5,
            "species_after": [np.array(s) for s in ([12, 8], [12, 8], [12, 8], [17, 11], [11, 11, 17, 17])],
        },
        index=[4, 5, 6, 7, 8],
    )
    novel = novel_vs_input(table)
    assert novel.tolist() == [1.0, 0.0, 0.0, 0.0, 0.0]
    assert novel.index.equals(table.index)
    assert novel_vs_input(table[:0]).dtype == float
