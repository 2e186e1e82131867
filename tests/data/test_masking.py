"""Partial crystals of every form, what is masked of them, and files that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crystalsweep.data import read
from crystalsweep.data.checks import Problem
from crystalsweep.data.masking import Masking, masked, partial_rows, sites_of
from crystalsweep.data.packing import pack_of, write_pack
from crystalsweep.data.partial_cif import partial_cif, partial_from_cif
from crystalsweep.data.readers import FileSites, SourceRow
from crystalsweep.data.writing import cif_text
from crystalsweep.structures.crystal import MASK, Crystal

HEAD = "data_x\n" + "".join(f"_cell_length_{edge} 4\n" for edge in "abc")
HEAD += "".join(f"_cell_angle_{angle} 90\n" for angle in ("alpha", "beta", "gamma"))
HEAD += "_symmetry_space_group_name_H-M 'P m -3 m'\nloop_\n_atom_site_label\n_atom_site_type_symbol\n"
HEAD += "".join(f"_atom_site_fract_{axis}\n" for axis in "xyz") + "_atom_site_occupancy\n"
PEROVSKITE = ("Ba1 Ba 0 0 0 1", "Ti1 Ti 0.5 0.5 0.5 1", "O1 O 0.5 0.5 0 1")
SALT = Crystal.of("salt", [11, MASK], np.eye(3) * 3.5, [[0, 0, 0], [0.5, 0.5, 0.5]])
POSCAR = "salt\n3.5\n1 0 0\n0 1 0\n0 0 1\nNa X\n1 1\nDirect\n0 0 0\n0.5 0.5 0.5\n"


def cif(*sites: str) -> str:
    return HEAD + "".join(f"{site}\n" for site in sites)


def rows(path: Path) -> list[SourceRow]:
    return list(partial_rows(path))


def written(tmp_path: Path, form: str) -> Path:
    """Return rock salt's smaller sister with its anion masked, in some form."""
    file = tmp_path / {"poscar": "POSCAR_salt"}.get(form, f"salt.{form}")
    whole = cif_text(Crystal.of("salt", [11, 17], SALT.lattice, SALT.frac))
    hidden = whole.replace("  Cl  ", "  X  ")
    assert hidden != whole
    if form == "cif":
        file.write_text(hidden)
    elif form == "csv":
        file.write_text('material_id,cif\nsalt,"' + hidden.replace('"', '""') + '"\n')
    elif form == "extxyz":
        file.write_text('2\nLattice="3.5 0 0 0 3.5 0 0 0 3.5" id=salt\nNa 0 0 0\nX 1.75 1.75 1.75\n')
    elif form == "parquet":
        lists = {"atomic_numbers": [[11, 0]], "lattice": [SALT.lattice.ravel()], "frac_coords": [SALT.frac.ravel()]}
        pq.write_table(pa.table({"material_id": ["salt"], **lists}), file)
    elif form == "crystals":
        write_pack(pack_of([SALT]), file, {})
    else:
        file.write_text(POSCAR)
    return file


@pytest.mark.parametrize("form", ["cif", "csv", "extxyz", "parquet", "crystals", "poscar"])
def test_every_form_may_be_partial_and_is_refused_elsewhere(tmp_path: Path, form: str) -> None:
    file = written(tmp_path, form)
    (row,) = rows(file)
    assert isinstance(row.outcome, Crystal), row.outcome
    assert sorted(row.outcome.species.tolist()) == [MASK, 11]
    assert row.outcome.min_edge == pytest.approx(3.5 * np.sqrt(3) / 2)
    (reject,) = read(file).rejects
    assert reject.reason == "unknown element"


def test_a_symbol_and_a_number_of_a_masked_atom_agree(tmp_path: Path) -> None:
    (tmp_path / "z.extxyz").write_text(
        '2\nLattice="4 0 0 0 4 0 0 0 4" Properties=Z:I:1:pos:R:3 id=a\n11 0 0 0\n0 2 2 2\n'
        '2\nLattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:Z:I:1:pos:R:3 id=b\nNa 11 0 0 0\nCl 0 2 2 2\n'
    )
    first, second = rows(tmp_path / "z.extxyz")
    assert isinstance(first.outcome, Crystal)
    assert first.outcome.species.tolist() == [11, MASK]
    assert isinstance(second.outcome, Problem)


def test_sites_are_those_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "p.cif").write_text(cif(*PEROVSKITE))
    (row,) = rows(tmp_path / "p.cif")
    assert isinstance(row.outcome, Crystal)
    sites = sites_of(row, row.outcome)
    assert sites.numbers.tolist() == [1, 2, 3, 3, 3]
    by_site = masked(row.outcome, Masking(sites=(3,)), sites)
    by_element = masked(row.outcome, Masking(elements=frozenset({8, 80})), sites)
    by_atom = masked(row.outcome, Masking(atoms=(3,)), sites)
    assert isinstance(by_site, tuple)
    assert isinstance(by_element, tuple)
    assert isinstance(by_atom, tuple)
    assert by_site[0].species.tolist() == by_element[0].species.tolist() == [56, 22, MASK, MASK, MASK]
    assert by_atom[0].species.tolist() == [56, 22, MASK, 8, 8]


@pytest.mark.parametrize(
    ("masking", "says"),
    [
        (Masking(elements=frozenset({17})), "no Cl in it; it has O, Ti, Ba"),
        (Masking(sites=(0,)), "site 0; the file has 3"),
        (Masking(sites=(4,)), "site 4; the file has 3"),
        (Masking(atoms=(6,)), "atom 6; there are 5"),
    ],
)
def test_what_is_not_there_cannot_be_masked(masking: Masking, says: str) -> None:
    found = partial_cif(cif(*PEROVSKITE), "x")
    assert isinstance(found.outcome, Crystal)
    assert found.sites is not None
    problem = masked(found.outcome, masking, found.sites)
    assert isinstance(problem, Problem)
    assert says in problem.detail


def test_a_crystal_that_is_masked_already_need_not_have_the_element(tmp_path: Path) -> None:
    (row,) = rows(written(tmp_path, "poscar"))
    assert isinstance(row.outcome, Crystal)
    again = masked(row.outcome, Masking(elements=frozenset({22})), sites_of(row, row.outcome))
    assert isinstance(again, tuple)


def test_a_shared_site_is_one_masked_site_with_its_shares() -> None:
    found = partial_cif(cif("Ba1 Ba 0 0 0 .75", "Sr1 Sr 0 0 0 .25", *PEROVSKITE[1:]), "x")
    assert isinstance(found.outcome, Crystal)
    assert found.sites is not None
    assert found.outcome.species.tolist() == [MASK, 22, 8, 8, 8]
    assert found.sites.numbers.tolist() == [1, 3, 4, 4, 4]
    assert found.sites.mixtures == {1: {56: 0.75, 38: 0.25}}
    assert isinstance(partial_from_cif(cif("Ba1 Ba 0 0 0 .75", "Sr1 Sr 0 0 0 .25"), "x"), Problem)
    whole = masked(found.outcome, Masking(sites=(1,)), found.sites)
    assert isinstance(whole, tuple)
    assert whole[1].mixtures == {}


@pytest.mark.parametrize(
    ("sites", "says"),
    [
        (["Ba1 Ba 0 0 0 .75"], "0.75 of an atom at its place, the rest is vacant"),
        (["Ba1 Ba 0 0 0 .75", "Sr1 Sr 0 0 0 .75"], "1.5 atoms at one place"),
        (["Ba1 Ba 0 0 0 0"], "an occupancy of 0"),
        (["Ba1 Ba 0 0 0 -1", "Sr1 Sr 0 0 0 2"], "an occupancy of -1"),
        (["Ba1 Ba 0 0 0 .5", "X1 X 0 0 0 .5"], "Ba1 is masked"),
        (["Ba1 Ba 0 0 0 .5", "Sr1 Sr 0 0 0.01 .5"], "0.5 of an atom"),
        (["Ba1 Ba 0 0 0 .5a"], "the occupancy of Ba is '.5a'"),
    ],
)
def test_places_that_no_whole_atoms_fill_are_refused(sites: list[str], says: str) -> None:
    outcome = partial_cif(cif(*sites, "Ti1 Ti 0.5 0.5 0.5 1"), "x").outcome
    assert isinstance(outcome, Problem)
    assert says in outcome.detail
    assert outcome.remedy


def test_a_folder_is_read_file_by_file_and_a_bad_one_costs_nobody_else(tmp_path: Path) -> None:
    for form in ("cif", "extxyz", "poscar"):
        written(tmp_path, form)
    (tmp_path / "a.cif").write_text("nonsense")
    (tmp_path / "b.csv").write_text("name\nx\n")
    (tmp_path / "c.parquet").write_bytes(b"PAR1")
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / ".hidden.cif").write_text("nothing")
    (tmp_path / "deeper.cif").mkdir()
    found = rows(tmp_path)
    assert [row.where for row in found] == [
        "POSCAR_salt",
        *("a.cif", "b.csv", "c.parquet"),
        *("salt.cif", "salt.extxyz frame 1"),
    ]
    problems = [row.outcome for row in found if isinstance(row.outcome, Problem)]
    assert len(problems) == 3
    assert all(problem.remedy for problem in problems)
    assert all(str(tmp_path) not in problem.detail for problem in problems)


def test_a_folder_without_crystals_and_a_missing_file_say_so(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path, says in ((tmp_path / "empty", "no file in it"), (tmp_path / "gone.cif", "no such file")):
        (row,) = rows(path)
        assert isinstance(row.outcome, Problem)
        assert says in row.outcome.detail


def test_other_forms_count_atoms(tmp_path: Path) -> None:
    (row,) = rows(written(tmp_path, "extxyz"))
    assert isinstance(row.outcome, Crystal)
    assert sites_of(row, row.outcome).numbers.tolist() == [1, 2]
    assert isinstance(sites_of(row, row.outcome), FileSites)
