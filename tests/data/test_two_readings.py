"""What a fresh tester found read in one of two ways without a word: now it is a reject, a note, or read as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crystalsweep.data import DataError, load_bundled, read, write
from crystalsweep.data.checks import Problem
from crystalsweep.data.readers._cif import crystal_from_cif
from crystalsweep.structures.crystal import Crystal

CELL = "".join(f"_cell_length_{edge} 5\n" for edge in "abc") + "".join(
    f"_cell_angle_{angle} 90\n" for angle in ("alpha", "beta", "gamma")
)
SITES = "loop_\n_atom_site_label\n_atom_site_type_symbol\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n"
SALT = "Na1 Na 0 0 0\nCl1 Cl 0.5 0.5 0.5\n"
FRAME = '2\nLattice="5 0 0 0 5 0 0 0 5" {comment}\nNa 0 0 0\nCl 2.5 2.5 2.5\n'


def cif(more: str = "", sites: str = SALT) -> Crystal | Problem:
    return crystal_from_cif(f"data_x\n{more}\n{CELL}{SITES}{sites}", "x", {})


def extxyz(tmp_path: Path, *comments: str) -> tuple[list[Crystal], list[str], list[str]]:
    (tmp_path / "x.extxyz").write_text("".join(FRAME.format(comment=comment) for comment in comments))
    reading = read(tmp_path / "x.extxyz")
    return reading.crystals, [reject.reason for reject in reading.rejects], [note.says for note in reading.notes]


def parquet(path: Path, **columns: object) -> Path:
    known = {"atomic_numbers": [[11, 17]] * 3, "lattice": [(5 * np.eye(3)).ravel().tolist()] * 3}
    known |= {"frac_coords": [[0.0, 0, 0, 0.5, 0.5, 0.5]] * 3}
    pq.write_table(pa.table(known | columns), path)
    return path


@pytest.mark.parametrize(
    "name",
    [
        *("_space_group_name_Schoenflies 'Oh^5'", "_space_group_Bravais_type cF", "_space_group_centring_type F"),
        *("_space_group_reference_setting '225:F m -3 m'", "_symmetry_space_group_number 225"),
        *("_space_group_symop_operation 'x,y,z'", "_aflow_space_group_number 225", "_symmetry_equiv_xyz 'x,y,z'"),
        *("_cell_modulation_dimension 1", "_space_group_ssg_name 'x'", "_cell_wave_vector_x 0.3"),
    ],
)
def test_symmetry_by_any_name_is_never_p1(name: str) -> None:
    found = cif(name)
    assert isinstance(found, Problem)
    assert found.reason == "symmetry not understood"


def test_symmetry_in_another_block_is_not_left_out() -> None:
    found = crystal_from_cif(f"data_global\n_space_group_IT_number 225\ndata_x\n{CELL}{SITES}{SALT}", "x", {})
    assert isinstance(found, Problem)
    assert "in another block" in found.detail


@pytest.mark.parametrize("symbol", ["NO3", "NH2", "CN", "PO4", "CO3", "CF3", "HF2", "BH4", "NO"])
def test_a_group_of_atoms_is_no_element(symbol: str) -> None:
    found = cif(sites=f"Na1 Na 0 0 0\n{symbol}1 {symbol} 0.5 0.5 0.5\n")
    assert isinstance(found, Problem)


@pytest.mark.parametrize(("symbol", "z"), [("CO", 27), ("CL", 17), ("NA", 11), ("CO2+", 27), ("Co", 27)])
def test_capitals_are_elements_where_all_is_in_capitals_or_charged(symbol: str, z: int) -> None:
    found = cif(sites=f"A1 {symbol} 0 0 0\nB1 O 0.5 0.5 0.5\n")
    assert isinstance(found, Crystal)
    assert found.species.tolist() == [z, 8]


@pytest.mark.parametrize("name", ["_atom_site_occ", "_atom_site_site_occupancy_fraction", "_atom_site_occupancy"])
def test_occupancy_by_any_name_counts(name: str) -> None:
    text = f"data_x\n{CELL}{SITES}".rstrip() + f"\n{name}\nNa1 Na 0 0 0 0.5\nCl1 Cl 0.5 0.5 0.5 1\n"
    found = crystal_from_cif(text, "x", {})
    assert isinstance(found, Problem)
    assert found.reason == "partial occupancy"


@pytest.mark.parametrize("formula", ["NaCl3", "'(Na Cl3)'", "'Na Cl_3'", "'Na Cl3'"])
def test_a_formula_in_any_spelling_is_checked(formula: str) -> None:
    found = cif(f"_chemical_formula_sum {formula}")
    assert isinstance(found, Problem)
    assert found.reason == "contradicts its own formula"


@pytest.mark.parametrize(
    "comment",
    [
        "pbc=T F F",
        'energy= pbc="F F F"',
        'pbc="T T T" PBC="F F F"',
        'note="abc id=a pbc="F F F"',
        'Lattice="9 0 0 0 9 0 0 0 9"',
    ],
)
def test_a_comment_line_with_two_readings_is_a_reject(tmp_path: Path, comment: str) -> None:
    crystals, rejects, _ = extxyz(tmp_path, comment, "id=b")
    assert [crystal.id for crystal in crystals] == ["b"]
    assert len(rejects) == 1


def test_words_and_addresses_in_a_comment_line_cost_nothing(tmp_path: Path) -> None:
    crystals, rejects, _ = extxyz(tmp_path, 'id=a relaxed "a title" url=http://x?a=b energy = 2', "id=b energy=1")
    assert not rejects
    assert [crystal.labels for crystal in crystals] == [{"energy": 2.0}, {"energy": 1.0}]


def test_a_label_that_is_given_twice_is_missing_with_a_word(tmp_path: Path) -> None:
    crystals, _, notes = extxyz(tmp_path, "id=a energy=1 energy=2", "id=b energy=1")
    assert [crystal.labels for crystal in crystals] == [{}, {"energy": 1.0}]
    assert notes == ["energy is no number there, and missing"]


@pytest.mark.parametrize(
    "bad", ["species:S:1:pos:R:3:pos:R:3", "species:S:1:Z:I:1:pos:R:3", "species:S:1:pos:R:3:occupancy:R:1"]
)
def test_columns_that_contradict_each_other_are_a_reject(tmp_path: Path, bad: str) -> None:
    rows = {"species:S:1:Z:I:1:pos:R:3": "Na 19 0 0 0", "species:S:1:pos:R:3:occupancy:R:1": "Na 0 0 0 0.5"}
    row = rows.get(bad, "Na 0 0 0 1 1 1")
    (tmp_path / "x.extxyz").write_text(f'1\nLattice="5 0 0 0 5 0 0 0 5" Properties={bad} id=a\n{row}\n')
    assert [reject.reason for reject in read(tmp_path / "x.extxyz").rejects] == ["broken frame"]


def test_whole_ids_stay_whole_beside_a_null(tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", material_id=pa.array([9007199254740993, 9007199254740992, None], pa.int64()))
    reading = read(path)
    assert [crystal.id for crystal in reading.crystals] == ["9007199254740993", "9007199254740992"]
    assert [reject.reason for reject in reading.rejects] == ["missing id"]


@pytest.mark.parametrize("frac", [[[0, 0.5], [0, 0.5], [0, 0.4]], [[0.0, 0], [0, 0.5, 0.5, 0.4]]])
def test_vectors_of_other_than_three_are_a_reject(tmp_path: Path, frac: list[list[float]]) -> None:
    reading = read(parquet(tmp_path / "x.parquet", frac_coords=[frac] * 3, id=["a", "b", "c"]))
    assert [reject.reason for reject in reading.rejects] == ["not numbers"] * 3


def test_booleans_and_far_coordinates_are_rejects(tmp_path: Path) -> None:
    far = read(parquet(tmp_path / "x.parquet", frac_coords=[[0.0, 0, 0, 1e17, 0, 0]] * 3, id=["a", "b", "c"]))
    assert {reject.reason for reject in far.rejects} == {"coordinate far outside the cell"}
    truth = read(parquet(tmp_path / "y.parquet", atomic_numbers=[[True, True]] * 3, id=["a", "b", "c"]))
    assert {reject.reason for reject in truth.rejects} == {"not numbers"}


def test_columns_that_are_no_labels_are_named(tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", e_above_hull=["0.1", "0.2", "0"], id=["a", "b", "c"])
    assert [str(note) for note in read(path).notes] == [
        "read as no label, for most of it is no number: e_above_hull (3 rows, the first: x.parquet row 1)"
    ]


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("material_id,gap,gap,cif\na,1,2,x\n")
    with pytest.raises(DataError, match="two columns are called 'gap'"):
        read(tmp_path / "x.csv")
    table = pa.table(
        [[[11]], [[0.0] * 9], [[0.0] * 3], [1.0], [2.0]], names=["atomic_numbers", "lattice", "frac_coords", "e", "e"]
    )
    pq.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(DataError, match="two columns are called 'e'"):
        read(tmp_path / "x.parquet")


def test_a_table_that_ends_within_a_cell_is_told(tmp_path: Path) -> None:
    write(load_bundled()[:3], tmp_path / "x.csv")
    text = (tmp_path / "x.csv").read_text()
    (tmp_path / "x.csv").write_text(text[: text.rindex("  ") - 60])
    reading = read(tmp_path / "x.csv")
    assert len(reading.crystals) == 2
    assert [reject.reason for reject in reading.rejects] == ["broken quoting"]


def test_blanks_of_an_id_come_back(tmp_path: Path) -> None:
    crystal = load_bundled()[0]
    write([Crystal.of(" a ", crystal.species, crystal.lattice, crystal.frac)], tmp_path / "x.csv")
    assert read(tmp_path / "x.csv").crystals[0].id == " a "


@pytest.mark.parametrize("name", ["lattice", "cif", "id", "Frac_Coords"])
def test_a_label_that_could_not_be_read_back_is_not_written(tmp_path: Path, name: str) -> None:
    crystal = load_bundled()[0]
    labelled = Crystal(id="a", species=crystal.species, lattice=crystal.lattice, frac=crystal.frac, labels={name: 1.0})
    with pytest.raises(DataError, match="rename it"):
        write([labelled], tmp_path / "x.parquet")


def test_what_else_lies_in_a_folder_of_cifs_is_told(tmp_path: Path) -> None:
    write(load_bundled()[:2], tmp_path / "cifs")
    (tmp_path / "cifs" / "more.cif.gz").write_bytes(b"")
    (tmp_path / "cifs" / "deeper").mkdir()
    assert [note.says for note in read(tmp_path / "cifs").notes] == ["2 other entries of cifs are not read, as deeper"]


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
def test_an_id_that_can_be_no_file_name_is_told(tmp_path: Path, name: str) -> None:
    crystal = load_bundled()[0]
    with pytest.raises(DataError, match="cannot be a file name"):
        write([Crystal.of(name, crystal.species, crystal.lattice, crystal.frac)], tmp_path / "cifs")
