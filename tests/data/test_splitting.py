"""Splits are deterministic, keep compositions together and notice what does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crystalsweep.data import DataError, Split, fingerprint, grouped_split, load_data, write
from crystalsweep.structures.crystal import Crystal

ROCK_SALT = [[0, 0, 0], [0.5, 0.5, 0.5]]


def binary(name: str, a: int, b: int, edge: float = 4.0, **labels: float) -> Crystal:
    return Crystal.of(name, [a, b], edge * np.eye(3), ROCK_SALT, **labels)


@pytest.fixture
def crystals() -> list[Crystal]:
    """100 crystals of 50 compositions."""
    return [binary(f"c{i}", 3 + i % 50, 60, 4 + i / 100, energy=i / 10) for i in range(100)]


@given(st.lists(st.integers(3, 20), min_size=1, max_size=60), st.integers(0, 3))
def test_any_set_is_split_without_straddling_or_refused(elements: list[int], seed: int) -> None:
    crystals = [binary(f"c{i}", z, 60) for i, z in enumerate(elements)]
    if len(set(elements)) < 3:
        with pytest.raises(DataError, match="compositions cannot be split"):
            grouped_split(crystals, seed=seed)
        return
    split = grouped_split(crystals, seed=seed)
    parts = (split.train, split.val, split.test)
    assert all(parts)
    assert sorted(sum(parts, ())) == sorted(crystal.id for crystal in crystals)
    formulas = {crystal.id: crystal.reduced_formula for crystal in crystals}
    assert sum(len({formulas[name] for name in part}) for part in parts) == len(set(formulas.values()))


def test_sizes_order_and_seed(crystals: list[Crystal]) -> None:
    split = grouped_split(crystals)
    assert [len(split.train), len(split.val), len(split.test)] == [80, 10, 10]
    assert split == grouped_split(crystals[::-1])
    assert split.sha256 == grouped_split(crystals[::-1]).sha256
    assert split.sha256 != grouped_split(crystals, seed=1).sha256
    assert not grouped_split(crystals, (0.9, 0.1, 0.0)).test


def test_supercells_of_one_composition_stay_together() -> None:
    single = [binary(f"s{z}", z, 60) for z in range(3, 30)]
    double = [Crystal.of(f"d{z}", [z, z, 60, 60], 4 * np.eye(3), np.eye(4, 3) / 2) for z in range(3, 30)]
    split = grouped_split([*single, *double])
    for z in range(3, 30):
        assert len({part for part in ("train", "val", "test") for k in "sd" if f"{k}{z}" in split.ids(part)}) == 1


def test_fractions_must_add_up(crystals: list[Crystal]) -> None:
    with pytest.raises(DataError, match="are no shares of 1"):
        grouped_split(crystals, (0.8, 0.1, 0.2))


def test_split_json_round_trip_and_tampering(tmp_path: Path, crystals: list[Crystal]) -> None:
    split, path = grouped_split(crystals), tmp_path / "x.split.json"
    path.write_text(json.dumps(split.to_json()))
    assert Split.from_json(path) == split
    content = split.to_json()
    content["val"].append(content["train"].pop())
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="sha256"):
        Split.from_json(path)
    path.write_text("[1, 2]")
    with pytest.raises(DataError, match="not a split"):
        Split.from_json(path)
    with pytest.raises(DataError, match="listed twice"):
        Split(train=("a",), val=("a",))


def test_fingerprint_sees_content_and_nothing_else(crystals: list[Crystal]) -> None:
    base = [binary("a", 3, 60, energy=1.0), binary("b", 4, 60)]
    reference = fingerprint(base)
    assert reference == fingerprint(base[::-1])
    assert reference == fingerprint([binary("a", 3, 60, 4 + 1e-9, energy=1.0), base[1]])
    for changed in (
        binary("c", 3, 60, energy=1.0),
        binary("a", 5, 60, energy=1.0),
        binary("a", 3, 60, 4.01, energy=1.0),
        binary("a", 3, 60, energy=1.1),
        binary("a", 3, 60, e=1.0),
        binary("a", 3, 60),
    ):
        assert reference != fingerprint([changed, base[1]])
    assert fingerprint(crystals) != fingerprint(crystals[1:])


def test_load_splits_a_path_by_rule_or_by_the_file_beside_it(tmp_path: Path, crystals: list[Crystal]) -> None:
    path = tmp_path / "mine.parquet"
    write(crystals, path)
    data = load_data(str(path))
    assert (data.name, len(data.train), data.split_sha256) == ("mine", 80, grouped_split(crystals).sha256)
    assert data.data_sha256 == fingerprint(crystals)
    beside = Split(train=("c1", "c2"), val=("c3",), test=())
    Path(f"{path}.split.json").write_text(json.dumps(beside.to_json()))
    assert [crystal.id for crystal in load_data(str(path)).train] == ["c1", "c2"]
    Path(f"{path}.split.json").write_text(json.dumps({"train": ["c1"], "val": ["elsewhere"]}))
    with pytest.raises(DataError, match=r"1 ids are not in .*elsewhere"):
        load_data(str(path))
    with pytest.raises(DataError, match="not a split"):
        load_data(str(path), tmp_path / "nowhere.json")


def test_load_takes_a_path_for_each_part(tmp_path: Path, crystals: list[Crystal]) -> None:
    train, val = tmp_path / "train.parquet", tmp_path / "val.extxyz"
    write(crystals[:60], train)
    write(crystals[60:], val)
    data = load_data(f"{train},{val}")
    assert [len(data.train), len(data.val), len(data.test)] == [60, 40, 0]
    write(crystals[59:], val)
    with pytest.raises(DataError, match=r"share 1 ids, e\.g\. c59"):
        load_data(f"{train},{val}")
    with pytest.raises(DataError, match="two or three paths"):
        load_data(f"{train},{val},{val},{val}")


def test_load_reports_rejects_or_refuses_them(tmp_path: Path, crystals: list[Crystal]) -> None:
    path = tmp_path / "mine.parquet"
    write([*crystals, crystals[0]], path)
    assert [reject.reason for reject in load_data(str(path)).rejects] == ["duplicate id"]
    with pytest.raises(DataError, match="1 of 101 rows rejected"):
        load_data(str(path), strict=True)
    write([], path)
    with pytest.raises(DataError, match="no usable crystal"):
        load_data(str(path))
