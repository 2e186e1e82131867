"""Each form is read as it is found in the wild, and a bad row costs nobody else their place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crystalsweep.data import DataError, Reading, read, write
from crystalsweep.structures.crystal import Crystal

NACL_CIF = """data_NaCl
_symmetry_space_group_name_H-M   'F m -3 m'
_cell_length_a   5.64
_cell_length_b   5.64
_cell_length_c   5.64
_cell_angle_alpha   90
_cell_angle_beta   90
_cell_angle_gamma   90
loop_
 _atom_site_label
 _atom_site_type_symbol
 _atom_site_fract_x
 _atom_site_fract_y
 _atom_site_fract_z
 _atom_site_occupancy
  Na1 Na1+ 0 0 0 1
  Cl1 Cl1- 0.5 0.5 0.5 1
"""

SITES = ("Na1 Na1+ 0 0 0 1", "Cl1 Cl1- 0.5 0.5 0.5 1")


def p1(*sites: str, a: float = 5.64) -> str:
    """A P1 CIF with these sites."""
    text = NACL_CIF.replace("F m -3 m", "P 1").replace("5.64", str(a))
    return text[: text.index("  Na1")] + "".join(f"  {site}\n" for site in sites)


def reading_of(tmp_path: Path, cif: str) -> Reading:
    file = tmp_path / "x.cif"
    file.write_text(cif)
    return read(file)


def row(**changes: object) -> dict[str, object]:
    cell: dict[str, object] = {
        "material_id": "a",
        "atomic_numbers": [11, 17],
        "lattice": [4.0, 0, 0, 0, 4.0, 0, 0, 0, 4.0],
        "frac_coords": [0.0, 0, 0, 0.5, 0.5, 0.5],
        "e_above_hull": 0.1,
    }
    return cell | changes


def parquet(tmp_path: Path, *rows: dict[str, object]) -> Path:
    pd.DataFrame(list(rows)).to_parquet(tmp_path / "x.parquet")
    return tmp_path / "x.parquet"


def test_cif_with_symmetry_and_oxidation_states_gives_the_whole_cell(tmp_path: Path) -> None:
    (crystal,) = reading_of(tmp_path, NACL_CIF).crystals
    assert sorted(crystal.species.tolist()) == [11] * 4 + [17] * 4
    assert crystal.id == "x"
    assert crystal.min_edge == pytest.approx(5.64 / 2)


def test_cif_without_type_symbols_and_with_capitals(tmp_path: Path) -> None:
    labels_only = p1("Na1 0 0 0 1", "Cl1 0.5 0.5 0.5 1").replace(" _atom_site_type_symbol\n", "")
    for cif in (labels_only, p1("NA1 NA 0 0 0 1", "CL1 CL1- 0.5 0.5 0.5 1")):
        (crystal,) = reading_of(tmp_path, cif).crystals
        assert sorted(crystal.species.tolist()) == [11, 17]


def test_deuterium_is_hydrogen(tmp_path: Path) -> None:
    (crystal,) = reading_of(tmp_path, p1("D1 D 0 0 0 1", "F1 F 0.5 0.5 0.5 1")).crystals
    assert sorted(crystal.species.tolist()) == [1, 9]


@pytest.mark.parametrize(
    ("cif", "reason"),
    [
        (p1("Na1 Na 0 0 0 0.5", "K1 K 0 0 0 0.5", SITES[1]), "partial occupancy"),
        (p1("Na1 Na 0 0 0 0.7", SITES[1]), "partial occupancy"),
        (p1("Na1 Na 0 0 0 1", "K1 K 0 0 0 1"), "atoms closer than 0.1 Å"),
        (p1("Na1 Na 0 0 0 1", "K1 K 0.005 0 0 1"), "atoms closer than 0.1 Å"),
        (p1("Na1 Na 0 0 0 1", "K1 K 0.995 0 0 1"), "atoms closer than 0.1 Å"),
        (p1("Na1 Na nan 0 0 1"), "coordinates are not finite"),
        (p1("X1 X 0 0 0 1", SITES[1]), "unknown element"),
        (p1("Zz1 Zz 0 0 0 1", SITES[1]), "unknown element"),
        (p1("Q1 ? 0 0 0 1", SITES[1]), "unknown element"),
        (p1("Vac1 Vac 0 0 0 1", SITES[1]), "unknown element"),
        (p1("W1 Wat 0 0 0 1", SITES[1]), "hydrogens without positions"),
        (p1("Na1 Na 0 0 0 1", a=0.4), "zero volume"),
        (p1("Na1 Na 0 0 0 1", a=0), "zero volume"),
        (p1("Na1 Na 0 0 0 1", a=2000), "lattice vector too long"),
        (NACL_CIF[:200], "unparsable CIF"),
        ("this is no CIF", "unparsable CIF"),
        ("", "unparsable CIF"),
        (NACL_CIF + NACL_CIF.replace("data_NaCl", "data_2"), "several structures in one CIF"),
    ],
)
def test_cif_reject_reasons(tmp_path: Path, cif: str, reason: str) -> None:
    reading = reading_of(tmp_path, cif)
    assert not reading.crystals
    assert [reject.reason for reject in reading.rejects] == [reason], str(reading.rejects[0])


def test_cif_warnings_stay_off_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    reading_of(tmp_path, p1("Na1 Na 0 0 0 0.7", SITES[1]))
    reading_of(tmp_path, NACL_CIF[:200])
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list


def test_cif_directory_is_read_in_order_of_names_around_bad_files(tmp_path: Path) -> None:
    for name, text in {"b": NACL_CIF, "a": NACL_CIF, "c": "garbage"}.items():
        (tmp_path / f"{name}.cif").write_text(text)
    (tmp_path / "notes.txt").write_text("not a crystal")
    reading = read(tmp_path)
    assert [crystal.id for crystal in reading.crystals] == ["a", "b"]
    assert [reject.where for reject in reading.rejects] == ["c.cif"]
    assert "\n" not in str(reading.rejects[0])


def test_csv_in_the_form_of_mp_20(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "material_id": ["mp-1", "mp-2", "mp-3"],
            "formation_energy_per_atom": [-1.5, None, 0.5],
            "pretty_formula": ["NaCl"] * 3,
            "spacegroup.number": [225, 225, 225],
            "cif": [NACL_CIF, NACL_CIF, "garbage"],
        }
    )
    frame.to_csv(tmp_path / "train.csv")  # with pandas' unnamed index column, as MP-20 has it
    reading = read(tmp_path / "train.csv")
    assert [crystal.id for crystal in reading.crystals] == ["mp-1", "mp-2"]
    assert reading.crystals[0].labels == {"formation_energy_per_atom": -1.5, "spacegroup.number": 225.0}
    assert reading.crystals[1].labels == {"spacegroup.number": 225.0}
    assert [(r.where, r.id, r.reason) for r in reading.rejects] == [("train.csv row 3", "mp-3", "unparsable CIF")]


def test_csv_rows_with_bad_cells_are_told_one_by_one(tmp_path: Path) -> None:
    quoted = '"' + NACL_CIF + '"'
    lines = ["energy,material_id,cif", f"1.0,a,{quoted}", f"oops,b,{quoted}", f"2.0,,{quoted}", f"3.0,c,{quoted},extra"]
    (tmp_path / "x.csv").write_text("\n".join([*lines, f"inf,d,{quoted}", f",e,{quoted}"]))
    reading = read(tmp_path / "x.csv")
    found = [(crystal.id, crystal.labels) for crystal in reading.crystals]
    assert found == [("a", {"energy": 1.0}), ("b", {}), ("e", {})]
    assert [str(note) for note in reading.notes] == [
        "energy is no number there, and missing (1 row, the first: x.csv row 2)"
    ]
    assert [reject.reason for reject in reading.rejects] == [
        "missing id",
        "more cells than columns",
        "label is infinite",
    ]


@pytest.mark.parametrize("suffix", ["csv", "extxyz"])
def test_an_id_as_long_as_a_book_is_a_reject_and_is_not_repeated(tmp_path: Path, suffix: str) -> None:
    crystals = [
        Crystal.of("x" * 100_000, [11], 3 * np.eye(3), [0, 0, 0]),
        Crystal.of("b", [11], 3 * np.eye(3), [0] * 3),
    ]
    write(crystals, tmp_path / f"x.{suffix}")
    reading = read(tmp_path / f"x.{suffix}")
    assert [crystal.id for crystal in reading.crystals] == ["b"]
    assert [reject.reason for reject in reading.rejects] == ["id too long"]
    assert len(str(reading.rejects[0])) < 1000


def test_csv_columns_of_number_like_words_are_no_labels(tmp_path: Path) -> None:
    """Indium fluoride is a formula, and a date no number."""
    columns = {"pretty_formula": ["InF", "InF"], "date": ["2021_01", "2021_02"], "digits": ["\u0661", "\u0662"]}
    pd.DataFrame({"material_id": ["a", "b"], **columns, "gap": ["1e-1", " 2 "], "cif": [NACL_CIF] * 2}).to_csv(
        tmp_path / "x.csv", index=False
    )
    reading = read(tmp_path / "x.csv")
    assert [crystal.labels for crystal in reading.crystals] == [{"gap": 0.1}, {"gap": 2.0}]


def test_csv_without_ids_gets_row_numbers(tmp_path: Path) -> None:
    pd.DataFrame({"cif": [NACL_CIF, NACL_CIF]}).to_csv(tmp_path / "perov.csv", index=False)
    ids = [crystal.id.partition("@")[0] for crystal in read(tmp_path / "perov.csv").crystals]
    assert ids == ["perov-1", "perov-2"]


def test_csv_with_a_cell_beyond_the_csv_modules_limit(tmp_path: Path) -> None:
    long = NACL_CIF.replace("data_NaCl", "# " + "x" * 200_000 + "\ndata_NaCl")
    pd.DataFrame({"cif": [long]}).to_csv(tmp_path / "x.csv", index=False)
    assert len(read(tmp_path / "x.csv").crystals) == 1


EXTXYZ = """2
Lattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3:forces:R:3 material_id=first energy=-3.5 name="Na Cl"
Na 0 0 0 0.1 0.1 0.1
Cl 2 2 2 0.1 0.1 0.1
1
Lattice="3 0 0 0 3 0 0 0 3"
Cu 3.3 -0.3 0
"""


def test_extxyz_with_and_without_properties(tmp_path: Path) -> None:
    (tmp_path / "x.extxyz").write_text(EXTXYZ)
    first, second = read(tmp_path / "x.extxyz").crystals
    assert (first.id, first.labels, first.species.tolist()) == ("first", {"energy": -3.5}, [11, 17])
    np.testing.assert_allclose(first.frac[1], 0.5)
    assert second.id.startswith("x-2@")
    np.testing.assert_allclose(second.frac, [[0.1, 0.9, 0.0]])


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        ("1\n\nCu 0 0 0\n", "no lattice"),
        ('1\nLattice="3 0 0 0 3 0 0 0 3" pbc="T T F"\nCu 0 0 0\n', "not periodic"),
        ('1\nLattice="3 0 0 0 3 0 0 0"\nCu 0 0 0\n', "broken frame"),
        ('1\nLattice="3 0 0 3 0 0 0 0 3"\nCu 0 0 0\n', "zero volume"),
        ('1\nLattice="nan 0 0 0 3 0 0 0 3"\nCu 0 0 0\n', "lattice is not finite"),
        ('1\nLattice="3 0 0 0 3 0 0 0 3"\nCu 0 zero 0\n', "broken frame"),
        ('1\nLattice="3 0 0 0 3 0 0 0 3"\nCu 0 nan 0\n', "coordinates are not finite"),
        ('1\nLattice="3 0 0 0 3 0 0 0 3"\nQq 0 0 0\n', "unknown element"),
        ('0\nLattice="3 0 0 0 3 0 0 0 3"\n', "no atoms"),
        ('3\nLattice="3 0 0 0 3 0 0 0 3"\nCu 0 0 0\n', "broken frame"),
        ('one\nLattice="3 0 0 0 3 0 0 0 3"\nCu 0 0 0\n', "broken frame"),
        ('2\nLattice="3 0 0 0 3 0 0 0 3"\nCu 0 0 0\nCu 0 0 0\n', "atoms closer than 0.1 Å"),
    ],
)
def test_extxyz_reads_on_after_a_bad_frame(tmp_path: Path, frame: str, reason: str) -> None:
    (tmp_path / "x.xyz").write_text(frame + EXTXYZ)
    reading = read(tmp_path / "x.xyz")
    assert [reject.reason for reject in reading.rejects] == [reason]
    assert [crystal.id.partition("@")[0] for crystal in reading.crystals] == ["first", "x-3"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"atomic_numbers": [11, 0]}, "unknown element"),
        ({"atomic_numbers": [11, 119]}, "unknown element"),
        ({"atomic_numbers": [], "frac_coords": []}, "no atoms"),
        ({"frac_coords": [0.0, 0, 0]}, "array lengths do not fit"),
        ({"frac_coords": [0.0, 0, 0, 0.5, 0.5]}, "array lengths do not fit"),
        ({"lattice": [4.0, 0, 0, 0, 4.0, 0]}, "array lengths do not fit"),
        ({"lattice": [4.0, 0, 0, 8.0, 0, 0, 0, 0, 4.0]}, "zero volume"),
        ({"lattice": [float("nan")] * 9}, "lattice is not finite"),
        ({"frac_coords": [0.0, 0, 0, 0.5, float("nan"), 0.5]}, "coordinates are not finite"),
        ({"frac_coords": [0.0, 0, 0, 0.0, 0.0, 0.999]}, "atoms closer than 0.1 Å"),
        ({"lattice": [0.05, 0, 0, 0, 40.0, 0, 0, 0, 40.0]}, "atoms closer than 0.1 Å"),
        ({"lattice": None}, "empty cell"),
        ({"material_id": None}, "missing id"),
        ({"material_id": "b"}, "duplicate id"),
        ({"e_above_hull": float("inf")}, "label is infinite"),
    ],
)
def test_parquet_reject_reasons(tmp_path: Path, changes: dict[str, object], reason: str) -> None:
    path = parquet(tmp_path, row(material_id="b"), row(**changes), row(material_id="c"))
    reading = read(path)
    assert [(reject.where, reject.reason) for reject in reading.rejects] == [("x.parquet row 2", reason)]
    assert [crystal.id for crystal in reading.crystals] == ["b", "c"]
    assert reading.n_rows == 3


def test_parquet_labels_are_the_columns_of_numbers_without_missing_values(tmp_path: Path) -> None:
    path = parquet(
        tmp_path,
        row(gap=1.5, n=3, text="x", flag=True, species=2.0),
        row(material_id="b", e_above_hull=float("nan"), n=4, species=1.0),
    )
    first, second = read(path).crystals
    assert first.labels == {"e_above_hull": 0.1, "gap": 1.5, "n": 3.0, "species": 2.0}
    assert second.labels == {"n": 4.0, "species": 1.0}


def test_parquet_takes_nested_lists(tmp_path: Path) -> None:
    nested = row(lattice=[[4.0, 0, 0], [0, 4.0, 0], [0, 0, 4.0]], frac_coords=[[0.0, 0, 0], [0.5, 0.5, 0.5]])
    (crystal,) = read(parquet(tmp_path, nested)).crystals
    np.testing.assert_array_equal(crystal.lattice, 4 * np.eye(3))


def test_strict_makes_rejects_fatal_and_names_the_first(tmp_path: Path) -> None:
    path = parquet(tmp_path, row(), row())
    with pytest.raises(
        DataError, match=r"1 of 2 rows rejected.*x\.parquet row 2, id a: duplicate id .*x\.parquet row 1"
    ):
        read(path).require_clean()
    assert read(parquet(tmp_path, row())).require_clean().n_rows == 1


SPREADSHEET = 'id{0}k{0}cif\na{0}1,5{0}"{1}"\n'


@pytest.mark.parametrize(("separator", "called"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
@pytest.mark.parametrize("quoted", [False, True])
def test_a_csv_without_commas_is_told_what_it_has(separator: str, called: str, quoted: bool, tmp_path: Path) -> None:
    text = SPREADSHEET.format(separator, NACL_CIF.replace("\n", "\r\n"))
    header, _, rest = text.partition("\n")
    header = separator.join(f'"{name}"' for name in header.split(separator)) if quoted else header
    (tmp_path / "x.csv").write_text(f"{header}\r\n{rest}", encoding="utf-8-sig")
    with pytest.raises(DataError, match=rf"x\.csv: columns stand apart by {called}; save it with commas"):
        read(tmp_path / "x.csv")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_csv_in_another_encoding_is_told_so(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(SPREADSHEET.format(",", NACL_CIF), encoding=encoding)
    with pytest.raises(DataError, match=r"x\.csv: the file is in UTF-16; save it as UTF-8"):
        read(tmp_path / "x.csv")


@pytest.mark.parametrize("name", ["CIF", "Cif", "cif"])
def test_the_column_of_cifs_is_found_in_any_case(name: str, tmp_path: Path) -> None:
    pd.DataFrame({"id": ["a"], "k;tab|": [1.0], name: [NACL_CIF]}).to_csv(tmp_path / "x.csv", index=False)
    (crystal,) = read(tmp_path / "x.csv").crystals
    assert dict(crystal.labels) == {"k;tab|": 1.0}


def test_of_two_columns_of_cifs_that_in_lower_case_counts(tmp_path: Path) -> None:
    row = {"id": ["a"], "CIF": ["none"], "cif": [NACL_CIF]}
    pd.DataFrame(row).to_csv(tmp_path / "x.csv", index=False)
    assert len(read(tmp_path / "x.csv").crystals) == 1
    pd.DataFrame(row).rename(columns={"cif": "Cif"}).to_csv(tmp_path / "y.csv", index=False)
    with pytest.raises(DataError, match="the columns CIF and Cif have one name; rename or remove one"):
        read(tmp_path / "y.csv")


def test_what_is_no_data_set_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("material_id,structure\na,b\n")
    (tmp_path / "x.txt").write_text("hello")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.xyz").write_text("\n")
    (tmp_path / "broken.parquet").write_text("PAR1 and then nothing")
    pd.DataFrame({"material_id": ["a"]}).to_parquet(tmp_path / "x.parquet")
    expected = {
        "nothing.csv": "no such file",
        "x.csv": "no column 'cif'; found material_id, structure",
        "x.txt": "not a form that can be read",
        "empty": "no .cif files",
        "empty.xyz": "no frames",
        "broken.parquet": "not readable as Parquet",
        "x.parquet": "no column atomic_numbers, lattice, frac_coords; found material_id",
    }
    for name, message in expected.items():
        with pytest.raises(DataError, match=message):
            read(tmp_path / name)
