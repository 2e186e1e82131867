"""What a CIF may hold before the work on it grows beyond seconds: counts that are had cheaply, and no clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crystalsweep.data.checks import Problem
from crystalsweep.data.readers._limits import MAX_ATOMS_READ, TOO_LARGE

if TYPE_CHECKING:
    from gemmi import cif

MAX_CHARACTERS = 4 << 20
"""Of one CIF."""

MAX_BLOCKS = 20
"""`data_` blocks of one CIF."""

MAX_VALUES = 250_000
"""In the loops of one CIF; ten thousand sites have eighty thousand."""

MAX_SITES = 5_000
"""Rows of sites, before symmetry."""

MAX_OPERATIONS = 192
"""Symmetry operations: as many as the largest space group has."""

MAX_OPERATION = 40
"""Characters of one component of a symmetry operation, as `-x+1/2`."""

_REDUCE = "give the structure alone: no reflections, other blocks or sites that symmetry gives"


class TooLargeError(Exception):
    """A limit that a CIF exceeds, in words."""


def require_characters(text: str) -> None:
    """Raise `TooLargeError` for a text that is too long."""
    _require(len(text), MAX_CHARACTERS, "characters")


def require_counts(document: cif.Document) -> None:
    """Raise `TooLargeError` for too many blocks or values."""
    _require(len(document), MAX_BLOCKS, "data blocks")
    loops = [item.loop for block in document for item in block if item.loop is not None]
    _require(sum(loop.width() * loop.length() for loop in loops), MAX_VALUES, "values")


def require_sites(sites: int) -> None:
    """Raise `TooLargeError` for too many rows of sites."""
    _require(sites, MAX_SITES, "rows of sites")


def require_operations(operations: list[str], count: int) -> None:
    """Raise `TooLargeError` for too many symmetry operations, or one that is too long."""
    _require(count, MAX_OPERATIONS, "symmetry operations")
    longest = max((len(part) for each in operations for part in each.split(",")), default=0)
    _require(longest, MAX_OPERATION, "characters in a component of a symmetry operation")


def require_atoms(sites: int, operations: int) -> None:
    """Raise `TooLargeError` where symmetry would make too many atoms."""
    _require(sites * operations, MAX_ATOMS_READ, "sites × symmetry operations")


def too_large_problem(error: TooLargeError) -> Problem:
    """Return the row's problem."""
    return Problem(TOO_LARGE, str(error), _REDUCE)


def too_many_characters(count: int) -> Problem | None:
    """Return whether a CIF of this many bytes or characters is refused unread."""
    if count <= MAX_CHARACTERS:
        return None
    return too_large_problem(TooLargeError(_exceeded(count, MAX_CHARACTERS, "bytes")))


def _exceeded(found: int, limit: int, of: str) -> str:
    return f"{found:,} {of}, at most {limit:,} are read"


def _require(found: int, limit: int, of: str) -> None:
    if found > limit:
        raise TooLargeError(_exceeded(found, limit, of))
