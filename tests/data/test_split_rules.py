"""Splits that ask a question, on bundled crystals: nothing straddles, nothing leaks, what is left out is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from crystalsweep.cli.main import main
from crystalsweep.data import DataError, Split, load_bundled, load_data, write
from crystalsweep.data.split_rules import by_crystal_system, divided, matbench_fold, without_element
from crystalsweep.data.splitting import grouped_split
from crystalsweep.metrics.distributions import describe_crystals
from crystalsweep.registry.split_guard import guarded
from crystalsweep.structures.crystal import Crystal


@pytest.fixture(scope="module")
def crystals() -> list[Crystal]:
    return list(load_bundled("test"))[:300]


def elements(crystals: list[Crystal], ids: tuple[str, ...]) -> set[frozenset[int]]:
    return {frozenset(c.species.tolist()) for c in crystals if c.id in set(ids)}


def test_by_composition_is_the_split_that_data_has_anyway(crystals: list[Crystal]) -> None:
    assert divided(crystals, "composition").split == grouped_split(crystals)


def test_by_chemical_system_nothing_straddles(crystals: list[Crystal]) -> None:
    split = divided(crystals, "chemical-system").split
    parts = [elements(crystals, part) for part in (split.train, split.val, split.test)]
    assert all(parts)
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]


def test_at_random_every_crystal_is_in_a_part(crystals: list[Crystal]) -> None:
    split = divided(crystals, "random", seed=3).split
    assert [len(split.train), len(split.val), len(split.test)] == [240, 30, 30]
    assert split == divided(crystals[::-1], "random", seed=3).split
    assert split != divided(crystals, "random", seed=4).split


def test_trained_on_cubic_others_are_all_held_out(crystals: list[Crystal]) -> None:
    systems = list(describe_crystals(crystals)["crystal_system"])
    systems[0] = "unknown"
    made = by_crystal_system(crystals, systems)
    of = dict(zip([c.id for c in crystals], systems, strict=True))
    assert {of[name] for name in (*made.split.train, *made.split.val)} == {"cubic"}
    assert sum(of[name] == "cubic" for name in made.split.test) > 0
    assert sum(of[name] != "cubic" for name in made.split.test) == sum(s not in ("cubic", "unknown") for s in systems)
    assert "1 left out of all parts" in made.told[1]
    with pytest.raises(DataError, match="another system are needed; there are cubic 300"):
        by_crystal_system(crystals, ["cubic"] * 300)


def test_an_element_is_never_seen(crystals: list[Crystal]) -> None:
    split = without_element(crystals, "O").split
    assert all(8 not in system for system in elements(crystals, (*split.train, *split.val)))
    assert all(8 in system for system in elements(crystals, split.test))
    with pytest.raises(DataError, match="'Xx' is no element"):
        without_element(crystals, "Xx")


def test_matbench_folds_hold_every_row_once_and_rest_on_the_order(crystals: list[Crystal]) -> None:
    folds = [matbench_fold(crystals, k).split for k in range(5)]
    held_out = [name for fold in folds for name in fold.test]
    assert sorted(held_out) == sorted(crystal.id for crystal in crystals)
    assert all(len(fold.test) == 60 and len(fold.train) + len(fold.val) == 240 for fold in folds)
    rows = np.random.RandomState(18012019).permutation(300)[:60]  # as KFold shuffles, written out
    assert set(folds[0].test) == {crystals[i].id for i in rows}
    assert matbench_fold(crystals[::-1], 0).split.test != folds[0].test
    with pytest.raises(DataError, match="no fold 5"):
        matbench_fold(crystals, 5)


def test_what_repeats_a_training_crystal_stays_in_a_fold_of_matbench_and_is_counted(tmp_path: Path) -> None:
    frac = [[0, 0, 0], [0.5, 0.5, 0.5]]
    alike = [Crystal.of(f"copy{i}", [3, 17], 5 * np.eye(3), frac) for i in range(5)]
    others = [Crystal.of(f"t{z}", [z, 17], 5 * np.eye(3), frac) for z in (11, 19, 37, 55, 47)]
    file = tmp_path / "bench.parquet"
    write([*alike, *others], file)
    ran = CliRunner().invoke(main, ["data", "split", str(file), "--by", "matbench-fold", "--fold", "1"])
    assert ran.exit_code == 0, ran.output
    test = load_data(str(file)).test
    assert len(test) == 2
    again = sum(crystal.id.startswith("copy") for crystal in test)
    assert again
    assert f"note: {again} of test kept though among training crystals (structure)" in ran.output
    wrong = CliRunner().invoke(main, ["data", "split", str(file), "--by", "matbench-fold"])
    assert "--fold goes with --by matbench-fold" in wrong.output


def test_a_copy_of_a_training_crystal_is_left_out_and_counted() -> None:
    frac = [[0, 0, 0], [0.5, 0.5, 0.5]]
    train = [Crystal.of(f"t{z}", [z, 17], 5 * np.eye(3), frac) for z in (3, 11, 19)]
    copy = Crystal.of("copy", [3, 17], 5 * np.eye(3), frac)
    twice = [[0, 0, 0], [0.25, 0.5, 0.5], [0.5, 0, 0], [0.75, 0.5, 0.5]]
    doubled = Crystal.of("doubled", [11, 17, 11, 17], np.diag([10, 5, 5]), twice)
    polymorph = Crystal.of("polymorph", [19, 17], np.diag([4, 4, 9]), [[0, 0, 0], [0, 0, 0.3]])
    new = Crystal.of("new", [37, 17], 5 * np.eye(3), frac)
    everything = [*train, copy, doubled, polymorph, new]
    split = Split(train=("t11", "t19", "t3"), val=("copy", "polymorph"), test=("doubled", "new"))
    found = guarded(split, everything)
    assert found.left_out == ("copy", "doubled")
    assert (found.split.train, found.split.val, found.split.test) == (split.train, ("polymorph",), ("new",))
    assert found.told == (
        "1 of val left out of all parts: also among training crystals (structure)",
        "1 of test left out of all parts: also among training crystals (structure)",  # reduced cells are equal
    )


def test_the_command_freezes_what_is_then_used(crystals: list[Crystal], tmp_path: Path) -> None:
    file = tmp_path / "some.parquet"
    write(crystals, file)
    command = ["data", "split", str(file), "--by", "crystal-system"]
    ran = CliRunner().invoke(main, command)
    assert ran.exit_code == 0, ran.output
    assert "trained on cubic" in ran.output
    used = load_data(str(file))
    assert set(describe_crystals(list(used.train))["crystal_system"]) == {"cubic"}
    assert used.split_sha256[:12] in ran.output
    again = CliRunner().invoke(main, command)
    assert again.exit_code == 1
    assert "a split is frozen" in again.output
    wrong = CliRunner().invoke(main, ["data", "split", str(file), "--by", "element"])
    assert "--element goes with --by element" in wrong.output
