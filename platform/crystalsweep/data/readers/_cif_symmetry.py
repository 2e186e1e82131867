"""Which symmetry operations a CIF means: those it lists, else those of the space group it names.

What is named and not understood is refused, never taken as P 1. Of the settings that a name may stand for, all that fit
the cell are given, and what else the file says of itself decides.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from crystalsweep.data.readers._cif_block import CifBlock, refuse
from crystalsweep.data.readers._cif_claims import crystal_systems, require_own_system
from crystalsweep.data.readers._cif_groups import (
    LIST_THEM,
    Claim,
    Claims,
    Symmetry,
    claims_of,
    contradiction,
    keys_of,
    number_of,
    require_one_group,
    symmetry_of,
)
from crystalsweep.data.readers._cif_limits import require_operations

if TYPE_CHECKING:
    import gemmi

_OPERATIONS = ("_space_group_symop_operation_xyz", "_symmetry_equiv_pos_as_xyz")
_OF_SYMMETRY = ("_space_group", "_symmetry", "_aflow_space_group", "_cell_modulation", "_cell_wave_vector")
"""Beginnings of all names that tell of symmetry."""

_NO_GROUP = {
    *("_space_group_symop_id", "_symmetry_equiv_pos_site_id", "_space_group_id"),
    *("_space_group_crystal_system", "_symmetry_cell_setting"),
    *_OPERATIONS,
}
"""Those that name no group; a crystal system is looked at on its own."""

_MODULATED = (
    "_cell_modulation",
    "_cell_wave_vector",
    "_space_group_ssg",
    "_space_group_symop_ssg",
    "_space_group_symop_magn_ssg",
)

_MAGNETIC = ("_space_group_symop_magn_operation_xyz", "_space_group_symop_magn_centering_xyz")
_TERM = r"(?:\d?\*?[xyz](?:/\d)?|\d{1,2}/\d{1,2}|\d{0,2}\.\d{1,12}|\d{1,2}\.?)"
_PART = rf"\s*[-+]?\s*{_TERM}(?:\s*[-+]\s*{_TERM})*\s*"
_TRIPLET = re.compile(rf"{_PART},{_PART},{_PART}")
"""Three sums of x, y, z and numbers, small enough for gemmi, which counts in 24ths."""

METRIC = 0.02
"""Relative change of the metric tensor under an operation that is still a cell's rounded digits."""


def symmetries_of(block: CifBlock, lattice: NDArray[np.float64]) -> list[Symmetry]:
    """Return the symmetries that a block may mean: mostly one, and never none.

    Args:
        block: The CIF's.
        lattice: (3, 3) Å, to which they must fit.

    Raises:
        RefusedError: Symmetry is named that is not understood, contradicts itself or does not fit the cell.
        TooLargeError: There are too many operations.
    """
    if modulated := [name for prefix in _MODULATED for name in block.starting(prefix)]:
        raise refuse("symmetry not understood", f"{modulated[0]}: a modulated structure", "give an approximant")
    listed, claims = _listed(block), claims_of(block)
    require_one_group(claims.understood)
    found = _named(block, claims) if listed is None else _listed_or_named(listed, claims)
    fitting = [symmetry for symmetry in found if _fits(symmetry, lattice)]
    if not fitting:
        raise refuse("symmetry does not fit the cell", found[0].name, "check the cell, or " + LIST_THEM)
    require_own_system(block, _group(listed, claims), lattice)
    return fitting


def _listed(block: CifBlock) -> Symmetry | None:
    """Return the operations that the file lists, if it lists any."""
    plain = [operation for operation in block.column(*_OPERATIONS) if operation not in (".", "?")]
    magnetic, centering = ([_without_time_reversal(each) for each in block.column(name)] for name in _MAGNETIC)
    texts = plain or magnetic
    if not texts:
        return None
    require_operations(texts + centering, len(texts) * max(1, len(centering) * (not plain)))
    operations = [_operation(text) for text in texts]
    if centering and not plain:
        operations = [_operation(text) * operation for text in centering for operation in operations]
    name = f"{len(operations)} listed operations" if len(operations) > 1 else "the listed identity"
    symmetry = symmetry_of(name, operations)
    _require_group(symmetry)
    return symmetry


def _without_time_reversal(text: str) -> str:
    return re.sub(r",\s*[-+]1\s*$", "", text)


def _operation(text: str) -> gemmi.Op:
    """Return an operation such as `-x+1/2, y, z`. Raises `RefusedError` for anything else."""
    import gemmi

    triplet = text.strip().lower()
    try:
        if not _TRIPLET.fullmatch(triplet):
            raise RuntimeError
        return gemmi.Op(triplet)
    except RuntimeError:
        detail = f"{text!r} is no symmetry operation such as '-x,y+1/2,z'"
        raise refuse("symmetry not understood", detail, "correct the operations") from None


def _require_group(symmetry: Symmetry) -> None:
    """Require that operations, one after the other, give no new one: else some were lost, or are wrong."""
    keys = symmetry.keys
    if len(np.unique(keys)) < len(keys):
        raise refuse("symmetry contradicts itself", "an operation is listed twice", "list each once")
    for rotation, translation in zip(symmetry.rotations, symmetry.translations, strict=True):
        products = rotation @ symmetry.rotations
        if not np.isin(keys_of(products, symmetry.translations @ rotation.T + translation), keys).all():
            detail = f"the {len(symmetry)} operations are no group: some are missing or wrong"
            raise refuse("symmetry contradicts itself", detail, "list all operations")


def _listed_or_named(listed: Symmetry, claims: Claims) -> list[Symmetry]:
    """Return the listed operations, which must be those of the named group.

    The identity alone beside a larger group is ambiguous: the sites are all atoms, or only those that differ.
    """
    if len(listed) > 1:
        for claim in claims.understood:
            _require_named(listed, claim)
        return [listed]
    if claims.refused:
        raise refuse("symmetry not understood", f"{claims.words}, with the identity alone", LIST_THEM)
    named = claims.understood[0].settings if claims.understood else []
    return [listed, *(each for each in named if len(each) > 1)]


def _require_named(listed: Symmetry, claim: Claim) -> None:
    """Raise `RefusedError` where the listed operations are not those of a named group."""
    if any(listed.same_as(each) for each in claim.settings):
        return
    if claim.counts and all(len(listed) != len(each) for each in claim.settings):
        detail = f"{len(listed)} operations are listed, {claim.settings[0].name} has {len(claim.settings[0])}"
        raise refuse("symmetry contradicts itself", detail, "list all operations")
    number = number_of(listed)
    if claim.exact or (number != claim.number and None not in (number, claim.number)):
        raise contradiction(claim.words, f"the {listed.name} are others" + (f", of number {number}" if number else ""))


def _named(block: CifBlock, claims: Claims) -> list[Symmetry]:
    """Return the settings of the group that a block names; P 1 where it names none."""
    for error in claims.required:
        raise error
    if claims.understood:
        return list(claims.understood[0].settings)
    if block.starting("_space_group_magn"):
        raise refuse("symmetry not understood", "a magnetic space group without its operations", LIST_THEM)
    if others := [name for name in _symmetry_names(block) if name not in _NO_GROUP]:
        raise refuse("symmetry not understood", f"{others[0]}, without its space group", LIST_THEM)
    if systems := [each for each in crystal_systems(block) if each != "triclinic"]:
        raise refuse("symmetry not understood", f"{systems[0]}, without its space group", LIST_THEM)
    return [symmetry_of("P 1", [_operation("x,y,z")])]


def _symmetry_names(block: CifBlock) -> list[str]:
    """Return the names of a block, or of blocks beside it, that tell of symmetry and have a value."""
    names = [name for prefix in _OF_SYMMETRY for name in block.starting(prefix)]
    return [name for name in names if set(block.column(name)) - {".", "?", ""}] + block.elsewhere(_OF_SYMMETRY)


def _group(listed: Symmetry | None, claims: Claims) -> int | None:
    """Return the number of the group, if it is known."""
    return claims.understood[0].number if claims.understood else number_of(listed) if listed else None


def _fits(symmetry: Symmetry, lattice: NDArray[np.float64]) -> bool:
    """Return whether every operation keeps the lengths and angles of the cell."""
    metric = lattice @ lattice.T
    turned = np.transpose(symmetry.rotations, (0, 2, 1)) @ metric @ symmetry.rotations
    scale = np.sqrt(np.outer(np.diag(metric), np.diag(metric)))
    return bool((np.abs(turned - metric) <= METRIC * scale).all())
