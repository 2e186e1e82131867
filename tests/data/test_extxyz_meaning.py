"""Extended XYZ is read by allow-lists: what is periodic, what is a number, where a frame ends, what quotes hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms

from crystalsweep.data import Reading, read
from crystalsweep.data.writing import write
from crystalsweep.structures.crystal import Crystal

LATTICE = 'Lattice="4 0 0 0 4 0 0 0 4"'


def frame(name: str, *atoms: str, count: int = 2, more: str = 'pbc="T T T"') -> str:
    lines = atoms or ("Na 0 0 0", "Cl 2 2 2")
    return "\n".join([str(count), f"{LATTICE} {more} material_id={name}", *lines, ""])


def reading_of(tmp_path: Path, text: str) -> Reading:
    (tmp_path / "x.extxyz").write_text(text)
    return read(tmp_path / "x.extxyz")


def ids(reading: Reading) -> list[str]:
    return [crystal.id for crystal in reading.crystals]


@pytest.mark.parametrize("pbc", ['"T T T"', '"true True TRUE"', "[T, T, T]", '"1 1 1"', "T", "True", "1"])
def test_periodic_in_any_spelling_is_read(tmp_path: Path, pbc: str) -> None:
    assert ids(reading_of(tmp_path, frame("a", more=f"pbc={pbc}"))) == ["a"]


@pytest.mark.parametrize(
    "pbc",
    ['"F F F"', '"false false false"', '"FALSE FALSE FALSE"', '"T T False"', "[T, T, f]", '"1 1 0"', "F", '"no"',
     '"T T"', '"T T T T"', '""', '".true. .true. .true."', '"2 2 2"'],
)  # fmt: skip
def test_anything_else_is_not_periodic(tmp_path: Path, pbc: str) -> None:
    assert [reject.reason for reject in reading_of(tmp_path, frame("a", more=f"pbc={pbc}")).rejects] == ["not periodic"]


def test_a_broken_frame_costs_itself_alone(tmp_path: Path) -> None:
    good, three = frame("f1"), ("Na 0 0 0", "Cl 2 2 2", "K 1 1 1")
    for bad in (frame("bad", *three), frame("bad", *three, count=4), frame("bad", "Na 0 0 0"), "2\n", "2\nx\n"):
        reading = reading_of(tmp_path, good + bad + frame("f3") + frame("f4"))
        assert ids(reading) == ["f1", "f3", "f4"]
        assert [reject.reason for reject in reading.rejects] == ["broken frame"]


@pytest.mark.parametrize("stray", ["stray\n", "a stray remark that goes on\n", "\n\nstray\n\n"])
def test_stray_lines_cost_no_frame_and_are_told(tmp_path: Path, stray: str) -> None:
    reading = reading_of(tmp_path, frame("f1") + stray + frame("f2") + frame("f3"))
    assert ids(reading) == ["f1", "f2", "f3"]
    (reject,) = reading.rejects
    assert (reject.reason, "stray" in reject.detail) == ("stray lines", True)


def test_blank_lines_between_frames_are_nothing(tmp_path: Path) -> None:
    reading = reading_of(tmp_path, "\n" + frame("f1") + "\n  \n" + frame("f2") + "\n\n")
    assert (ids(reading), reading.rejects) == (["f1", "f2"], [])


def test_fortran_exponents_and_atomic_numbers(tmp_path: Path) -> None:
    text = '2\nLattice="4.0D+00 0 0 0 0.4d1 0 0 0 4." Properties=Z:I:1:pos:R:3 energy=-1.5D-1\n11 0 0 0\n17 2.0D0 2 2\n'
    (crystal,) = reading_of(tmp_path, text).crystals
    assert (crystal.species.tolist(), crystal.labels) == ([11, 17], {"energy": -0.15})
    np.testing.assert_allclose(crystal.frac[1], 0.5)


@pytest.mark.parametrize("text", ["InF", "2021_01", "0x1", "1e", "nano", "\u0661", "Infinity"])
def test_what_python_takes_for_a_number_is_no_label(tmp_path: Path, text: str) -> None:
    (crystal,) = reading_of(tmp_path, frame("a", more=f"formula={text} energy=1.5")).crystals
    assert crystal.labels == {"energy": 1.5}


@pytest.mark.parametrize("position", ["1_0", "0x1", "\u0661", "1,5"])
def test_what_python_takes_for_a_number_is_no_position(tmp_path: Path, position: str) -> None:
    reading = reading_of(tmp_path, frame("a", "Na 0 0 0", f"Cl {position} 2 2"))
    assert [reject.reason for reject in reading.rejects] == ["broken frame"]


NAMES = [
    "a\tb",
    "a\tc",
    'say "x"',
    "plain",
    "back\\slash",
    "two\nlines",
    "a b",
    "=",
    "k=v",
    "\u00c5",
    "\\n",
    '"',
    "a\\",
    "",
]


@pytest.mark.parametrize("suffix", [".extxyz", ".csv", ".parquet"])
def test_ids_and_labels_survive_a_round_trip(tmp_path: Path, suffix: str) -> None:
    names = [name for name in NAMES if name]
    crystals = [
        Crystal.of(name, np.array([11, 17]), 4 * np.eye(3), np.array([[0, 0, 0], [0.5, 0.5, 0.5 - 0.001 * i]]))
        for i, name in enumerate(names)
    ]
    labelled = [replace(c, labels={"gap (eV)": float(i), 'a "b"\tc': 0.5}) for i, c in enumerate(crystals)]
    write(labelled, tmp_path / f"x{suffix}")
    reading = read(tmp_path / f"x{suffix}")
    assert (ids(reading), reading.rejects) == (names, [])
    assert [crystal.labels for crystal in reading.crystals] == [crystal.labels for crystal in labelled]


@pytest.mark.parametrize(
    "lattice",
    [
        '"[[4, 1, 0], [0, 4, 0], [0, 0, 4]]"',
        "[[4,1,0],[0,4,0],[0,0,4]]",
        "[ [4, 1, 0], [0, 4, 0] , [0, 0, 4] ]",
        "[4, 1, 0, 0, 4, 0, 0, 0, 4]",
        "{4 1 0 0 4 0 0 0 4}",
        '" {4 1 0 0 4 0 0 0 4}"',
    ],
)
def test_rows_of_a_nested_lattice_are_its_vectors(tmp_path: Path, lattice: str) -> None:
    """As libAtoms' description of the format has it; ASE 3.29 reads none of the nested ones."""
    (crystal, _) = reading_of(tmp_path, frame("a").replace(LATTICE, f"Lattice={lattice}") + frame("b")).crystals
    assert crystal.lattice.tolist() == [[4, 1, 0], [0, 4, 0], [0, 0, 4]]


@pytest.mark.parametrize(
    "lattice",
    [
        '"[[4 1 0] [0 4 0] [0 0 4]]"',
        "[[4,1],[0,0,4],[0,0,0,4]]",
        '"[4 1 0 0 4 0 0 0 4}"',
        "[[4,1,0],[0,4,0]]",
        "[4,4,4]",
    ],
)
def test_a_lattice_of_another_form_is_refused_with_how_to_write_it(tmp_path: Path, lattice: str) -> None:
    reading = reading_of(tmp_path, frame("a").replace(LATTICE, f"Lattice={lattice}") + frame("b"))
    assert ids(reading) == ["b"]
    (reject,) = reading.rejects
    assert (reject.where, reject.reason) == ("x.extxyz frame 1", "broken frame")


def test_the_nine_numbers_of_a_lattice_are_three_vectors_as_ase_reads_them(tmp_path: Path) -> None:
    text = frame("a").replace(LATTICE, 'Lattice="4 0.1 0.2 0.3 5 0.4 0.5 0.6 6"')
    (crystal,) = reading_of(tmp_path, text).crystals
    atoms = ase.io.read(tmp_path / "x.extxyz")
    assert isinstance(atoms, Atoms)
    np.testing.assert_allclose(crystal.lattice, [[4, 0.1, 0.2], [0.3, 5, 0.4], [0.5, 0.6, 6]])
    np.testing.assert_allclose(crystal.lattice, atoms.cell.array)
