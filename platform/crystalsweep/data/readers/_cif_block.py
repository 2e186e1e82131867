"""One CIF text to the block that holds its structure, by gemmi: names and values, whatever their case or dialect."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from crystalsweep.data.checks import Problem
from crystalsweep.data.readers._cif_limits import require_characters, require_counts
from crystalsweep.data.readers._numbers import to_cif_number

if TYPE_CHECKING:
    from gemmi import cif

UNPARSABLE = "unparsable CIF"
EXPORT_AGAIN = "export the CIF again and check that it is complete"

NO_ASCII = "~"
"""What stands for a character that CIF does not know; no name of an element, number or symbol holds it."""

_FRACTION = "_atom_site_fract_x"


class RefusedError(Exception):
    """Carries why a CIF cannot be read, from wherever that is found."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.reason)
        self.problem = problem


def refuse(reason: str, detail: str = "", remedy: str = EXPORT_AGAIN) -> RefusedError:
    """Return the error that refuses a CIF."""
    return RefusedError(Problem(reason, " ".join(detail.split())[:200], remedy))


class CifBlock:
    """Values of one block by name. Names are in lower case, with `_` for the `.` of DDLm; quotes are taken off."""

    def __init__(self, block: cif.Block) -> None:
        self.beside: list[CifBlock] = []
        """Blocks of the same file without a structure."""
        self._columns: dict[str, list[str]] = {}
        self._unusable: dict[str, str] = {}
        """Why a name cannot be used: that matters only where it is."""
        for item in block:
            if (pair := cast("tuple[str, str] | None", item.pair)) is not None:
                self._add(pair[0], [pair[1]])
            elif (loop := item.loop) is not None:
                values = list(loop.values)
                for i, tag in enumerate(loop.tags):
                    self._add(tag, values[i :: loop.width()])

    def _add(self, tag: str, values: Sequence[str]) -> None:
        from gemmi import cif

        name = tag.lower().replace(".", "_").rstrip("_")
        if name in self._columns:
            self._unusable[name] = f"{tag} is given twice"
        elif "" in values:
            self._unusable[name] = f"{tag} has no value"
        self._columns[name] = [value if cif.is_null(value) else cif.as_string(value) for value in values]

    def _usable(self, name: str) -> list[str]:
        if name in self._unusable:
            raise refuse(UNPARSABLE, self._unusable[name], "give each name once, with its value")
        return self._columns[name]

    def column(self, *names: str) -> list[str]:
        """Return the values of the first name that is there, `.` and `?` included; empty where none is."""
        return next((self._usable(name) for name in names if name in self._columns), [])

    def value(self, *names: str) -> str | None:
        """Return the one value of the first name that has one; `.`, `?` and blanks are none."""
        for name in names:
            values = [value.strip() for value in self._usable(name)] if name in self._columns else []
            if len(values) == 1 and values[0] not in (".", "?", ""):
                return values[0]
        return None

    def starting(self, prefix: str) -> list[str]:
        """Return the names that begin so."""
        return [name for name in self._columns if name.startswith(prefix)]

    def elsewhere(self, prefixes: Sequence[str]) -> list[str]:
        """Return the names that begin so and have a value in blocks beside this one."""
        found = [(other, name) for other in self.beside for prefix in prefixes for name in other.starting(prefix)]
        return [f"{name} in another block" for other, name in found if set(other._columns[name]) - {".", "?", ""}]


def block_of(text: str) -> CifBlock:
    """Return the one block that holds a structure.

    Raises `RefusedError` where the text is no CIF or holds several structures, `TooLargeError` where it exceeds a
    limit.
    """
    from gemmi import cif

    require_characters(text)
    if not text.strip():
        raise refuse(UNPARSABLE, "it is empty", "give the text of a CIF")
    try:
        document = cif.read_string(_as_ascii(text), check_level=0)
    except (ValueError, RuntimeError) as error:
        raise refuse(UNPARSABLE, str(error).removeprefix("string:")) from error
    require_counts(document)
    every = list(map(CifBlock, document))
    blocks = [block for block in every if block.column(_FRACTION)]
    if not blocks:
        raise refuse(UNPARSABLE, "no atom sites with fractional coordinates (_atom_site_fract_x)")
    if len(blocks) > 1:
        raise refuse("several structures in one CIF", f"{len(blocks)} found", "split it into one CIF each")
    blocks[0].beside = [block for block in every if block is not blocks[0]]
    return blocks[0]


def number(value: str, what: str, reason: str = UNPARSABLE) -> float:
    """Return a number of a CIF without its uncertainty. Raises `RefusedError` for anything else, `?` and `.` too."""
    try:
        return to_cif_number(value.strip())
    except ValueError:
        unknown = f", where {NO_ASCII} is a character that CIF does not know" if NO_ASCII in value else ""
        raise refuse(reason, f"{what} is {value!r}{unknown}", "give a number") from None


def _as_ascii(text: str) -> str:
    """Return the text with U+2212 as the minus it is, and `NO_ASCII` for what else CIF does not know."""
    plain = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").replace("\u2212", "-")
    return re.sub(r"[^\x00-\x7f]", NO_ASCII, plain)
