"""Single points by FHI-aims as Liu et al. compute them, iScience 27, 110672 (2024), doi:10.1016/j.isci.2024.110672.

PBE, scalar-relativistic "atomic ZORA", "intermediate" numerical settings, and k-grids by the size of the cell, whose
density the paper does not tell. It leaves out crystals with partially filled d or f orbitals, which want more than PBE.
FHI-aims: Blum et al., Comput. Phys. Commun. 180, 2175 (2009), doi:10.1016/j.cpc.2009.06.022. Its species defaults are
part of the licensed code and are added to control.in from there.
"""

from __future__ import annotations

import math
import warnings
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crystalsweep.structures.crystal import Crystal
from crystalsweep.structures.elements import element_symbol
from crystalsweep.structures.neighbours import plane_spacings

if TYPE_CHECKING:
    from ase import Atoms

K_LENGTH = 30.0
"""Å; at least so many divided by the spacing of the lattice planes are the points of the k-grid along each vector."""

SETTINGS: dict[str, Any] = {
    "xc": "pbe",
    "relativistic": "atomic_zora scalar",
    "spin": "none",
    "species_defaults": "intermediate",
    "k_length": K_LENGTH,
}
"""Of every calculation; the last two are not written as they stand."""

_KEYWORDS = ("xc", "relativistic", "spin")

OUTPUT = "aims.out"

_UNCONVERGED = "self-consistency cycle did not converge"


def k_grid(crystal: Crystal) -> tuple[int, int, int]:
    """Return the points of the k-grid along each reciprocal vector: the same for all crystals in one cell."""
    first, second, third = (max(1, math.ceil(K_LENGTH / spacing - 1e-9)) for spacing in plane_spacings(crystal.lattice))
    return first, second, third


def write_aims_input(crystal: Crystal, folder: Path, species: Path | None) -> None:
    """Write geometry.in and control.in.

    Args:
        crystal: What is computed.
        folder: An empty one.
        species: Folder of the code's species defaults, `…/species_defaults/defaults_2020/intermediate`; without it they
            are still to be appended to control.in.

    Raises:
        ValueError: An element has no defaults there.
    """
    lines = [f"lattice_vector {_numbers(vector)}" for vector in crystal.lattice.tolist()]
    symbols = [element_symbol(z) for z in crystal.species.tolist()]
    lines += [f"atom_frac {_numbers(f)} {s}" for f, s in zip(crystal.frac.tolist(), symbols, strict=True)]
    (folder / "geometry.in").write_text("\n".join(lines) + "\n", encoding="utf-8")
    control = [f"{key} {SETTINGS[key]}" for key in _KEYWORDS]
    control.append(f"k_grid {' '.join(map(str, k_grid(crystal)))}")
    numbers = sorted(set(crystal.species.tolist()))
    if species is None:
        control += [
            f"# append the species defaults, {SETTINGS['species_defaults']}: {species_file(z)}" for z in numbers
        ]
    else:
        control += [_defaults(species, z) for z in numbers]
    (folder / "control.in").write_text("\n".join(control) + "\n", encoding="utf-8")


def species_file(number: int) -> str:
    """Return the name of an element's defaults, as `11_Na_default`."""
    return f"{number:02d}_{element_symbol(number)}_default"


def _defaults(folder: Path, number: int) -> str:
    file = folder / species_file(number)
    if not file.is_file():
        raise ValueError(
            f"{folder} has no {file.name}: give the folder of FHI-aims' {SETTINGS['species_defaults']} species "
            "defaults, or none, and append them to control.in"
        )
    return file.read_text(encoding="utf-8")


def _numbers(values: list[float]) -> str:
    return " ".join(f"{value:.16f}" for value in values)


def read_aims_output(file: Path) -> tuple[Atoms, float]:
    """Return the atoms of an output and their energy, eV.

    Raises:
        ValueError: The calculation did not end, or not converged.
        Exception: Whatever ASE makes of a file that is none.
    """
    from ase.io import ParseError, read

    if _UNCONVERGED in file.read_text(encoding="utf-8", errors="replace").lower():
        raise ValueError("not converged")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of ASE's own move of this reader to a plugin
        try:
            atoms = read(file, format="aims-output", index=-1)
        except ParseError:
            raise ValueError("not ended, or not converged") from None
    return atoms, float(atoms.get_potential_energy())


@cache
def has_open_shell(number: int) -> bool:
    """Return whether an atom of this element has a partially filled d or f shell; also where that is not known, as of
    a masked one."""
    from pymatgen.core import Element

    try:
        shells = Element.from_Z(number).full_electronic_structure
    except (KeyError, ValueError):  # superheavy elements; no element
        return True
    return any((kind == "d" and held < 10) or (kind == "f" and held < 14) for _, kind, held in shells)
