"""Primitive cells: the same crystal, as small as it goes, in one form."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

from crystalsweep.data import DataError, primitive_cell
from crystalsweep.structures.crystal import Crystal


def crystal_of(structure: Structure) -> Crystal:
    return Crystal.of("x", structure.atomic_numbers, structure.lattice.matrix, structure.frac_coords, gap=1.0)


def structure_of(crystal: Crystal) -> Structure:
    return Structure(crystal.lattice, crystal.species, crystal.frac)


CRYSTALS = {
    "NaCl": Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]),
    "quartz": Structure.from_spacegroup(  # chiral
        "P3_121", Lattice.hexagonal(4.91, 5.40), ["Si", "O"], [[0.47, 0, 1 / 3], [0.414, 0.267, 0.119 + 1 / 3]]
    ),
    "C2/m": Structure.from_spacegroup(
        "C2/m", Lattice.monoclinic(9.0, 3.1, 6.0, 104), ["Ga", "O"], [[0.1, 0, 0.2], [0.4, 0, 0.3]]
    ),
}


@pytest.mark.parametrize(("name", "n_atoms"), [("NaCl", 2), ("quartz", 9), ("C2/m", 4)])
def test_any_description_gives_the_same_cell(name: str, n_atoms: int) -> None:
    structure = CRYSTALS[name]
    skewed = structure.make_supercell([[1, 1, 0], [0, 1, 0], [1, 0, 2]], in_place=False)
    cells = [primitive_cell(crystal_of(s)) for s in (structure, skewed)]
    assert [len(cell) for cell in cells] == [n_atoms, n_atoms]
    np.testing.assert_allclose(cells[0].lattice, cells[1].lattice, atol=1e-4)
    for cell in cells:
        assert cell.labels == {"gap": 1.0}
        assert StructureMatcher(scale=False, stol=0.01).fit(structure_of(cell), structure)


def test_handedness_is_kept() -> None:
    quartz = CRYSTALS["quartz"]
    assert structure_of(primitive_cell(crystal_of(quartz))).get_space_group_info() == ("P3_121", 152)
    mirrored = Structure(quartz.lattice, quartz.species, -quartz.frac_coords)
    assert structure_of(primitive_cell(crystal_of(mirrored))).get_space_group_info() == ("P3_221", 154)


def test_a_cell_spglib_cannot_use_is_said_so() -> None:
    twice = Crystal.of("twice", [1, 1], 3 * np.eye(3), np.zeros((2, 3)))
    with pytest.raises(DataError, match="twice: spglib finds no primitive cell"):
        primitive_cell(twice)
