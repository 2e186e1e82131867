"""Distances between sets of real crystals, and descriptions that survive impossible ones."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Structure

from crystalsweep.data import load_bundled
from crystalsweep.metrics.distributions import (
    DISTANCES,
    crystal_system_of,
    density_of,
    describe_crystals,
    distances,
    generated_frame,
    reference_frame,
)
from crystalsweep.structures.crystal import Crystal

CRYSTALS = [crystal for crystal in load_bundled() if len(crystal) <= 8][:400]
NACL = Crystal.of("NaCl", [11, 17], 2.82 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]), [[0, 0, 0], [0.5, 0.5, 0.5]])
CUBE = 4 * np.eye(3)


@pytest.fixture(scope="module")
def reference() -> pd.DataFrame:
    return reference_frame(CRYSTALS)


# Descriptions


def test_rock_salt() -> None:
    row = describe_crystals([NACL]).iloc[0]
    assert row["density"] == pytest.approx(2.165, abs=0.02)  # g/cm³, measured
    assert (row["n_elements"], row["space_group"], row["crystal_system"]) == (2, 225, "cubic")


def test_densities_are_those_of_pymatgen() -> None:
    for crystal in CRYSTALS[:50]:
        known = Structure(crystal.lattice, crystal.species, crystal.frac).density
        assert density_of(crystal) == pytest.approx(float(known), rel=1e-3)


def test_symmetry_survives_a_hundredth_of_an_angstrom_and_not_half_of_one() -> None:
    generator = np.random.default_rng(0)
    for size, group in ((0.01, 225), (0.5, 1)):
        moved = Crystal.of("x", NACL.species, NACL.lattice, NACL.frac + size * generator.normal(size=(2, 3)) / 4)
        supercell = np.concatenate([moved.frac, moved.frac + np.array([0, 0, 1])]) / [1, 1, 2]
        supercell[2:] += size * generator.normal(size=(2, 3)) / 4
        doubled = Crystal.of("x", [11, 17, 11, 17], np.diag([1, 1, 2]) @ NACL.lattice, supercell)
        assert describe_crystals([doubled])["space_group"].item() == group


@pytest.mark.parametrize(
    ("group", "system"),
    [
        *((0, "unknown"), (1, "triclinic"), (2, "triclinic"), (3, "monoclinic"), (15, "monoclinic")),
        *((16, "orthorhombic"), (74, "orthorhombic"), (75, "tetragonal"), (142, "tetragonal"), (143, "trigonal")),
        *((167, "trigonal"), (168, "hexagonal"), (194, "hexagonal"), (195, "cubic"), (230, "cubic"), (231, "unknown")),
    ],
)
def test_crystal_system_of_every_border(group: int, system: str) -> None:
    assert crystal_system_of(group) == system


def test_impossible_crystals_are_described_and_never_an_error() -> None:
    nowhere = np.full((2, 3), np.nan)
    impossible = {
        "NaN positions": Crystal.of("x", [1, 1], CUBE, nowhere),
        "NaN cell": Crystal.of("x", [1, 1], np.full((3, 3), np.nan), np.zeros((2, 3))),
        "no volume": Crystal.of("x", [1], np.ones((3, 3)), np.zeros((1, 3))),
        "overflowing": Crystal.of("x", [1], 1e200 * np.eye(3), np.zeros((1, 3))),
        "no atoms": Crystal.of("x", [], CUBE, np.zeros((0, 3))),
        "on top of each other": Crystal.of("x", [1, 1], CUBE, np.zeros((2, 3))),
        "other number of positions": Crystal(id="x", species=np.array([1, 1]), lattice=CUBE, frac=np.zeros((1, 3))),
    }
    frame = describe_crystals(list(impossible.values()))
    assert dict(zip(impossible, frame["space_group"], strict=True)) == dict.fromkeys(impossible, 0)
    assert set(frame["crystal_system"]) == {"unknown"}
    without = ["NaN cell", "no volume", "overflowing", "no atoms"]
    assert dict(zip(impossible, frame["density"].isna(), strict=True)) == {k: k in without for k in impossible}


def test_mask_tokens_and_three_hundred_atoms() -> None:
    masked = describe_crystals([Crystal.of("x", [0, 17], NACL.lattice, NACL.frac)]).iloc[0]
    assert np.isnan(masked["density"])
    assert masked["space_group"] == 225
    generator = np.random.default_rng(0)
    large = Crystal.of("x", generator.integers(1, 90, 300), 18 * np.eye(3), generator.random((300, 3)))
    assert describe_crystals([large])["space_group"].item() == 1


# Distances


def test_a_set_is_at_no_distance_from_itself(reference: pd.DataFrame) -> None:
    frame = distances(reference, reference, n_resamples=20)
    assert tuple(frame.columns) == DISTANCES
    assert frame["quantity"].tolist() == ["density", "n_elements", "elements", "space_groups", "crystal_systems"]
    assert frame["distance"].to_numpy() == pytest.approx(0, abs=1e-7)
    assert (frame["floor"] > 0).all()
    assert (frame["clusters"] == 400).all()


def test_halves_of_one_population_lie_at_the_floor(reference: pd.DataFrame) -> None:
    frame = distances(reference[::2], reference[1::2], n_resamples=20)
    assert (frame["distance"] < 1.15 * frame["floor_high"]).all()
    assert (frame["distance"] > 0.3 * frame["floor"]).all()
    assert frame["distance"].between(frame["low"], frame["high"]).all()


def test_a_set_that_drifted_lies_above_the_floor(reference: pd.DataFrame) -> None:
    light = reference[reference["density"] < 4]
    frame = distances(light, reference, n_resamples=50).set_index("quantity")
    for quantity in ("density", "elements"):
        assert frame.loc[quantity, "low"] > frame.loc[quantity, "floor_high"]
    assert frame.loc["density", "distance"] == pytest.approx(
        reference["density"].mean() - light["density"].mean(), rel=0.02
    )  # all mass moves the same way: the Wasserstein distance is the difference of means


def test_disjoint_elements_are_at_distance_one() -> None:
    light, heavy = (
        pd.DataFrame({"parent": ["a", "b"], "species": [[1, 1], [3]]}),
        pd.DataFrame({"parent": ["c", "d"], "species": [[90], [92]]}),
    )
    assert distances(light, heavy, n_resamples=5)["distance"].tolist() == [pytest.approx(1)]


def test_atoms_count_not_crystals() -> None:
    a = pd.DataFrame({"parent": ["a", "b"], "species": [[1, 1, 1], [2]]})
    b = pd.DataFrame({"parent": ["c", "d"], "species": [[1, 1], [1, 2]]})
    assert distances(a, b, n_resamples=5)["distance"].item() == pytest.approx(0, abs=1e-7)


def test_draws_of_one_parent_do_not_narrow_the_interval(reference: pd.DataFrame) -> None:
    few = reference[:60]
    repeated = pd.concat([few] * 10, ignore_index=True)
    once, often = (distances(side, reference[60:], n_resamples=100).set_index("quantity") for side in (few, repeated))
    width = (once["high"] - once["low"]) / (often["high"] - often["low"])
    assert width.to_numpy() == pytest.approx(1)
    assert (often["n"] == 10 * once["n"]).all()


def test_a_scored_table_gives_the_generated_crystals_not_the_parents() -> None:
    table = pd.DataFrame(
        {
            "parent": ["a", "a", "b"],
            "species_after": [[11, 17], [3, 9], [1]],
            "density": [2.2, 2.6, np.nan],
            "n_elements": [2, 2, 1],
            "space_group": [225, 1, 0],
            "crystal_system": ["hexagonal"] * 3,
            "failure": ["", "", "1 atoms instead of 2"],
        }
    )
    frame = generated_frame(table)
    assert frame["crystal_system"].tolist() == ["cubic", "triclinic"]
    assert frame["species"].tolist() == [[11, 17], [3, 9]]
    assert generated_frame(table[["parent", "density"]]).columns.tolist() == ["parent", "density"]


def test_missing_columns_and_single_parents_leave_quantities_out(reference: pd.DataFrame) -> None:
    assert distances(reference[["parent", "density"]], reference, n_resamples=5)["quantity"].tolist() == ["density"]
    assert distances(reference[:1], reference).empty
    gaps = reference.assign(density=reference["density"].where(reference.index % 2 == 0))
    assert distances(gaps, reference, n_resamples=5)["n"].tolist() == [200, 400, 400, 400, 400]
