"""What is written is read back the same, in every form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crystalsweep.data import DataError, fingerprint, load_bundled, read, write
from crystalsweep.structures.crystal import Crystal


def by_position(crystal: Crystal) -> np.ndarray:
    """Order of atoms that no form changes: Z, then wrapped coordinates."""
    frac = np.round(crystal.frac, 4) % 1.0
    return np.lexsort((frac[:, 2], frac[:, 1], frac[:, 0], crystal.species))


def lengths_and_angles(crystal: Crystal) -> np.ndarray:
    return crystal.lattice @ crystal.lattice.T


@pytest.fixture(scope="module")
def crystals() -> list[Crystal]:
    skewed = Crystal.of("skewed", [8, 1, 1], [[3, 0, 0], [-1.5, 4, 0], [0.7, 1, 5]], np.arange(9).reshape(3, 3) / 10)
    labelled = Crystal.of("with space", [79], 2.5 * np.eye(3), [[0.25, 0.5, 0.75]], e_above_hull=-1.25e-7)
    return [*load_bundled("val")[:40], skewed, labelled]


@pytest.mark.parametrize("name", ["x.parquet", "x.extxyz", "x.csv", "cifs"])
def test_round_trip(tmp_path: Path, crystals: list[Crystal], name: str) -> None:
    write(crystals, tmp_path / name)
    back = {crystal.id: crystal for crystal in read(tmp_path / name).require_clean().crystals}
    assert set(back) == {crystal.id for crystal in crystals}
    for crystal in crystals:
        other = back[crystal.id]
        a, b = by_position(crystal), by_position(other)
        np.testing.assert_array_equal(crystal.species[a], other.species[b])
        shift = crystal.frac[a] - other.frac[b]
        np.testing.assert_allclose(shift - np.round(shift), 0, atol=1e-5)
        np.testing.assert_allclose(lengths_and_angles(crystal), lengths_and_angles(other), atol=1e-4)
        assert other.labels == ({} if name == "cifs" else crystal.labels)


def test_parquet_and_extxyz_keep_the_fingerprint(tmp_path: Path, crystals: list[Crystal]) -> None:
    for name in ("x.parquet", "x.extxyz"):
        write(crystals, tmp_path / name)
        assert fingerprint(read(tmp_path / name).crystals) == fingerprint(crystals)


def test_nothing_unfinished_is_left_behind(tmp_path: Path, crystals: list[Crystal]) -> None:
    write(crystals[:2], tmp_path / "x.csv")
    masked = Crystal.of("masked", [0], 3 * np.eye(3), [[0, 0, 0]])
    with pytest.raises(DataError, match="masked: atomic number 0"):
        write([masked], tmp_path / "x.csv")
    assert [file.name for file in tmp_path.iterdir()] == ["x.csv"]
    assert len(read(tmp_path / "x.csv").crystals) == 2


def test_bad_targets(tmp_path: Path, crystals: list[Crystal]) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    for target, message in {
        "missing/x.parquet": "does not exist; create it",
        "x.json": "unknown form '.json'",
        "full": "not empty",
    }.items():
        with pytest.raises(DataError, match=message):
            write(crystals, tmp_path / target)
    with pytest.raises(DataError, match="cannot be a file name"):
        write([Crystal.of("a/b", [1], np.eye(3), [[0, 0, 0]])], tmp_path / "cifs")
