"""The energy of a crystal from the folder in which it was computed, or why there is none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crystalsweep.energies._base import Energy
from crystalsweep.energies.dft import aims, vasp
from crystalsweep.energies.dft.manifest import Code
from crystalsweep.structures.crystal import Crystal

if TYPE_CHECKING:
    from ase import Atoms

SAME_PLACE = 0.02
"""Å; what atoms and lattice vectors of an output may be off by: outputs have fewer digits than inputs."""

_OUTPUTS = {"aims": (aims.OUTPUT,), "vasp": vasp.OUTPUTS}
_READ = {"aims": aims.read_aims_output, "vasp": vasp.read_vasp_output}

NOT_COMPUTED = "not computed"
"""Why there is no energy where there is no output."""


def read_energy(folder: Path, code: Code, crystal: Crystal) -> Energy:
    """Return the energy of `crystal` that the output in `folder` tells; whatever is wrong with it is the reason of
    none."""
    file = next((folder / name for name in _OUTPUTS[code] if (folder / name).is_file()), None)
    if file is None:
        return Energy(np.nan, NOT_COMPUTED)
    try:
        atoms, energy = _READ[code](file)
    except ValueError as error:
        return Energy(np.nan, " ".join(str(error).split())[:200])
    except Exception as error:  # parsers raise nearly anything on a file that was cut off
        return Energy(np.nan, f"not readable: {type(error).__name__}: {' '.join(str(error).split())[:200]}")
    if not is_of(atoms, crystal):
        return Energy(np.nan, f"{file.name} is of another crystal than the input, or it was relaxed")
    per_atom = energy / len(crystal)
    return Energy(per_atom) if np.isfinite(per_atom) else Energy(np.nan, f"the output tells an energy of {energy}")


def is_of(atoms: Atoms, crystal: Crystal) -> bool:
    """Return whether atoms of an output are those of a crystal, in any order and up to whole lattice vectors."""
    if not np.array_equal(np.sort(atoms.numbers), np.sort(crystal.species)):
        return False
    if not np.allclose(np.asarray(atoms.cell), crystal.lattice, rtol=0, atol=SAME_PLACE):
        return False
    frac = np.asarray(atoms.positions) @ np.linalg.inv(np.asarray(atoms.cell))
    free = np.ones(len(crystal), dtype=bool)
    for number, at in zip(crystal.species.tolist(), crystal.frac, strict=True):
        delta = frac - at
        distance = np.linalg.norm((delta - np.rint(delta)) @ crystal.lattice, axis=1)
        distance[(atoms.numbers != number) | ~free] = np.inf
        nearest = int(distance.argmin())
        if distance[nearest] > SAME_PLACE:
            return False
        free[nearest] = False
    return True
