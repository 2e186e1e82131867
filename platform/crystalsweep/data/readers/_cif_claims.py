"""What a CIF says of its own structure, against what was read: formula, formula units, volume, crystal system."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from crystalsweep.data.readers._cif_block import CifBlock, number, refuse
from crystalsweep.data.readers._cif_groups import contradiction, system_of, system_of_lattice
from crystalsweep.structures.crystal import MASK
from crystalsweep.structures.elements import atomic_number, element_symbol

VOLUME = 0.02
"""Relative difference of volumes that is still rounding, or another temperature of the same cell."""

AMOUNT = 0.01
"""Relative difference of amounts that is still rounding."""

_SYSTEM = ("_space_group_crystal_system", "_symmetry_cell_setting")

_LATTICES = {
    "triclinic": {"triclinic", "monoclinic", "orthorhombic", "tetragonal", "trigonal", "hexagonal", "cubic"},
    "monoclinic": {"monoclinic", "orthorhombic", "tetragonal", "trigonal", "hexagonal", "cubic"},
    "orthorhombic": {"orthorhombic", "tetragonal", "hexagonal", "cubic"},
    "tetragonal": {"tetragonal", "cubic"},
    "rhombohedral": {"trigonal", "hexagonal", "cubic"},
    "trigonal": {"trigonal", "hexagonal", "cubic"},
    "hexagonal": {"trigonal", "hexagonal"},
    "cubic": {"cubic"},
}
"""By crystal system, what the lattice of such a crystal may be. `hexagonal` is said of rhombohedral crystals too."""

_FAMILY = {"trigonal": "hexagonal", "rhombohedral": "hexagonal"}
"""Systems that files call by one another's name."""

_TERM = re.compile(r"([A-Z][a-z]?)(\d*\.?\d*)")


def require_own_volume(block: CifBlock, lattice: NDArray[np.float64]) -> None:
    """Raise `RefusedError` where the file gives another volume than its cell has."""
    given = block.value("_cell_volume")
    if given is None:
        return
    said, found = number(given, "_cell_volume"), abs(float(np.linalg.det(lattice)))
    if abs(said - found) > VOLUME * found:
        raise refuse("contradicts its own volume", f"{said:g} Å³ is given, the cell has {found:.4g}", "check the cell")


def require_own_formula(block: CifBlock, species: NDArray[np.int64]) -> None:
    """Raise `RefusedError` where formula and formula units in the file are others than what was read.

    Masked sites may be anything: of a partial crystal the formula must have room for the atoms that are visible.
    Some writers give the contents of the cell as the formula and Z beside it: where Z divides every amount, either
    reading of it is taken.
    """
    formula = _amounts(block.value("_chemical_formula_sum") or "")
    if not formula:
        return
    found = Counter(element_symbol(int(z)) for z in species if z != MASK)
    units = {symbol: found[symbol] / amount for symbol, amount in formula.items()}
    counts, z = set(units.values()), _units(block)
    partial = bool((species == MASK).any())
    fits = set(found) <= set(formula) if partial else set(found) == set(formula)
    if fits and not partial:
        fits = max(counts) - min(counts) <= AMOUNT * max(counts)
    if fits and z is not None:
        whole = all(abs(amount / z - round(amount / z)) < 1e-6 for amount in formula.values())
        given = [z, 1.0] if whole else [z]
        most = max(counts)
        fits = any((most - each if partial else abs(most - each)) <= AMOUNT * each for each in given)
    if not fits:
        read = " ".join(f"{symbol}{count}" for symbol, count in sorted(found.items()))
        said = " ".join(f"{symbol}{amount:g}" for symbol, amount in sorted(formula.items()))
        detail = f"{said}{'' if z is None else f' × {z:g}'} is given, {read}{' and masked sites' * partial} was read"
        raise refuse("contradicts its own formula", detail, "check sites, occupancies and symmetry")


def crystal_systems(block: CifBlock) -> list[str]:
    """Return what the file says of its crystal system, in lower case; other words than the systems' are none."""
    given = [(block.value(name) or "").lower() for name in _SYSTEM]
    return [each for each in given if each in _LATTICES]


def require_own_system(block: CifBlock, group: int | None, lattice: NDArray[np.float64]) -> None:
    """Raise `RefusedError` where the file names another crystal system than its space group has.

    In P 1 as in no group at all, where the atoms of any crystal may be listed one by one, the lattice must allow it.
    """
    for said in crystal_systems(block):
        words = f"the file's crystal system is {said}"
        if group not in (None, 1):
            found = system_of(group)
            if _FAMILY.get(found, found) != _FAMILY.get(said, said):
                raise contradiction(words, f"its space group, number {group}, is {found}")
        elif (found_in := system_of_lattice(lattice)) and found_in not in _LATTICES[said]:
            raise contradiction(words, f"the lattice of its cell is {found_in}")


def _amounts(formula: str) -> dict[str, float]:
    """Return amounts by element; none where the text is no sum formula. Deuterium counts as hydrogen."""
    amounts: Counter[str] = Counter()
    plain = re.sub(r"[\s_]+", "", formula.strip().removeprefix("(").removesuffix(")"))
    matches = list(_TERM.finditer(plain))
    if "".join(match[0] for match in matches) != plain:
        return {}
    for match in matches:
        if (z := atomic_number(match[1])) == MASK or match[2] == ".":
            return {}
        amounts[element_symbol(z)] += float(match[2] or 1)  # type: ignore[assignment]
    return {symbol: amount for symbol, amount in amounts.items() if amount > 0}


def _units(block: CifBlock) -> float | None:
    given = block.value("_cell_formula_units_z")
    return number(given, "_cell_formula_units_Z") if given and re.fullmatch(r"[1-9]\d{0,3}", given) else None
