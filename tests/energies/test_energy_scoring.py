"""The energy columns of a table, by CHGNet against the bundled labels and by EMT where the answer is known."""

import numpy as np
import pytest

from crystalsweep.data import load_bundled
from crystalsweep.energies import ENERGY_COLUMNS, ReferenceHull, energy_calculator, energy_columns, sun
from crystalsweep.structures.crystal import Crystal


def metal(name: str, species: list[int], length: float, label: float | None = None) -> Crystal:
    """One cubic cell: simple cubic, CsCl, or fcc-ordered by the number of atoms."""
    frac = {
        1: [[0.0, 0, 0]],
        2: [[0, 0, 0], [0.5, 0.5, 0.5]],
        4: [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]],
    }
    label = np.nan if label is None else label
    return Crystal.of(name, species, length * np.eye(3), frac[len(species)], formation_energy_per_atom=label)


CU, AU = metal("cu", [29] * 4, 3.61, 0.0), metal("au", [79] * 4, 4.08, 0.0)
CU3AU, BAD = metal("cu3au", [79, 29, 29, 29], 3.75), metal("bad", [29, 29], 1.0)
XENON = metal("xe", [54], 4.0)


def test_energies_above_the_hull_are_differences_by_one_calculator() -> None:
    emt, hull = energy_calculator("ase.calculators.emt:EMT"), ReferenceHull([CU, AU])
    cu, au, mixed = (found.per_atom for found in emt.energies([CU, AU, CU3AU]))
    moved = Crystal.of("moved", CU3AU.species, CU3AU.lattice, CU3AU.frac + 0.02 * np.eye(4, 3))
    table = energy_columns([CU3AU, CU3AU, CU], [CU3AU, moved, CU3AU], emt, hull)
    assert table["energy"].tolist()[::2] == [mixed, mixed]
    assert table["energy_before"].tolist() == [mixed, mixed, cu]
    assert table["delta_energy"][0] == 0
    assert table["delta_energy"][1] > 1e-3
    assert np.isnan(table["delta_energy"][2])  # another composition
    assert table["e_above_hull"][0] == pytest.approx(mixed - 0.75 * cu - 0.25 * au, abs=1e-9)
    assert table["e_above_hull"][1] - table["e_above_hull"][0] == pytest.approx(table["delta_energy"][1], abs=1e-9)
    assert (table["energy_failure"] == "").all()
    assert tuple(table.columns) == ENERGY_COLUMNS
    assert (
        table[["energy_relaxed", "delta_energy_relaxed", "e_above_hull_relaxed", "relax_converged"]]
        .isna()
        .all(axis=None)
    )


def test_relaxed_columns_compare_what_is_relaxed_on_both_sides() -> None:
    emt, hull = energy_calculator("ase.calculators.emt:EMT"), ReferenceHull([CU, AU])
    squeezed = Crystal.of("squeezed", CU3AU.species, 0.97 * CU3AU.lattice, CU3AU.frac)
    table = energy_columns([CU3AU], [squeezed], emt, hull, relax_steps=200, fmax=0.005).loc[0]
    assert table["delta_energy"] > 0.01
    assert table["delta_energy_relaxed"] == pytest.approx(0, abs=1e-4)
    assert table["relax_converged"] == 1
    cu, au, mixed = (found.per_atom for found in emt.relax([CU, AU, squeezed], 200, 0.005))
    assert table["e_above_hull_relaxed"] == pytest.approx(mixed - 0.75 * cu - 0.25 * au, abs=1e-9)


def test_failures_have_a_reason_in_their_row_and_are_never_zero() -> None:
    emt, hull = energy_calculator("ase.calculators.emt:EMT"), ReferenceHull([CU])
    table = energy_columns([CU, BAD, CU, CU], [BAD, CU, CU3AU, XENON], emt, hull, relax_steps=1)
    assert table["energy"].isna().tolist() == [True, False, False, True]
    assert table["delta_energy"].isna().all()
    assert table["e_above_hull"].isna().tolist() == [True, False, True, True]
    failures = table["energy_failure"].tolist()
    assert failures[0] == "generated: 0.5 Å³ per atom, less than 2"
    assert failures[1] == "parent: 0.5 Å³ per atom, less than 2"
    assert failures[2] == "hull: no labelled reference crystal of Au"
    assert "No EMT-potential for Xe" in failures[3]


def test_a_phase_that_has_no_energy_is_named() -> None:
    collapsed = Crystal.of("collapsed", [79], np.eye(3), [[0.0, 0, 0]], formation_energy_per_atom=0.0)
    table = energy_columns(
        [CU3AU], [CU3AU], energy_calculator("ase.calculators.emt:EMT"), ReferenceHull([CU, collapsed])
    )
    assert np.isnan(table["e_above_hull"][0])
    assert table["energy_failure"][0] == "hull: phase collapsed: 1 Å³ per atom, less than 2"


def test_no_rows_give_an_empty_table_and_other_lengths_are_refused() -> None:
    emt = energy_calculator("ase.calculators.emt:EMT")
    assert energy_columns([], [], emt, ReferenceHull([CU]), relax_steps=1).shape == (0, len(ENERGY_COLUMNS))
    with pytest.raises(ValueError, match="1 generated crystals for 2 parents"):
        energy_columns([CU, CU], [CU], emt)


def test_chgnet_reproduces_the_labels_of_bundled_crystals() -> None:
    crystals = load_bundled()
    hull = ReferenceHull(crystals)
    sample = [c for c in crystals if c.labels.get("e_above_hull", 0) > 0.005 and len(c) <= 12][::16]
    unstable = [c for c in sample if not hull.decompose(c.species).missing]
    dft = [c.labels["formation_energy_per_atom"] - hull.decompose(c.species).formation_energy for c in unstable]
    table = energy_columns(unstable, unstable, energy_calculator("chgnet"), hull)
    assert len(unstable) > 30
    assert (table["delta_energy"] == 0).all()
    assert np.abs(table["e_above_hull"] - dft).mean() < 0.1
    assert np.corrcoef(table["e_above_hull"], dft)[0, 1] > 0.85


def test_sun_asks_for_all_three_and_is_unknown_without_energy_or_reference() -> None:
    above = [0.1, 0.11, 0.0, 0.0, np.nan, 0.0]
    found = sun(above, [True, True, False, True, True, True], [1, 1, 1, 0, 1, np.nan], stable_below=0.1)
    assert found.tolist()[:4] == [1, 0, 0, 0]
    assert np.isnan(found[4:]).all()


def test_sun_is_undecided_only_where_what_is_undecided_matters() -> None:
    above, unique, novel = [0.0, 0.5, 0.0, 0.0], [np.nan, np.nan, np.nan, 0.0], [1.0, 1.0, 0.0, np.nan]
    assert np.array_equal(sun(above, unique, novel, stable_below=0.1), [np.nan, 0, 0, 0], equal_nan=True)
