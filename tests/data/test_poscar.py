"""POSCAR files are read as VASP means them; what is none is one reject."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Structure
from pymatgen.io.vasp import Poscar

from crystalsweep.data import load_bundled, read
from crystalsweep.structures.crystal import Crystal

SALT = "rock salt\n{scale}\n0 2.8 2.8\n2.8 0 2.8\n2.8 2.8 0\nNa Cl\n1 1\n{mode}\n0 0 0\n{at}\n"
DIRECT = SALT.format(scale=1, mode="Direct", at="0.5 0.5 0.5")


def crystal(tmp_path: Path, text: str) -> Crystal:
    (tmp_path / "POSCAR").write_text(text)
    (found,) = read(tmp_path / "POSCAR").require_clean().crystals
    return found


@pytest.mark.parametrize(
    ("scale", "mode", "at"),
    [
        ("1.0", "Direct", "0.5 0.5 0.5"),
        ("1.0", "Cartesian", "2.8 2.8 2.8"),
        ("1.0", "  cart", "2.8 2.8 2.8"),
        ("-43.904", "Direct", "0.5 0.5 0.5"),
        ("1 1 1", "Selective dynamics\nDirect", "0.5 0.5 0.5 T F T"),
        ("1.0", "Direct", "0.5 0.5 0.5 Cl\n\n0 0 0\n0 0 0"),
    ],
)
def test_one_crystal_written_in_every_way(tmp_path: Path, scale: str, mode: str, at: str) -> None:
    found = crystal(tmp_path, SALT.format(scale=scale, mode=mode, at=at))
    assert found.species.tolist() == [11, 17]
    assert found.volume == pytest.approx(2 * 2.8**3)
    assert found.min_edge == pytest.approx(2.8)


def test_a_scale_is_of_the_positions_too(tmp_path: Path) -> None:
    twice = crystal(tmp_path, SALT.format(scale=2, mode="Cartesian", at="2.8 2.8 2.8"))
    assert twice.min_edge == pytest.approx(5.6)
    assert np.allclose(twice.frac, [[0, 0, 0], [0.5, 0.5, 0.5]])


def test_pymatgen_reads_the_same(tmp_path: Path) -> None:
    for original in load_bundled("test")[:40]:
        structure = Structure(original.lattice, original.species, original.frac).get_sorted_structure()
        text = Poscar(structure).get_str(significant_figures=12)
        found = crystal(tmp_path, text)
        expected = Poscar.from_str(text).structure
        assert found.species.tolist() == list(expected.atomic_numbers)
        assert np.allclose(found.lattice, expected.lattice.matrix)
        assert found.min_edge == pytest.approx(original.min_edge, abs=1e-5)


def test_potentials_and_hashes_are_no_part_of_a_symbol(tmp_path: Path) -> None:
    assert crystal(tmp_path, DIRECT.replace("Na Cl", "Na_pv Cl/3a1c4f8b")).species.tolist() == [11, 17]


@pytest.mark.parametrize("name", ["POSCAR", "CONTCAR", "POSCAR_3", "salt.vasp", "salt.poscar"])
def test_names(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(DIRECT)
    (found,) = read(tmp_path / name).crystals
    assert found.id == ("salt" if name.startswith("salt") else name)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "too early"),
        (DIRECT.replace("Na Cl\n", ""), "no line of symbols"),
        (DIRECT.replace("1 1\n", "1\n"), "2 symbols and 1 counts"),
        (DIRECT.replace("1 1\n", "1 99999999\n"), "at most 10,000 are read"),
        (DIRECT.replace("1 1\n", "1 -1\n"), "each at least 1"),
        (DIRECT.replace("Direct", "somehow"), "neither Direct nor Cartesian"),
        (DIRECT.replace("0.5 0.5 0.5", "0.5 0.5"), "stands where three numbers belong"),
        (DIRECT.replace("0.5 0.5 0.5\n", ""), "'' stands where"),
        (DIRECT.replace("\n1\n", "\n0\n"), "the second line"),
        (DIRECT.replace("Na Cl", "Na Q"), "Q"),
        (DIRECT.replace("2.8 2.8 0", "0 2.8 2.8"), "|det|"),
    ],
)
def test_what_is_none_is_one_reject(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "POSCAR").write_text(text)
    (reject,) = read(tmp_path / "POSCAR").rejects
    assert says in reject.detail or says in reject.reason, reject
    assert reject.remedy


def test_mutated_files_are_read_or_rejected(tmp_path: Path) -> None:
    draw = random.Random(0)
    for _ in range(300):
        characters = list(DIRECT)
        for _ in range(draw.randint(1, 8)):
            at = draw.randrange(len(characters))
            characters[at : at + draw.randint(0, 3)] = draw.choices("0.5-NaClX \n\x00é9", k=draw.randint(0, 3))
        (tmp_path / "POSCAR").write_text("".join(characters))
        assert read(tmp_path / "POSCAR").n_rows == 1
