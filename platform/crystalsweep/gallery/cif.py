"""CIFs in which masked atoms stand as `X`."""

from __future__ import annotations

from crystalsweep.data.writing import right_handed
from crystalsweep.structures.crystal import MASK, Crystal
from crystalsweep.structures.elements import element_symbol


def cif_with_masks(crystal: Crystal) -> str:
    """Return a CIF in P1 with the cell as `cif_text` has it; masked atoms are of the dummy species `X`, as pymatgen and
    ASE call it."""
    from pymatgen.core import DummySpecies, Structure
    from pymatgen.io.cif import CifWriter

    hidden = DummySpecies("X", 0)
    species = [hidden if z == MASK else element_symbol(z) for z in crystal.species.tolist()]
    lattice, frac = right_handed(crystal)
    return str(CifWriter(Structure(lattice, species, frac)))
