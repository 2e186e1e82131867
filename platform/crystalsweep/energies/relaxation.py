"""Relaxation of positions and cell with ASE (Larsen et al., doi:10.1088/1361-648X/aa680e)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from crystalsweep.structures.crystal import Crystal

if TYPE_CHECKING:
    from ase import Atoms


def atoms_of(crystal: Crystal) -> Atoms:
    """Return the crystal as ASE has it."""
    from ase import Atoms

    return Atoms(numbers=crystal.species, scaled_positions=crystal.frac, cell=crystal.lattice, pbc=True)


def relax(
    crystal: Crystal, calculator: Any, steps: int, fmax: float, refusal: Callable[[Crystal], str]
) -> tuple[Crystal, float, bool]:
    """Return the relaxed crystal, its energy (eV/atom), and whether it converged; whatever the calculator raises goes
    through.

    FIRE with the Fréchet cell filter, as CHGNet and MatterGen relax: quasi-Newton steps are fewer near a minimum, but
    generated crystals start far from one. `refusal` gives the reason for which a crystal on the way is given up: a
    cell that collapses would take all memory. Raises `ValueError` with it.

    Args:
        crystal: Where it starts.
        calculator: An ASE calculator.
        steps: At most so many steps.
        fmax: Forces below which it has converged, eV/Å.
        refusal: The reason for which a crystal on the way is given up; empty where it is not.
    """
    from ase.filters import FrechetCellFilter
    from ase.optimize import FIRE

    atoms = atoms_of(crystal)
    atoms.calc = calculator
    converged = False
    for below_fmax in FIRE(FrechetCellFilter(atoms), logfile=None).irun(fmax=fmax, steps=steps):
        converged = bool(below_fmax)
        if reason := refusal(_crystal_of(atoms, crystal)):
            raise ValueError(f"while it relaxed: {reason}")
    return _crystal_of(atoms, crystal), float(atoms.get_potential_energy()) / len(atoms), converged


def _crystal_of(atoms: Atoms, crystal: Crystal) -> Crystal:
    return Crystal.of(crystal.id, crystal.species, np.array(atoms.cell), atoms.get_scaled_positions(wrap=False))
