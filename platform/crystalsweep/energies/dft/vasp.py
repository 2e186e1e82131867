"""Single points by VASP with the Materials Project's static settings, as pymatgen's `MPStaticSet` has them (PBE).

Pseudopotentials are licensed and not shipped: POTCAR.spec names those to put together as POTCAR.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crystalsweep.structures.crystal import Crystal

if TYPE_CHECKING:
    from ase import Atoms

SETTINGS: dict[str, Any] = {"input_set": "MPStaticSet", "functional": "PBE, + U where the Materials Project has it"}

OUTPUTS = ("vasprun.xml", "vasprun.xml.gz", "OUTCAR", "OUTCAR.gz")
"""The first of them that is there is read."""

_CONVERGED = "aborting loop because EDIFF is reached"
_ENDED = "General timing and accounting"


def write_vasp_input(crystal: Crystal, folder: Path) -> None:
    """Write INCAR, KPOINTS, POSCAR and POTCAR.spec; sites are sorted by element."""
    from pymatgen.core import Structure
    from pymatgen.io.vasp.sets import MPStaticSet

    order = np.argsort(crystal.species, kind="stable")
    structure = Structure(crystal.lattice, crystal.species[order].tolist(), crystal.frac[order])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that POTCARs are not installed, which POTCAR.spec is for
        MPStaticSet(structure).write_input(folder, potcar_spec=True)


def read_vasp_output(file: Path) -> tuple[Atoms, float]:
    """Return the atoms of a vasprun.xml or OUTCAR and their energy with the smearing taken to zero, eV.

    Raises:
        ValueError: The calculation did not end, or not converged.
        Exception: Whatever pymatgen or ASE make of a file that is none.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on POTCARs that are not there
        return _vasprun(file) if file.name.startswith("vasprun") else _outcar(file)


def _vasprun(file: Path) -> tuple[Atoms, float]:
    from pymatgen.io.ase import AseAtomsAdaptor
    from pymatgen.io.vasp.outputs import Vasprun

    run = Vasprun(file, parse_dos=False, parse_eigen=False, parse_potcar_file=False)
    if not run.converged_electronic:
        raise ValueError("not converged")
    return AseAtomsAdaptor.get_atoms(run.final_structure), float(run.final_energy)


def _outcar(file: Path) -> tuple[Atoms, float]:
    from ase.io import read
    from monty.io import zopen

    with zopen(file, mode="rt", encoding="utf-8", errors="replace") as stream:
        text = stream.read()
    if _ENDED not in text:
        raise ValueError("not ended")
    if _CONVERGED not in text:
        raise ValueError("not converged")
    atoms = read(file, format="vasp-out", index=-1)
    return atoms, float(atoms.get_potential_energy())
