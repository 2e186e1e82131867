"""The bundled data are what their manifest and their card say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from crystalsweep.data import (
    DataError,
    bundled,
    bundled_fingerprint,
    bundled_split,
    fingerprint,
    grouped_split,
    load_data,
)
from crystalsweep.data.bundled import BUNDLED, load_bundled
from crystalsweep.data.primitive import primitive_cell
from crystalsweep.structures.crystal import Crystal


@pytest.fixture(scope="module")
def crystals() -> list[Crystal]:
    return load_bundled()


def test_parts_make_the_whole(crystals: list[Crystal]) -> None:
    data = load_data("bundled")
    assert [len(data.train), len(data.val), len(data.test)] == [4983, 623, 623]
    ids = [crystal.id for part in (data.train, data.val, data.test) for crystal in part]
    assert sorted(ids) == [crystal.id for crystal in crystals]
    assert [crystal.id for crystal in load_bundled("val")] == [crystal.id for crystal in data.val]


def test_hashes_are_those_of_the_content(crystals: list[Crystal]) -> None:
    assert bundled_fingerprint() == fingerprint(crystals) == load_data("bundled").data_sha256
    assert bundled_split() == grouped_split(crystals, seed=0)


def test_no_composition_straddles() -> None:
    formulas = [{crystal.reduced_formula for crystal in load_bundled(part)} for part in ("train", "val", "test")]
    assert sum(map(len, formulas)) == len(set.union(*formulas)) == 5667


def test_no_two_crystals_match(crystals: list[Crystal]) -> None:
    groups: dict[str, list[Crystal]] = {}
    for crystal in crystals:
        groups.setdefault(crystal.reduced_formula, []).append(crystal)
    matcher = StructureMatcher()
    several = [group for group in groups.values() if len(group) > 1][:60]
    for group in several:
        structures = [Structure(c.lattice, c.species, c.frac) for c in group]
        for i, structure in enumerate(structures):
            assert not any(matcher.fit(structure, other) for other in structures[:i]), group[i].id


def test_cells_are_primitive_and_in_standard_form(crystals: list[Crystal]) -> None:
    assert all((np.triu(c.lattice, 1) == 0).all() and (np.diag(c.lattice) > 0).all() for c in crystals)
    assert all((np.diff(c.species) >= 0).all() for c in crystals)
    assert all(len(primitive_cell(c)) == len(c) for c in crystals[::50])
    assert min(crystal.min_edge for crystal in crystals) > 0.7


def test_labels_are_sane(crystals: list[Crystal]) -> None:
    assert all(crystal.labels.get("e_above_hull", 0.0) >= 0 for crystal in crystals)
    elements = [c for c in crystals if len(c.reduced_formula.split()) == 1 and "e_above_hull" in c.labels]
    assert len(elements) > 50
    assert all(
        c.labels["formation_energy_per_atom"] == pytest.approx(c.labels["e_above_hull"], abs=0.01) for c in elements
    )
    assert all(c.labels[name] > 0 for c in crystals for name in ("k_vrh", "g_vrh") if name in c.labels)


def test_the_card_gives_the_numbers(crystals: list[Crystal]) -> None:
    card = (BUNDLED / "DATA_CARD.md").read_text(encoding="utf-8")
    energies = [crystal.labels["e_above_hull"] for crystal in crystals if "e_above_hull" in crystal.labels]
    counts = json.loads((BUNDLED / "split.json").read_text())["counts"]
    labels = [len(crystal.labels) for crystal in crystals]
    numbers = [len(crystals), len(energies), sum(e <= 0 for e in energies), labels.count(4), labels.count(0)]
    numbers += [counts["distinct ids"], counts["dropped as duplicates"], counts["cells made smaller"]]
    for number in numbers:
        assert f"{number:,}" in card, number


def test_changed_files_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copies = {name: tmp_path / name for name in ("crystals.parquet", "split.json")}
    for name, copy in copies.items():
        shutil.copy(BUNDLED / name, copy)
    monkeypatch.setattr(bundled, "CRYSTALS", copies["crystals.parquet"])
    monkeypatch.setattr(bundled, "SPLIT_MANIFEST", copies["split.json"])
    assert len(load_bundled("test")) == 623
    copies["crystals.parquet"].write_bytes(copies["crystals.parquet"].read_bytes() + b"x")
    with pytest.raises(DataError, match="sha256"):
        load_bundled()
    copies["crystals.parquet"].unlink()
    with pytest.raises(DataError, match="missing"):
        load_bundled()


def test_bundled_data_take_no_other_split() -> None:
    with pytest.raises(DataError, match="its own split"):
        load_data("bundled", Path("other.json"))
