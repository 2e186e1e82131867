"""pymatgen's CIF parser under limits: what a CIF may hold before the work on it grows beyond seconds.

Everything that pymatgen does takes time and memory by counts that can be had cheaply: characters, values, sites, and
sites times symmetry operations. Its regular expressions grow with the square or the cube of what they match, and its
reading of magnetic settings evaluates powers; texts that reach those are refused too.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from crystalsweep.data.checks import Problem
from crystalsweep.data.readers._limits import MAX_ATOMS_READ, TOO_LARGE

if TYPE_CHECKING:
    from pymatgen.io.cif import CifBlock, CifParser

MAX_CHARACTERS = 4 << 20
"""Of one CIF."""

MAX_BLOCKS = 20
"""`data_` blocks of one CIF."""

MAX_VALUES = 250_000
"""In the loops of one CIF; ten thousand sites have eighty thousand."""

MAX_SITES = 5_000
"""Rows of sites, before symmetry; comparing them with each other takes their square."""

MAX_OPERATIONS = 1_000
"""Symmetry operations; the largest space group has 192 of them."""

MAX_OPERATION = 40
"""Characters of one component of a symmetry operation, as `-x+1/2`."""

_QUOTED_WORK = 50_000_000
"""Quotes times characters, summed over lines: what matching them takes at worst."""

_SITES = ("_atom_site_label", "_atom_site_type_symbol")
_OPERATIONS = (
    "_symmetry_equiv_pos_as_xyz",
    "_symmetry_equiv_pos_as_xyz_",
    "_space_group_symop_operation_xyz",
    "_space_group_symop_operation_xyz_",
)
_MAGNETIC_OPERATIONS = ("_space_group_symop_magn_operation", "_space_group_symop_magn_centering")
_SETTING = re.compile(r"[-+abc0-9/,; ]{5,100}")
"""A change of axes and origin such as `a-b,a+b,c;0,1/2,0`."""

_REDUCE = "give the structure alone: no reflections, other blocks or sites that symmetry gives"


class TooLargeError(Exception):
    """A limit that a CIF exceeds, in words; no `ValueError`, since pymatgen turns those into warnings."""


@lru_cache(maxsize=1)
def _parser() -> type[CifParser]:
    """Make the class of pymatgen's parser that stops where sites times operations become too many."""
    from pymatgen.io.cif import CifParser

    class BoundedParser(CifParser):
        """Counts sites times operations while it reads."""

        def get_symops(self, data: CifBlock) -> Any:
            """Return what pymatgen's does. Raises `TooLargeError`."""
            return self._bounded(data, super().get_symops(data))

        def get_magsymops(self, data: CifBlock) -> Any:
            """Return what pymatgen's does. Raises `TooLargeError`."""
            return self._bounded(data, super().get_magsymops(data))

        def _bounded(self, data: CifBlock, operations: list[Any]) -> list[Any]:
            self._atoms = getattr(self, "_atoms", 0) + len(operations) * len(data.data.get(_SITES[0], ()))
            if self._atoms > MAX_ATOMS_READ:
                _stop(f"{self._atoms:,} sites × symmetry operations", MAX_ATOMS_READ)
            return operations

    return BoundedParser


def bounded_parser(text: str) -> CifParser:
    """Return the parser of a CIF that is within all limits.

    Raises `TooLargeError` naming the limit, `ValueError` for a magnetic setting that would be computed with, and
    whatever pymatgen does.
    """
    from pymatgen.io.cif import CifFile

    if len(text) > MAX_CHARACTERS:
        _stop(f"{len(text):,} characters", MAX_CHARACTERS)
    plain = _plain(text)
    blocks = list(CifFile.from_str(plain).data.values())
    lists = [values for block in blocks for values in block.data.values() if isinstance(values, list)]
    if (values := sum(map(len, lists))) > MAX_VALUES:
        _stop(f"{values:,} values", MAX_VALUES)
    sites = sum(max(len(block.data.get(name, ())) for name in _SITES) for block in blocks)
    if sites > MAX_SITES:
        _stop(f"{sites:,} rows of sites", MAX_SITES)
    for block in blocks:
        _require_sane_symmetry(block.data)
    return _parser().from_str(plain)


def too_large_problem(error: TooLargeError) -> Problem:
    """Return the row's problem."""
    return Problem(TOO_LARGE, str(error), _REDUCE)


def too_many_characters(count: int) -> Problem | None:
    """Return whether a CIF of this many bytes or characters is refused unread."""
    if count <= MAX_CHARACTERS:
        return None
    return too_large_problem(TooLargeError(_exceeded(f"{count:,} bytes", MAX_CHARACTERS)))


def _plain(text: str) -> str:
    """Return the text without blank lines and what is not ASCII, which pymatgen leaves out too, though in quadratic
    time."""
    lines = [line for line in text.encode("ascii", "ignore").decode().splitlines() if line.strip()]
    work = sum(len(line) * (line.count("'") + line.count('"')) for line in lines)
    if work > _QUOTED_WORK:
        _stop(f"{work:,} quotes × characters of their lines", _QUOTED_WORK)
    if (blocks := sum(line.lstrip().startswith("data_") for line in lines)) > MAX_BLOCKS:
        _stop(f"{blocks:,} data blocks", MAX_BLOCKS)
    return "\n".join(lines)


def _require_sane_symmetry(data: dict[str, Any]) -> None:
    total = 1
    for name, given in data.items():
        flat = name.replace(".", "_")
        if "transform" in name and not _SETTING.fullmatch("".join(given)):
            raise ValueError(f"{name} is no change of axes such as a,b,c;0,0,0")
        if name not in _OPERATIONS and not flat.startswith(_MAGNETIC_OPERATIONS):
            continue
        operations = [given] if isinstance(given, str) else given
        if flat.startswith(_MAGNETIC_OPERATIONS) and flat.endswith("xyz"):
            total *= max(len(operations), 1)
        if max(len(operations), total) > MAX_OPERATIONS:
            _stop(f"{max(len(operations), total):,} symmetry operations", MAX_OPERATIONS)
        longest = max((len(part) for each in operations for part in each.split(",")), default=0)
        if longest > MAX_OPERATION:
            _stop(f"{longest:,} characters in a component of a symmetry operation", MAX_OPERATION)


def _exceeded(found: str, limit: int) -> str:
    return f"{found}, at most {limit:,} are read"


def _stop(found: str, limit: int) -> None:
    raise TooLargeError(_exceeded(found, limit))
