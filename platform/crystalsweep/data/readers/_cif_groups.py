"""Which space groups a CIF names: by Hall symbol, Hermann-Mauguin symbol and number, which must be one group.

A name may stand for several settings (origin choices, hexagonal or rhombohedral axes).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crystalsweep.data.readers._cif_block import CifBlock, RefusedError, refuse
from crystalsweep.data.readers._cif_limits import MAX_OPERATIONS
from crystalsweep.structures.quiet import quiet_spglib

if TYPE_CHECKING:
    import gemmi

LIST_THEM = "list the symmetry operations (_space_group_symop_operation_xyz)"
ONE_GROUP = "correct what is wrong, or leave it out"

EDGE = 0.02
"""Relative difference of lengths that is still rounding, where a lattice is asked for its symmetry."""

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

_ANY_METRIC = np.array([[1.0, 0.1, 0.2], [0.1, 1.3, 0.3], [0.2, 0.3, 1.7]])
"""Of a cell without any symmetry."""


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

    @property
    def keys(self) -> NDArray[np.int64]:
        """(n,) one number per operation."""
        return keys_of(self.rotations, self.translations)

    def same_as(self, other: Symmetry) -> bool:
        """Return whether both hold the same operations."""
        return len(self) == len(other) and bool((np.sort(self.keys) == np.sort(other.keys)).all())


class Claim(NamedTuple):
    """A space group that the file names."""

    words: str
    """What the file says, and what that means."""
    number: int | None
    """1…230; None where nobody knows it."""
    settings: Sequence[Symmetry]
    """What it may stand for; at least one."""
    symbol: str = ""
    """Its Hermann-Mauguin symbol in gemmi's table; empty where the file gives none."""
    exact: bool = False
    """Whether it names origin and axes too."""

    @property
    def counts(self) -> bool:
        """Whether it tells how many operations there are: a number leaves centring and axes open."""
        return self.exact or bool(self.symbol)


class Claims(NamedTuple):
    """All names of space groups in a file."""

    understood: list[Claim]
    """Hall symbols first, numbers last."""
    refused: list[RefusedError]
    """What is not understood."""
    required: list[RefusedError]
    """Of these, what must be where no operations are listed: the first name, and numbers."""
    words: str
    """As the file has them."""


def symmetry_of(name: str, operations: Iterable[gemmi.Op]) -> Symmetry:
    """Return operations as arrays. Raises `RefusedError` for one that is no isometry of any lattice."""
    operations = list(operations)
    denominator = operations[0].DEN
    rotations = np.array([op.rot for op in operations], dtype=float) / denominator
    whole = (rotations == np.round(rotations)).all()
    if not whole or (np.abs(np.abs(np.linalg.det(rotations)) - 1) > 1e-6).any():
        detail = f"{name}: not all are whole-numbered with a determinant of 1 or -1"
        raise refuse("symmetry not understood", detail, "correct the operations")
    return Symmetry(name, rotations, np.array([op.tran for op in operations], dtype=float) / denominator)


def keys_of(rotations: NDArray[np.float64], translations: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return one number per operation."""
    turned = np.clip(np.round(rotations).astype(np.int64), -8, 8).reshape(-1, 9) + 8
    moved = np.round(translations * 24).astype(np.int64) % 24
    return turned @ 17 ** np.arange(9, dtype=np.int64) + 17**9 * (moved @ 24 ** np.arange(3, dtype=np.int64))


def number_of(symmetry: Symmetry) -> int | None:
    """Return the number of the space group, whatever its origin and axes; None where spglib finds none."""
    import spglib

    turned = np.transpose(symmetry.rotations, (0, 2, 1)) @ _ANY_METRIC @ symmetry.rotations
    lattice = np.linalg.cholesky(turned.mean(axis=0))  # of a cell that has this symmetry
    try:
        with quiet_spglib():
            found = spglib.get_spacegroup_type_from_symmetry(
                symmetry.rotations.astype(np.intc), symmetry.translations, lattice=lattice, symprec=1e-3
            )
    except spglib.SpglibError:
        return None
    return None if found is None else int(found.number)


def claims_of(block: CifBlock) -> Claims:
    """Return the space groups that a block names, each as often as it does."""
    understood: list[Claim] = []
    refused: list[RefusedError] = []
    required: list[RefusedError] = []
    words: list[str] = []
    for names, understand in ((_HALL, _by_hall), (_HERMANN_MAUGUIN, _by_name), (_NUMBER, _by_number)):
        for given in filter(None, map(block.value, names)):
            try:
                understood.append(understand(given))
            except RefusedError as error:
                refused.append(error)
                if not words or names is _NUMBER:
                    required.append(error)
            words.append(given)
    return Claims(understood, refused, required, ", ".join(dict.fromkeys(words)))


def require_one_group(claims: Sequence[Claim]) -> None:
    """Raise `RefusedError` where two names are of different groups, or of different settings of one."""
    for one, other in combinations(claims, 2):
        if one.number != other.number and None not in (one.number, other.number):
            raise contradiction(one.words, other.words)
        if not one.exact or not other.counts:
            continue
        if not any(one.settings[0].same_as(each) for each in other.settings) and (other.exact or _renamed(one, other)):
            raise contradiction(one.words, f"{other.words}, of another setting")


def contradiction(one: str, other: str) -> RefusedError:
    """Return the error that shows both sides."""
    return refuse("symmetry contradicts itself", f"{one}; {other}", ONE_GROUP)


def system_of(number: int) -> str:
    """Return the crystal system of a space group by its number."""
    import gemmi

    return gemmi.SpaceGroup(number).crystal_system_str()


def system_of_lattice(lattice: NDArray[np.float64]) -> str | None:
    """Return the crystal system of a lattice given in rounded digits; None where spglib finds none."""
    import spglib

    edge = float(np.linalg.norm(lattice, axis=1).min())
    try:
        with quiet_spglib():
            found = spglib.get_symmetry_dataset((lattice, np.zeros((1, 3)), [1]), symprec=EDGE * edge)
    except spglib.SpglibError:
        return None
    return None if found is None else system_of(found.number)


def _renamed(exact: Claim, other: Claim) -> bool:
    """Return whether operations have another symbol in gemmi's table, as P 21/n has beside P 21/c.

    A short symbol of a monoclinic group does not tell its axis: P 2/m may be P 1 2/m 1 or P 1 1 2/m.
    """
    import gemmi

    found = [each.hm for each in gemmi.spacegroup_table() if each.number == exact.number]
    symbols = {hm for hm in found for each in _settings(hm, "") if each.same_as(exact.settings[0])}
    return bool(symbols) and _short(other.symbol) not in map(_short, symbols)


def _short(symbol: str) -> str:
    return " ".join(part for part in symbol.split() if part != "1")


@lru_cache(maxsize=1024)
def _by_hall(hall: str) -> Claim:
    import gemmi

    try:
        operations = list(gemmi.symops_from_hall(hall))
        if len(operations) > MAX_OPERATIONS:
            raise RuntimeError
    except RuntimeError:
        raise refuse("symmetry not understood", f"Hall symbol {hall!r}", LIST_THEM) from None
    symmetry = symmetry_of(hall, operations)
    number = number_of(symmetry)
    words = f"the Hall symbol says {hall}" + (f", number {number}" if number else "")
    return Claim(words, number, [symmetry], exact=True)


def _by_name(name: str) -> Claim:
    """Return all settings of a Hermann-Mauguin symbol, or the one that it chooses (`F d -3 m :2`, ICSD's `S`)."""
    import gemmi

    plain, choice = " ".join(name.split()), ""
    if match := re.fullmatch(r"(.+?)\s*:\s*([12HRhr])", plain):
        plain, choice = match[1], match[2].upper()
    elif match := re.fullmatch(r"(.+\S)\s+([SZHR])", plain):
        plain, choice = match[1], _ICSD_CHOICE[match[2]]
    found = gemmi.find_spacegroup_by_name(plain.replace("_", ""))  # pymatgen writes P2_1/c
    if found is None:
        raise refuse("symmetry not understood", f"space group {name!r}", LIST_THEM)
    words = f"the symbol says {name.strip()}, number {found.number}"
    return Claim(words, found.number, _settings(found.hm, choice), found.hm, exact=bool(choice))


def _by_number(number: str) -> Claim:
    import gemmi

    found = gemmi.find_spacegroup_by_number(int(number)) if re.fullmatch(r"[0-9]{1,3}", number) else None
    if found is None:
        raise refuse("symmetry not understood", f"space group number {number}", LIST_THEM)
    return Claim(f"the file's number is {found.number}", found.number, _settings(found.hm, ""))


@cache
def _settings(symbol: str, choice: str) -> tuple[Symmetry, ...]:
    """Return the settings that share a Hermann-Mauguin symbol, or the chosen one."""
    import gemmi

    same = [each for each in gemmi.spacegroup_table() if each.hm == symbol]
    chosen = [each for each in same if not choice or each.ext == choice]
    if not chosen:
        raise refuse("symmetry not understood", f"{symbol} has no setting {choice}", LIST_THEM)
    return tuple(symmetry_of(each.xhm(), each.operations()) for each in chosen)
