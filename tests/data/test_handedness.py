"""A chiral crystal is not read back as its mirror image, whatever the handedness of its cell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import spglib
from numpy.typing import NDArray
from pymatgen.core import Lattice, Structure

from crystalsweep.data import primitive_cell, read, write
from crystalsweep.data.partial_cif import partial_from_cif
from crystalsweep.data.readers._cif import crystal_from_cif
from crystalsweep.data.writing import cif_text, cif_with_masks, right_handed
from crystalsweep.structures.crystal import MASK, Crystal

GROUPS = {"P3_121": 152, "P3_221": 154}


def chiral(group: str) -> Crystal:
    """α-quartz in a right-handed cell; P3_221 is the mirror image of P3_121."""
    sites = np.array([[0.4697, 0, 1 / 3], [0.4135, 0.2669, 0.1191 + 2 / 3]])
    if group == "P3_221":
        sites *= -1
    made = Structure.from_spacegroup(group, Lattice.hexagonal(4.9137, 5.4047), ["Si", "O"], sites)
    return Crystal.of("quartz", made.atomic_numbers, made.lattice.matrix, made.frac_coords)


def turned(crystal: Crystal, matrix: NDArray[np.float64]) -> Crystal:
    """The same crystal in space, in other lattice vectors."""
    return Crystal.of(crystal.id, crystal.species, matrix @ crystal.lattice, crystal.frac @ np.linalg.inv(matrix))


CELLS = {
    "right-handed": np.eye(3),
    "inverted": -np.eye(3),
    "two vectors swapped": np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]]),
    "one vector turned round": np.diag([1.0, 1, -1]),
    "skewed": np.array([[0.0, 1, 0], [1, 1, 0], [1, 0, 1]]),
}


def space_group(crystal: Crystal) -> int:
    return int(spglib.get_symmetry_dataset((crystal.lattice, crystal.frac, crystal.species), symprec=1e-2).number)


def signed_volumes(crystal: Crystal) -> NDArray[np.float64]:
    """(6,) Å³, that which an oxygen spans with the nearest three atoms that no others are as near; a mirror turns its
    sign."""
    shifts = np.array(np.meshgrid(*[[-2, -1, 0, 1, 2]] * 3)).reshape(3, -1).T @ crystal.lattice
    found = []
    for position in crystal.cart[crystal.species == 8]:
        vectors = (crystal.cart[:, None] - position + shifts).reshape(-1, 3)
        lengths = np.linalg.norm(vectors, axis=1)
        alone = (np.abs(lengths[:, None] - lengths) < 1e-3).sum(axis=1) == 1
        chosen = np.flatnonzero(alone & (lengths > 1))
        found.append(np.linalg.det(vectors[chosen[np.argsort(lengths[chosen])][:3]]))
    return np.array(found)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("name", ["x.parquet", "x.extxyz", "x.csv", "cifs"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_chiral_crystal_comes_back_as_itself(tmp_path: Path, group: str, cell: str, name: str) -> None:
    crystal = turned(chiral(group), CELLS[cell])
    assert (np.linalg.det(crystal.lattice) > 0) == (cell == "right-handed")
    write([crystal], tmp_path / name)
    (back,) = read(tmp_path / name).require_clean().crystals
    assert space_group(crystal) == space_group(back) == GROUPS[group]
    volumes = signed_volumes(crystal)
    assert np.abs(volumes).min() > 0.5
    assert len(set(np.sign(volumes))) == 1
    np.testing.assert_allclose(signed_volumes(back), volumes, atol=1e-3)
    np.testing.assert_array_equal(back.species, crystal.species)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_cifs_of_the_gallery_and_primitive_cells_keep_it(cell: str) -> None:
    crystal = turned(chiral("P3_121"), CELLS[cell])
    shown = crystal_from_cif(cif_with_masks(crystal), "x", {})
    assert isinstance(shown, Crystal)
    assert [space_group(each) for each in (shown, primitive_cell(crystal))] == [152, 152]
    masked = Crystal.of("x", [MASK, *crystal.species[1:]], crystal.lattice, crystal.frac)
    partial = partial_from_cif(cif_with_masks(masked), "x")
    assert isinstance(partial, Crystal)
    np.testing.assert_allclose(partial.lattice @ partial.lattice.T, crystal.lattice @ crystal.lattice.T, atol=1e-4)
    np.testing.assert_allclose(partial.frac, shown.frac, atol=1e-6)


def test_right_handed_cells_are_written_as_they_are() -> None:
    crystal = chiral("P3_121")
    lattice, frac = right_handed(crystal)
    assert lattice is crystal.lattice
    assert frac is crystal.frac
    assert cif_text(crystal) == cif_text(turned(crystal, -np.eye(3)))
