"""Which symmetry operations a CIF means: those it lists, else those of the space group it names.

What is named and not understood is refused, never taken as P 1. A name may stand for several settings (origin choices,
hexagonal or rhombohedral axes); all that fit the cell are given, and what else the file says of itself decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crystalsweep.data.readers._cif_block import CifBlock, RefusedError, refuse
from crystalsweep.data.readers._cif_limits import MAX_OPERATIONS, require_operations

if TYPE_CHECKING:
    import gemmi

_OPERATIONS = ("_space_group_symop_operation_xyz", "_symmetry_equiv_pos_as_xyz")
_MAGNETIC = ("_space_group_symop_magn_operation_xyz", "_space_group_symop_magn_centering_xyz")
_HALL = ("_space_group_name_hall", "_symmetry_space_group_name_hall")
_HERMANN_MAUGUIN = (
    "_space_group_name_h-m_alt",
    "_symmetry_space_group_name_h-m",
    "_space_group_name_h-m_ref",
    "_space_group_name_h-m_full",
    "_space_group_name_h-m",
)
_NUMBER = ("_space_group_it_number", "_symmetry_int_tables_number")

_ICSD_CHOICE = {"S": "1", "Z": "2", "H": "H", "R": "R"}
"""ICSD's letter after a name, and the setting that it stands for."""

_TERM = r"(?:\d?\*?[xyz](?:/\d)?|\d{1,2}/\d{1,2}|\d{0,2}\.\d{1,12}|\d{1,2}\.?)"
_PART = rf"\s*[-+]?\s*{_TERM}(?:\s*[-+]\s*{_TERM})*\s*"
_TRIPLET = re.compile(rf"{_PART},{_PART},{_PART}")
"""Three sums of x, y, z and numbers, small enough for gemmi, which counts in 24ths."""

METRIC = 0.02
"""Relative change of the metric tensor under an operation that is still a cell's rounded digits."""

_LIST_THEM = "list the symmetry operations (_space_group_symop_operation_xyz)"


class Symmetry(NamedTuple):
    """Operations x' = R x + t on fractional coordinates."""

    name: str
    """Where they come from, for messages."""
    rotations: NDArray[np.float64]
    """(n, 3, 3) whole numbers."""
    translations: NDArray[np.float64]
    """(n, 3)."""

    def __len__(self) -> int:
        return len(self.rotations)


def symmetries_of(block: CifBlock, lattice: NDArray[np.float64]) -> list[Symmetry]:
    """Return the symmetries that a block may mean: mostly one, and never none.

    Args:
        block: The CIF's.
        lattice: (3, 3) Å, to which they must fit.

    Raises:
        RefusedError: Symmetry is named that is not understood, contradicts itself or does not fit the cell.
        TooLargeError: There are too many operations.
    """
    listed, named = _listed(block), _named(block)
    found = named if listed is None else _listed_or_named(listed, named, block)
    fitting = [symmetry for symmetry in found if _fits(symmetry, lattice)]
    if not fitting:
        raise refuse("symmetry does not fit the cell", found[0].name, "check the cell, or " + _LIST_THEM)
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
    symmetry = _symmetry(name, operations)
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


def _symmetry(name: str, operations: Iterable[gemmi.Op]) -> Symmetry:
    operations = list(operations)
    denominator = operations[0].DEN
    rotations = np.array([op.rot for op in operations], dtype=float) / denominator
    whole = (rotations == np.round(rotations)).all()
    if not whole or (np.abs(np.abs(np.linalg.det(rotations)) - 1) > 1e-6).any():
        detail = f"{name}: not all are whole-numbered with a determinant of 1 or -1"
        raise refuse("symmetry not understood", detail, "correct the operations")
    return Symmetry(name, rotations, np.array([op.tran for op in operations], dtype=float) / denominator)


def _require_group(symmetry: Symmetry) -> None:
    """Require that operations, one after the other, give no new one: else some were lost, or are wrong."""
    keys = _keys(symmetry.rotations, symmetry.translations)
    if len(np.unique(keys)) < len(keys):
        raise refuse("symmetry contradicts itself", "an operation is listed twice", "list each once")
    for rotation, translation in zip(symmetry.rotations, symmetry.translations, strict=True):
        products = rotation @ symmetry.rotations
        if not np.isin(_keys(products, symmetry.translations @ rotation.T + translation), keys).all():
            detail = f"the {len(symmetry)} operations are no group: some are missing or wrong"
            raise refuse("symmetry contradicts itself", detail, "list all operations")


def _keys(rotations: NDArray[np.float64], translations: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return one number per operation."""
    turned = np.clip(np.round(rotations).astype(np.int64), -8, 8).reshape(-1, 9) + 8
    moved = np.round(translations * 24).astype(np.int64) % 24
    return turned @ 17 ** np.arange(9, dtype=np.int64) + 17**9 * (moved @ 24 ** np.arange(3, dtype=np.int64))


def _listed_or_named(listed: Symmetry, named: list[Symmetry], block: CifBlock) -> list[Symmetry]:
    """Return the listed operations, which must be as many as the named group has.

    The identity alone beside a larger group is ambiguous: the sites are all atoms, or only those that differ.
    """
    if not named:
        if len(listed) == 1 and _words(block):
            raise refuse("symmetry not understood", f"{_words(block)}, with the identity alone", _LIST_THEM)
        return [listed]
    if any(len(listed) == len(each) for each in named):
        return [listed]
    if len(listed) == 1:
        return [listed, *named]
    detail = f"{len(listed)} operations are listed, {named[0].name} has {len(named[0])}"
    raise refuse("symmetry contradicts itself", detail, "list all operations")


def _words(block: CifBlock) -> str:
    """Return what a block calls its space group."""
    named = [block.value(*names) for names in (_HERMANN_MAUGUIN, _HALL, _NUMBER)]
    return ", ".join(name for name in named if name)


def _named(block: CifBlock) -> list[Symmetry]:
    """Return the settings of the group that a block names; P 1 where it names none and lists no operations.

    A name that is not understood gives none where operations are listed.
    """
    hall, name, number = block.value(*_HALL), block.value(*_HERMANN_MAUGUIN), block.value(*_NUMBER)
    lists = bool(block.column(*_OPERATIONS, *_MAGNETIC))
    try:
        found = _by_hall(hall) if hall else _by_name(name) if name else _by_number(number) if number else None
        if found is None:
            if not lists and block.starting("_space_group_magn"):
                raise refuse("symmetry not understood", "a magnetic space group without its operations", _LIST_THEM)
            return [] if lists else _by_hall("P 1")
        if number and hall is None:
            _symbol_of(number)  # must be one, also beside a symbol
        return found
    except RefusedError:
        if lists:
            return []
        raise


def _by_hall(hall: str) -> list[Symmetry]:
    import gemmi

    try:
        operations = list(gemmi.symops_from_hall(hall))
        if len(operations) > MAX_OPERATIONS:
            raise RuntimeError
    except RuntimeError:
        raise refuse("symmetry not understood", f"Hall symbol {hall!r}", _LIST_THEM) from None
    return [_symmetry(hall, operations)]


def _by_name(name: str) -> list[Symmetry]:
    """Return all settings of a Hermann-Mauguin symbol, or the one that it chooses (`F d -3 m :2`, ICSD's `S`)."""
    import gemmi

    plain, choice = name.strip(), ""
    if match := re.fullmatch(r"(.+?)\s*:\s*([12HRhr])", plain):
        plain, choice = match[1], match[2].upper()
    elif match := re.fullmatch(r"(.+\S)\s+([SZHR])", plain):
        plain, choice = match[1], _ICSD_CHOICE[match[2]]
    found = gemmi.find_spacegroup_by_name(plain)
    if found is None:
        raise refuse("symmetry not understood", f"space group {name!r}", _LIST_THEM)
    return list(_settings(found.hm, choice))


def _by_number(number: str) -> list[Symmetry]:
    return list(_settings(_symbol_of(number), ""))


def _symbol_of(number: str) -> str:
    """Return the Hermann-Mauguin symbol of a space group's number."""
    import gemmi

    found = gemmi.find_spacegroup_by_number(int(number)) if re.fullmatch(r"\d{1,3}", number) else None
    if found is None:
        raise refuse("symmetry not understood", f"space group number {number}", _LIST_THEM)
    return found.hm


@cache
def _settings(symbol: str, choice: str) -> tuple[Symmetry, ...]:
    """Return the settings that share a Hermann-Mauguin symbol, or the chosen one."""
    import gemmi

    same = [each for each in gemmi.spacegroup_table() if each.hm == symbol]
    chosen = [each for each in same if not choice or each.ext == choice]
    if not chosen:
        raise refuse("symmetry not understood", f"{symbol} has no setting {choice}", _LIST_THEM)
    return tuple(_symmetry(each.xhm(), each.operations()) for each in chosen)


def _fits(symmetry: Symmetry, lattice: NDArray[np.float64]) -> bool:
    """Return whether every operation keeps the lengths and angles of the cell."""
    metric = lattice @ lattice.T
    turned = np.transpose(symmetry.rotations, (0, 2, 1)) @ metric @ symmetry.rotations
    scale = np.sqrt(np.outer(np.diag(metric), np.diag(metric)))
    return bool((np.abs(turned - metric) <= METRIC * scale).all())
