"""Copies among generated crystals: rows that restore one parent, other cells, and crystals that cannot be compared."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from crystalsweep.data import load_bundled
from crystalsweep.metrics.settings import MetricConfig
from crystalsweep.metrics.uniqueness import kinds
from crystalsweep.structures.crystal import Crystal

DUPLICATE = MetricConfig().duplicate


@cache
def parents() -> list[Crystal]:
    """Twelve real crystals of twelve compositions."""
    chosen = {c.reduced_formula: c for c in load_bundled()[::100] if 2 <= len(c) <= 10}
    return list(chosen.values())[:12]


def noisy(crystal: Crystal, sigma: float, seed: int) -> Crystal:
    noise = np.random.default_rng(seed).normal(scale=sigma, size=(len(crystal), 3))
    return Crystal.of(
        crystal.id, crystal.species, crystal.lattice, crystal.frac + noise @ np.linalg.inv(crystal.lattice)
    )


def test_rows_that_restore_one_parent_are_copies_of_the_first() -> None:
    rows = [noisy(parent, 0.02, seed) for seed in range(5) for parent in parents()]
    assert kinds(rows, DUPLICATE).first.tolist() == list(range(12)) * 5
    assert kinds(rows, DUPLICATE).unique.tolist() == [True] * 12 + [False] * 48


def test_another_cell_and_order_of_atoms_is_a_copy() -> None:
    for parent in parents():
        doubled = Crystal.of(
            "",
            np.tile(parent.species, 2)[::-1],
            np.diag([2, 1, 1]) @ parent.lattice,
            np.concatenate([parent.frac, parent.frac + np.array([1, 0, 0])])[::-1] / [2, 1, 1] + 0.1,
        )
        assert kinds([parent, doubled], DUPLICATE).first.tolist() == [0, 0]


def test_other_elements_on_the_same_sites_are_another_kind() -> None:
    parent = parents()[0]
    other = replace(parent, species=np.where(parent.species == parent.species[0], 3, parent.species))
    assert kinds([parent, other, parent], DUPLICATE).unique.tolist() == [True, True, False]


def test_crystals_are_compared_with_first_ones_only() -> None:
    """One atom moves 0.56 Å from row to row: neighbours are the same within stol, the ends are not."""
    lattice = np.diag([4.0, 4.0, 7.0])
    heights = [0.6, 0.52, 0.44, 0.36, 0.28]
    rows = [Crystal.of("", [11, 17, 8], lattice, [[0, 0, 0], [0, 0, z], [0.5, 0.5, 0.25]]) for z in heights]
    found = kinds(rows, DUPLICATE).first
    assert found[1] == 0
    assert found[-1] > 0
    assert all(kinds(rows[i : i + 2], DUPLICATE).first.tolist() == [0, 0] for i in range(4))
    assert (found[found] == found).all()  # representatives represent themselves


def test_crystals_that_cannot_be_compared_are_not_unique() -> None:
    parent = parents()[0]
    rows = [
        replace(parent, frac=np.full_like(parent.frac, np.nan)),
        replace(parent, species=np.zeros_like(parent.species)),
        Crystal.of("", [], np.eye(3), []),
        parent,
        Crystal.of("", [2], 4 * np.eye(3), [[0, 0, 0]]),
    ]
    assert kinds(rows, DUPLICATE).first.tolist() == [-1] * 3 + [3, 4]
    assert kinds([], DUPLICATE).unique.tolist() == []


def test_every_kind_is_asked_however_many_there_are() -> None:
    """Kind 1: the ninth kind of a composition and all after it have copies too."""
    rows = [noisy(parents()[0], 0.9, seed) for seed in range(40)]
    distinct = [row for row, own in zip(rows, kinds(rows, DUPLICATE).unique == 1, strict=True) if own]
    assert len(distinct) > 9
    moved = [replace(c, frac=(c.frac + 0.37) % 1, lattice=1.02 * c.lattice[:, [1, 2, 0]]) for c in distinct]
    again = kinds([*distinct, *moved], DUPLICATE)
    assert again.unique.tolist() == [1.0] * len(distinct) + [0.0] * len(moved)


def test_other_compositions_in_between_change_nothing() -> None:
    rows = [noisy(parents()[0], 0.4, seed) for seed in range(6)]
    alone = kinds(rows, DUPLICATE).first
    mixed = [crystal for row in rows for crystal in (row, parents()[1])]
    assert np.array_equal(kinds(mixed, DUPLICATE).first[::2] // 2, alone)
