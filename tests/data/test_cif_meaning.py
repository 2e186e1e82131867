"""A CIF is what it says it is: its symmetry is understood or refused, and what contradicts the file is refused."""

from __future__ import annotations

from collections import Counter

import gemmi
import numpy as np
import pytest

from crystalsweep.data.checks import Problem
from crystalsweep.data.partial_cif import partial_cif
from crystalsweep.data.readers._cif import crystal_from_cif
from crystalsweep.structures.crystal import Crystal
from crystalsweep.structures.elements import element_symbol
from crystalsweep.structures.neighbours import shortest_distance

HEAD = ["_atom_site_label", "_atom_site_type_symbol", *(f"_atom_site_fract_{axis}" for axis in "xyz")]


def cif(*sites: str, symmetry: str = "", cell: str = "5.64 5.64 5.64 90 90 90", more: str = "", head: str = "") -> str:
    names = ("_cell_length_a", "_cell_length_b", "_cell_length_c", "_cell_angle_alpha", "_cell_angle_beta")
    lines = ["data_t", *symmetry.splitlines(), *more.splitlines()]
    lines += [f"{name} {value}" for name, value in zip((*names, "_cell_angle_gamma"), cell.split(), strict=True)]
    columns = [*HEAD, *head.split()]
    return "\n".join([*lines, "loop_", *columns, *sites, ""])


def hm(name: str) -> str:
    return f"_symmetry_space_group_name_H-M '{name}'"


def ops(*operations: str, name: str = "_symmetry_equiv_pos_as_xyz") -> str:
    return "\n".join(["loop_", name, *(f"'{each}'" for each in operations)])


NA, CL, GENERAL = "Na1 Na 0 0 0", "Cl1 Cl 0.5 0.5 0.5", "Na1 Na 0.1 0.2 0.3"
SPINEL = ("Mg1 Mg 0.125 0.125 0.125", "Al1 Al 0.5 0.5 0.5", "O1 O 0.2624 0.2624 0.2624")
SPINEL_CELL = "8.08 8.08 8.08 90 90 90"
SPINEL_FORMULA = "_chemical_formula_sum 'Al2 Mg O4'\n_cell_formula_units_Z 8"


def read(text: str) -> Crystal:
    outcome = crystal_from_cif(text, "x", {})
    assert isinstance(outcome, Crystal), outcome
    return outcome


def refused(text: str) -> Problem:
    outcome = crystal_from_cif(text, "x", {})
    assert isinstance(outcome, Problem), outcome
    assert outcome.reason
    assert outcome.remedy
    return outcome


def contents(crystal: Crystal) -> dict[str, int]:
    return dict(Counter(element_symbol(int(z)) for z in crystal.species))


# Symmetry


@pytest.mark.parametrize(
    "symmetry",
    [
        hm("F m -3 m"),
        hm("Fm-3m"),
        hm("F m 3 m"),
        "_space_group_name_H-M_alt 'F m -3 m'",
        "_space_group.name_H-M_alt 'F m -3 m'",
        "_SPACE_GROUP_IT_NUMBER 225",
        "_space_group_name_Hall '-F 4 2 3'",
        "_symmetry_space_group_name_Hall '-F 4 2 3'\n" + hm("?"),
        hm("F m -3 m") + "\n_symmetry_Int_Tables_number 225",
    ],
)
def test_symmetry_by_any_name_is_understood(symmetry: str) -> None:
    crystal = read(cif(NA, CL, symmetry=symmetry))
    assert contents(crystal) == {"Na": 4, "Cl": 4}
    assert shortest_distance(crystal.lattice, crystal.frac) == pytest.approx(2.82)


@pytest.mark.parametrize(
    "name",
    ["_space_group_symop_operation_xyz", "_space_group_symop.operation_xyz", "_symmetry_equiv_pos_as_xyz",
     "_Symmetry_Equiv_Pos_As_XYZ", "_space_group_symop_operation_xyz_"],
)  # fmt: skip
def test_symmetry_operations_by_any_name_are_applied(name: str) -> None:
    assert contents(read(cif(GENERAL, symmetry=ops("x,y,z", "-x,-y,-z", name=name)))) == {"Na": 2}


@pytest.mark.parametrize("inversion", ["-x,-y,-z", "-X, -Y, -Z", "\u2212x,\u2212y,\u2212z", "0-x,-y,-z", "- x,- y,- z"])
def test_symmetry_operations_in_any_spelling_are_the_inversion(inversion: str) -> None:
    crystal = read(cif(GENERAL, symmetry=ops("x,y,z", inversion)))
    assert np.allclose(sorted(crystal.frac.tolist()), [[0.1, 0.2, 0.3], [0.9, 0.8, 0.7]])


@pytest.mark.parametrize(
    "symmetry",
    [
        hm("F m -3 q"),
        hm("Q 1"),
        "_space_group_name_Hall '-Q 4 2 3'",
        "_space_group_IT_number 231",
        "_space_group_IT_number 2b",
        hm("F m -3 m :3"),
        hm("Zzz") + "\n" + ops("x,y,z"),
        ops("x;y;z"),
        ops("x,y,z", "-x,-y"),
        ops("x,y,z", "-x,-y,-z,t"),
        ops("x,y,z", "x,x,z"),
        ops("x,y,z", "2x,y,z"),
        ops("x,y,z", "x/2,y,z"),
        ops("x,y,z", "x+1/0,y,z"),
        ops("x,y,z", "x+99999999999999999999,y,z"),
        ops("x,y,z", "a,b,c"),
        "_space_group_magn.name_BNS \"F m' -3' m'\"",
    ],
)
def test_symmetry_that_is_not_understood_is_never_p1(symmetry: str) -> None:
    assert refused(cif(NA, CL, symmetry=symmetry)).reason == "symmetry not understood"


@pytest.mark.parametrize(
    "symmetry",
    [
        hm("F m -3 m") + "\n" + ops("x,y,z", "-x,-y,-z"),
        hm("P -1") + "\n" + ops("x,y,z", "-x,-y,-z", "-x,y,-z", "x,-y,z"),
        ops("x,y,z", "-y,x,z", "-x,-y,z"),
        ops("x,y,z", "x,y,z"),
    ],
)
def test_symmetry_that_contradicts_itself_is_refused(symmetry: str) -> None:
    assert refused(cif(NA, CL, symmetry=symmetry)).reason == "symmetry contradicts itself"


@pytest.mark.parametrize(
    ("symmetry", "cell"),
    [
        (hm("F m -3 m"), "5.64 5.64 6.64 90 90 90"),
        (hm("P 63/m m c"), "2.5 2.5 6.6 90 90 90"),
        (hm("R -3 m :H"), "5 5 5 60 60 60"),
        (ops("x,y,z", "-y,x-y,z", "-x+y,-x,z"), "5 5 7 90 90 90"),
    ],
)
def test_symmetry_that_does_not_fit_the_cell_is_refused(symmetry: str, cell: str) -> None:
    assert refused(cif(NA, symmetry=symmetry, cell=cell)).reason == "symmetry does not fit the cell"


def test_rhombohedral_and_hexagonal_axes_are_told_apart_by_the_cell() -> None:
    for name in (hm("R -3 m"), "_space_group_IT_number 166"):
        rhombohedral = read(cif("Bi1 Bi 0.234 0.234 0.234", symmetry=name, cell="4.746 4.746 4.746 57.24 57.24 57.24"))
        hexagonal = read(cif("Bi1 Bi 0 0 0.234", symmetry=name, cell="4.546 4.546 11.862 90 90 120"))
        assert (contents(rhombohedral), contents(hexagonal)) == ({"Bi": 2}, {"Bi": 6})
        distances = [shortest_distance(crystal.lattice, crystal.frac) for crystal in (rhombohedral, hexagonal)]
        assert distances[0] == pytest.approx(distances[1], abs=0.01)


@pytest.mark.parametrize("name", ["F d -3 m :2", "F d -3 m:2", "F d -3 m Z", "F d -3 m"])
def test_origin_choice_2_is_spinel(name: str) -> None:
    """Where the name does not say which origin, the formula does."""
    crystal = read(cif(*SPINEL, symmetry=hm(name), cell=SPINEL_CELL, more=SPINEL_FORMULA))
    assert contents(crystal) == {"Mg": 8, "Al": 16, "O": 32}
    assert shortest_distance(crystal.lattice, crystal.frac) == pytest.approx(1.923, abs=1e-3)


def test_origin_that_nothing_decides_is_refused() -> None:
    problem = refused(cif("Si1 Si 0 0 0", symmetry=hm("F d -3 m"), cell="5.43 5.43 5.43 90 90 90"))
    assert problem.reason == "symmetry is ambiguous"
    assert "F d -3 m:1 or F d -3 m:2" in problem.detail


def test_identity_beside_a_space_group_is_decided_by_formula_or_overlap() -> None:
    """The sites are all atoms, or those that symmetry multiplies: an eighth of the crystal is never taken for it."""
    named = hm("F m -3 m") + "\n" + ops("x,y,z")
    assert refused(cif(NA, CL, symmetry=named)).reason == "symmetry is ambiguous"
    formula = "_chemical_formula_sum 'Na Cl'\n_cell_formula_units_Z 4"
    assert contents(read(cif(NA, CL, symmetry=named, more=formula))) == {"Na": 4, "Cl": 4}
    places = [(x, y, (x + y) % 1) for x in (0, 0.5) for y in (0, 0.5)]
    sodium = [f"Na{i} Na {x} {y} {z}" for i, (x, y, z) in enumerate(places)]
    chlorine = [f"Cl{i} Cl {(x + 0.5) % 1} {y} {z}" for i, (x, y, z) in enumerate(places)]
    assert contents(read(cif(*sodium, *chlorine, symmetry=named))) == {"Na": 4, "Cl": 4}


@pytest.mark.parametrize(
    ("site", "digits"), [("B1 B 0.333 0.667 0.25", 2), ("B1 B 0.33 0.67 0.25", 2), ("B1 B 1/3 2/3 0.25", 0)]
)
def test_rounded_digits_of_special_positions_are_one_atom(site: str, digits: int) -> None:
    text = cif(site, symmetry=hm("P 63/m m c"), cell="2.5 2.5 6.6 90 90 120")
    if not digits:
        assert refused(text).reason == "coordinates are not finite"
        return
    assert np.allclose(read(text).frac, [[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]], atol=1e-6)


@pytest.mark.parametrize("number", range(1, 231))
def test_symmetry_of_every_group_is_that_of_its_operations(number: int) -> None:
    """By its Hall symbol and by its operations; a general site gives as many atoms as there are operations."""
    group = gemmi.find_spacegroup_by_number(number)
    cell = {"cubic": "9 9 9 90 90 90", "hexagonal": "9 9 13 90 90 120", "trigonal": "9 9 13 90 90 120",
            "tetragonal": "9 9 13 90 90 90"}.get(group.crystal_system_str(), "9 11 13 90 90 90")  # fmt: skip
    triplets = [each.triplet() for each in group.operations()]
    site = "Na1 Na 0.0831 0.1963 0.3137"
    by_hall = read(cif(site, symmetry=f"_space_group_name_Hall '{group.hall}'", cell=cell))
    by_operations = read(cif(site, symmetry=ops(*triplets), cell=cell))
    assert len(by_hall) == len(by_operations) == len(triplets)
    assert np.allclose(sorted(by_hall.frac.round(6).tolist()), sorted(by_operations.frac.round(6).tolist()))


# What the file says of itself


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ("_chemical_formula_sum 'K1 Br1'", "contradicts its own formula"),
        ("_chemical_formula_sum 'Na Cl2'", "contradicts its own formula"),
        ("_chemical_formula_sum 'Na Cl'\n_cell_formula_units_Z 4", "contradicts its own formula"),
        ("_chemical_formula_sum 'Na Cl H2 O'", "contradicts its own formula"),
        ("_cell_volume 900", "contradicts its own volume"),
        ("_cell_volume 1e", "unparsable CIF"),
    ],
)
def test_contradictions_are_refused_with_both_sides(more: str, reason: str) -> None:
    problem = refused(cif(NA, CL, symmetry=hm("P 1"), more=more))
    assert problem.reason == reason
    if reason == "contradicts its own formula":
        assert "Cl1 Na1 was read" in problem.detail


def require_room(text: str, fits: bool, said: str) -> None:
    """A partial CIF is read where its formula fits, else refused saying what was read."""
    outcome = partial_cif(text, "x").outcome
    if fits:
        assert isinstance(outcome, Crystal), outcome
        return
    assert isinstance(outcome, Problem)
    assert outcome.reason == "contradicts its own formula"
    assert said in outcome.detail


@pytest.mark.parametrize(
    ("more", "fits"),
    [
        ("_chemical_formula_sum 'Na Cl'", True),
        ("_chemical_formula_sum 'Na Cl'\n_cell_formula_units_Z 1", True),
        ("_chemical_formula_sum 'Na4 Cl4'\n_cell_formula_units_Z 4", True),
        ("_chemical_formula_sum 'Na X'", True),
        ("_chemical_formula_sum 'Ca S'", False),
        ("_chemical_formula_sum 'K Cl'\n_cell_formula_units_Z 1", False),
        ("_chemical_formula_sum 'Na0.5 Cl'\n_cell_formula_units_Z 1", False),
    ],
)
def test_the_formula_has_room_for_what_is_visible_of_a_partial_crystal(more: str, fits: bool) -> None:
    text = cif(NA, "X1 X 0.5 0.5 0.5", symmetry=hm("P 1"), more=more)
    require_room(text, fits, "Na1 and masked sites was read")


@pytest.mark.parametrize(
    ("formula", "fits"),
    [("Ba0.5 Sr0.5 Ti1 O3", True), ("Ca1 Ti1 S3", False), ("Ba0.5 Sr0.5 Ti1 O2", False), ("Ba0.5 Qq0.5 Ti1 O2", True)],
)
def test_the_formula_has_room_beside_masked_and_shared_sites(formula: str, fits: bool) -> None:
    sites = ["Ba1 Ba 0 0 0 0.5", "Sr1 Sr 0 0 0 0.5", "X1 X 0.5 0.5 0.5 1", "O1 O 0.5 0.5 0 1"]
    more = f"_chemical_formula_sum '{formula}'\n_cell_formula_units_Z 1"
    text = cif(*sites, symmetry=hm("P m -3 m"), cell="4 4 4 90 90 90", more=more, head="_atom_site_occupancy")
    require_room(text, fits, "O3 and masked sites was read")


def labelled(*labels: str) -> str:
    rows = [f"{label} 0.{i}1 0.{i}2 0.{i}3" for i, label in enumerate(labels, start=1)]
    return cif(*rows, symmetry=hm("P 1"), cell="9 9 9 90 90 90").replace("_atom_site_type_symbol\n", "")


@pytest.mark.parametrize(
    ("labels", "detail"),
    [
        (("N1", "CA1", "CB1"), "CA1 is Ca, or C as CB1 is"),
        (("N1", "CA1", "CB1", "HA1", "HB1", "HG1", "HE1"), "CA1 is Ca, or C as CB1 is"),
        (("N1", "C1", "HA1", "HB1", "HE1"), "HE1 is He, or H as HB1 is"),
        (("HO12B", "O1"), "HO12B is Ho, or H and O"),
        (("N1", "HB1", "HG1", "HE1"), "HG1 is Hg, or H as HB1 is"),
        (("HO1A", "O1"), "HO1A is Ho, or H and O"),
        (("CO1A", "O1"), "CO1A is Co, or C and O"),
    ],
)
def test_labels_of_molecules_are_no_metals(labels: tuple[str, ...], detail: str) -> None:
    problem = refused(labelled(*labels))
    assert problem.reason == "element or group of atoms"
    assert problem.detail == detail


@pytest.mark.parametrize(
    ("labels", "atoms"),
    [
        (("CA1", "C1", "O1", "O2"), {"Ca": 1, "C": 1, "O": 2}),
        (("NA1", "CL1"), {"Na": 1, "Cl": 1}),
        (("C1", "HA1", "HB2"), {"C": 1, "H": 2}),
    ],
)
def test_labels_in_capitals_that_read_one_way_are_read(labels: tuple[str, ...], atoms: dict[str, int]) -> None:
    assert contents(read(labelled(*labels))) == atoms


@pytest.mark.parametrize(
    "more",
    [
        "_chemical_formula_sum 'Cl Na'",
        "_chemical_formula_sum 'Cl1 Na1'\n_cell_formula_units_Z 1",
        "_chemical_formula_sum 'Cl4 Na4'\n_cell_formula_units_Z 4",  # as pymatgen writes it, of a cell of eight
        "_chemical_formula_sum ?\n_cell_formula_units_Z ?",
        "_chemical_formula_sum 'what it is'",
        "_cell_volume 179.41(3)",
    ],
)
def test_what_agrees_or_says_nothing_is_read(more: str) -> None:
    eight = "Cl4" in more
    crystal = read(cif(NA, CL, symmetry=hm("F m -3 m" if eight else "P 1"), more=more))
    assert len(crystal) == (8 if eight else 2)


def test_contradicted_multiplicity_is_refused() -> None:
    head = "_atom_site_symmetry_multiplicity"
    assert len(read(cif(f"{NA} 4", f"{CL} 4", symmetry=hm("F m -3 m"), head=head))) == 8
    problem = refused(cif(f"{NA} 8", f"{CL} 4", symmetry=hm("F m -3 m"), head=head))
    assert problem.reason == "contradicts its own multiplicities"
    assert "Na1 has multiplicity 8, F m -3 m gives 4 atoms" in problem.detail


# Sites


@pytest.mark.parametrize("value", [".", "?"])
def test_a_position_that_is_not_given_is_no_zero(value: str) -> None:
    assert refused(cif(NA, f"Cl1 Cl 0.75 {value} 0.75")).reason == "no position"


@pytest.mark.parametrize("value", ["nan", "inf", "1e400", "0x1", "1_0", "0,5", "0.5.0", "\u20130.5", "\u0663", "--1"])
def test_what_is_no_number_is_no_position(value: str) -> None:
    assert refused(cif(NA, f"Cl1 Cl 0.75 {value} 0.75")).reason == "coordinates are not finite"


def test_a_position_that_has_lost_its_digits_is_refused() -> None:
    assert refused(cif(NA, "Cl1 Cl 0.75 0.66e30 0.75")).reason == "coordinate far outside the cell"
    assert read(cif("Na1 Na -3.75 0.2 7.3")).frac[0] == pytest.approx([0.25, 0.2, 0.3])


@pytest.mark.parametrize(
    ("value", "x"), [("\u22120.1", 0.9), ("-.1", 0.9), ("0.25(3)", 0.25), ("+0.25", 0.25), ("2.5E-1", 0.25), ("1.", 0)]
)
def test_numbers_are_read_as_what_they_are(value: str, x: float) -> None:
    assert read(cif(f"Na1 Na {value} 0.2 0.3")).frac[0, 0] == pytest.approx(x)


@pytest.mark.parametrize(
    ("occupancy", "reason"),
    [
        (".", ""), ("1", ""), ("1.000(2)", ""), ("0.9", "partial occupancy"), ("0", "partial occupancy"),
        ("2", "partial occupancy"), ("-1", "partial occupancy"), ("full", "occupancy is not a number"),
    ],
)  # fmt: skip
def test_sites_of_odd_occupancy_do_not_vanish(occupancy: str, reason: str) -> None:
    text = cif(f"{NA} {occupancy}", f"{CL} 1", head="_atom_site_occupancy")
    if reason:
        assert refused(text).reason == reason
    else:
        assert contents(read(text)) == {"Na": 1, "Cl": 1}


@pytest.mark.parametrize(
    ("site", "reason"),
    [
        ("W1 Wat 0.2 0 0", "hydrogens without positions"), ("O1 OH 0.2 0 0", "hydrogens without positions"),
        ("N1 NH4 0.2 0 0", "hydrogens without positions"), ("O1 H2O 0.2 0 0", "hydrogens without positions"),
        ("Va Vac 0.2 0 0", "unknown element"), ("M1 M 0.2 0 0", "unknown element"),
        ("D1 Du 0.2 0 0", "unknown element"), ("X1 X 0.2 0 0", "unknown element"),
        ("Fe Fe+++ 0.2 0 0", "unknown element"), ("A1 (Fe,Mg) 0.2 0 0", "unknown element"),
    ],
)  # fmt: skip
def test_sites_that_are_no_atom_are_refused_by_name(site: str, reason: str) -> None:
    problem = refused(cif(site, CL))
    assert (problem.reason, site.split()[1] in problem.detail) == (reason, True)


@pytest.mark.parametrize(
    ("label", "element"),
    [
        ("Na1", "Na"),
        ("NA1", "Na"),
        ("NaA", "Na"),
        ("O1w", "O"),
        ("OW1", "O"),
        ("C12A", "C"),
        ("Fe3+", "Fe"),
        ("H", "H"),
    ],
)
def test_sites_without_symbols_go_by_their_labels(label: str, element: str) -> None:
    text = cif(f"{label} 0 0 0").replace("_atom_site_type_symbol\n", "")
    assert contents(read(text)) == {element: 1}


@pytest.mark.parametrize("label", ["Wat1", "OH1", "H2O", "NH4"])
def test_labels_of_groups_are_refused(label: str) -> None:
    text = cif(f"{label} 0 0 0").replace("_atom_site_type_symbol\n", "")
    assert refused(text).reason == "hydrogens without positions"


def test_attached_hydrogens_and_dummies_are_refused() -> None:
    assert refused(cif(f"{NA} 2", f"{CL} 0", head="_atom_site_attached_hydrogens")).reason.startswith("hydrogens")
    assert refused(cif(f"{NA} dum", f"{CL} d", head="_atom_site_calc_flag")).reason == "dummy atoms"


# The file


def test_blocks_are_not_lost() -> None:
    one, other = cif(NA, CL), cif("Si1 Si 0 0 0")
    overlapping = cif(NA, "Cl1 Cl 0 0 0")
    for first, second in ((one, other), (one, other.replace("data_t", "data_u")), (overlapping, other)):
        assert refused(first + second).reason == "several structures in one CIF"
    assert len(read("data_global\n_journal_name_full 'Acta'\n" + one)) == 2


def test_keywords_and_names_have_no_case() -> None:
    for change in (str.upper, str.title):
        text = cif(NA, CL)
        head, _, sites = text.partition("Na1")
        assert contents(read(change(head) + "Na1" + sites)) == {"Na": 1, "Cl": 1}


def test_what_stands_between_semicolons_is_text() -> None:
    assert len(read(cif(NA, CL, more="_x_details\n;\nsee\n data_1\nloop_\n_a\n;"))) == 2


def test_one_site_needs_no_loop() -> None:
    values = zip(HEAD, ["Fe1", "Fe", "0", "0", "0"], strict=True)
    head = cif(symmetry=hm("I m -3 m"), cell="2.87 2.87 2.87 90 90 90").partition("loop_")[0]
    assert contents(read(head + "".join(f"{name} {value}\n" for name, value in values))) == {"Fe": 2}


def test_a_name_that_is_given_twice_is_refused_where_it_matters() -> None:
    assert "given twice" in refused(cif(NA, CL, more="_cell_length_a 5")).detail
    assert len(read(cif(NA, CL, more="_x_a 1\n_x_a 2"))) == 2
