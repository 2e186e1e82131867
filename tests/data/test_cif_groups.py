"""All that a CIF says of its space group is of one group: what contradicts is refused with both sides."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest

from crystalsweep.data.bundled import load_bundled
from crystalsweep.data.readers._cif import crystal_from_cif
from crystalsweep.data.readers._cif_groups import Symmetry, number_of
from crystalsweep.structures.crystal import Crystal
from tests.data.test_cif_limits import cif_of
from tests.data.test_cif_meaning import (
    CL,
    GENERAL,
    NA,
    SPINEL,
    SPINEL_CELL,
    SPINEL_FORMULA,
    cif,
    hm,
    ops,
    read,
    refused,
)

BOX, PRISM = "5 6 7 90 90 90", "5 6 7 90 100 90"
PRIMITIVE = "3.99 3.99 3.99 60 60 60"
"""Of a face-centred cubic lattice."""


def hall(symbol: str) -> str:
    return f"_space_group_name_Hall '{symbol}'"


def number(value: int) -> str:
    return f"_space_group_IT_number {value}"


def system(word: str) -> str:
    return f"_symmetry_cell_setting {word}"


def lines(*texts: str) -> str:
    return "\n".join(texts)


INVERSION = ops("x,y,z", "-x,-y,-z")


@pytest.mark.parametrize(
    ("symmetry", "cell", "detail"),
    [
        (lines(hm("F m -3 m"), number(227)), "", "the symbol says F m -3 m, number 225; the file's number is 227"),
        (lines(hm("F m -3 m"), "_symmetry_Int_Tables_number 227"), "", "number 225; the file's number is 227"),
        (lines(hm("P 1"), number(225)), "", "the symbol says P 1, number 1; the file's number is 225"),
        (lines(hm("F m -3 m"), number(1)), "", "the symbol says F m -3 m, number 225; the file's number is 1"),
        (lines(hm("P 41"), number(78)), "", "the symbol says P 41, number 76; the file's number is 78"),
        (lines(hall("-F 4 2 3"), number(227)), "", "says -F 4 2 3, number 225; the file's number is 227"),
        (lines(hall("-F 4 2 3"), hm("F d -3 m")), "", "number 225; the symbol says F d -3 m, number 227"),
        (lines(hall("-F 4vw 2vw 3"), hm("F d -3 m :1")), "", "F d -3 m :1, number 227, of another setting"),
        (lines(hall("-P 2ybc"), hm("P 1 21/n 1")), PRISM, "P 1 21/n 1, number 14, of another setting"),
        (lines(hm("P 1"), "_space_group_name_H-M_alt 'F m -3 m'"), "", "number 225; the symbol says P 1, number 1"),
        (lines(number(225), "_symmetry_Int_Tables_number 221"), "", "number is 225; the file's number is 221"),
        (lines(hm("P 1 2 1"), INVERSION), PRISM, "says P 1 2 1, number 3; the 2 listed operations are others"),
        (lines(number(3), INVERSION), PRISM, "the file's number is 3; the 2 listed operations are others, of number 2"),
        (lines(hm("Zzz"), number(225), INVERSION), "", "the file's number is 225; the 2 listed operations are others"),
        (lines(hall("P 2y"), INVERSION), PRISM, "the Hall symbol says P 2y, number 3; the 2 listed operations"),
        (lines(hall("-P 1 (x+1/4,y,z)"), INVERSION), "", "number 2; the 2 listed operations are others, of number 2"),
        (lines(hm("P 1"), number(225), ops("x,y,z")), "", "the symbol says P 1, number 1; the file's number is 225"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("error")
def test_names_of_two_groups_are_refused_with_both(symmetry: str, cell: str, detail: str) -> None:
    problem = refused(cif(GENERAL, symmetry=symmetry, cell=cell or "5.64 5.64 5.64 90 90 90"))
    assert problem.reason == "symmetry contradicts itself"
    assert detail in problem.detail


@pytest.mark.parametrize(
    ("symmetry", "cell", "atoms"),
    [
        (lines(hm("P 1"), number(1)), BOX, 1),
        (lines(hm("P 1"), number(1), ops("x,y,z")), BOX, 1),
        (lines(hm("F m -3 m"), number(225), hall("-F 4 2 3")), "", 192),
        (lines(hm("P2_1/c"), number(14)), PRISM, 4),
        (lines(hm("P 1 21/n 1"), number(14), "_space_group_name_H-M_ref 'P 1 21/c 1'"), PRISM, 4),
        (lines(hm("P 2/m"), hall("-P 2")), "5 6 7 90 90 100", 4),  # a short symbol does not tell the axis
        (lines(hm("A e m 2"), number(39)), BOX, 8),
        (lines(hm("B -1"), number(2), ops("x,y,z", "-x,-y,-z", "x+1/2,y,z+1/2", "1/2-x,-y,1/2-z")), PRISM, 4),
        (lines(number(2), ops("x,y,z", "-x,-y,-z", "x+1/2,y,z+1/2", "1/2-x,-y,1/2-z")), PRISM, 4),  # as B -1
        (lines(hm("P2_1/c"), ops("x,y,z", "-x,-y,-z", "1/2-x,y+1/2,1/2-z", "x+1/2,1/2-y,z+1/2")), PRISM, 4),  # its own
        (lines(hm("?"), number(2), INVERSION), BOX, 2),
        (lines(hm("Zzz"), INVERSION), BOX, 2),
        (lines(hm("R -3 m :H"), number(166), hall('-R 3 2"')), "5 5 12 90 90 120", 36),
    ],
)  # fmt: skip
def test_names_of_one_group_are_read(symmetry: str, cell: str, atoms: int) -> None:
    site = "Na1 Na 0.0731 0.1673 0.2319"
    assert len(read(cif(site, symmetry=symmetry, cell=cell or "9 9 9 90 90 90"))) == atoms


def test_an_operation_that_is_not_given_is_none() -> None:
    nothing = "_symmetry_equiv_pos_as_xyz ?"
    assert len(read(cif(NA, CL, symmetry=nothing))) == 2
    assert len(read(cif(NA, CL, symmetry=lines(nothing, hm("F m -3 m"))))) == 8
    assert refused(cif(NA, CL, symmetry=lines(nothing, hm("Zzz")))).reason == "symmetry not understood"


@pytest.mark.parametrize(
    ("symmetry", "cell", "detail"),
    [
        (lines(hm("P 1"), system("cubic")), BOX, "crystal system is cubic; the lattice of its cell is orthor"),
        (lines(ops("x,y,z"), system("Cubic")), BOX, "the lattice of its cell is orthorhombic"),
        (lines(hm("P 1"), "_space_group_crystal_system hexagonal"), "5 5 7 90 90 90", "its cell is tetragonal"),
        (lines(hm("P 1"), system("orthorhombic")), PRISM, "its cell is monoclinic"),
        (lines(hm("P n m a"), system("cubic")), BOX, "cubic; its space group, number 62, is orthorhombic"),
        (lines(INVERSION, system("monoclinic")), BOX, "monoclinic; its space group, number 2, is triclinic"),
        (lines(number(225), system("tetragonal")), "", "tetragonal; its space group, number 225, is cubic"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("error")
def test_another_crystal_system_is_refused_with_both(symmetry: str, cell: str, detail: str) -> None:
    problem = refused(cif(GENERAL, symmetry=symmetry, cell=cell or "5.64 5.64 5.64 90 90 90"))
    assert problem.reason == "symmetry contradicts itself"
    assert detail in problem.detail


@pytest.mark.parametrize(
    ("symmetry", "cell"),
    [
        (lines(hm("P 1"), system("triclinic")), "5.64 5.64 5.64 90 90 90"),
        (lines(hm("P 1"), system("cubic")), "5.64 5.64 5.65 90 90 90"),  # rounded digits
        (lines(hm("P 1"), system("cubic")), PRIMITIVE),
        (lines(hm("P 1"), system("rhombohedral")), "4.75 4.75 4.75 57.2 57.2 57.2"),
        (lines(hm("P 1"), system("other")), BOX),
        (lines(hm("R -3 m :H"), system("hexagonal")), "5 5 12 90 90 120"),
        (lines(hm("R -3 m :H"), system("trigonal")), "5 5 12 90 90 120"),
        (lines(hm("F m -3 m"), system("cubic")), "5.64 5.64 5.64 90 90 90"),
        (system("triclinic"), BOX),
    ],
)
def test_the_same_crystal_system_is_read(symmetry: str, cell: str) -> None:
    read(cif("Na1 Na 0 0 0", symmetry=symmetry, cell=cell))


def test_a_crystal_system_without_a_space_group_is_no_p1() -> None:
    problem = refused(cif(NA, CL, symmetry=system("cubic")))
    assert (problem.reason, problem.detail) == ("symmetry not understood", "cubic, without its space group")


def test_the_number_is_told_from_operations_in_every_setting() -> None:
    for group in gemmi.spacegroup_table():
        operations = list(group.operations())
        rotations = np.array([each.rot for each in operations], dtype=float) / gemmi.Op().DEN
        translations = np.array([each.tran for each in operations], dtype=float) / gemmi.Op().DEN
        assert number_of(Symmetry("", rotations, translations)) == group.number, group.xhm()


def test_every_symbol_agrees_with_its_own_number_and_hall_symbol() -> None:
    """Of all settings in gemmi's table, each without its operations; none is called a contradiction."""
    for group in gemmi.spacegroup_table():
        named = lines(hm(group.xhm()).replace("'", '"'), number(group.number), f'_space_group_name_Hall "{group.hall}"')
        named = named.replace(f'"{group.hall}"', f"\n;{group.hall}\n;")  # it may hold quotes
        outcome = crystal_from_cif(cif("Na1 Na 0 0 0", symmetry=named), "x", {})
        assert isinstance(outcome, Crystal) or outcome.reason == "symmetry does not fit the cell", (
            group.xhm(),
            outcome,
        )


def test_what_pymatgen_writes_of_real_crystals_contradicts_nothing() -> None:
    """`P 1` with number 1, and symbols of spglib's beside operations of the crystal's own setting."""
    for crystal in [crystal for crystal in load_bundled("val") if len(crystal) <= 12][::10]:
        for text in (cif_of(crystal, None), cif_of(crystal, 0.01)):
            assert isinstance(crystal_from_cif(text, crystal.id, {}), Crystal), crystal.id


def test_origin_choice_2_with_its_number_is_spinel() -> None:
    named = lines(hm("F d -3 m :2"), number(227), hall("-F 4vw 2vw 3"), system("cubic"))
    assert len(read(cif(*SPINEL, symmetry=named, cell=SPINEL_CELL, more=SPINEL_FORMULA))) == 56
