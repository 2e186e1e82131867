"""Text of strangers on a terminal: what would move the cursor, colour, hide or turn text around is shown, not done.

Ids, names of files and runs, reasons and tags come from anybody, and so do the errors that repeat them.
"""

from __future__ import annotations

import json
import sys
import traceback
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any

from tabulate import tabulate

_SHOWN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode's categories of controls, of what formats or joins invisibly, and of half characters and line ends."""

_BLANK = "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
"""Letters and marks that look like nothing."""


def plain(text: str) -> str:
    r"""Return text in which every character is seen: others as in JSON, `\u001b` for ESC. Lines and tabs stay."""
    return _escaped(text, kept="\n\t")


def in_a_line(text: str) -> str:
    """Return text for a place within a line or a table, where it must not begin a line of its own."""
    return _escaped(text, kept="")


def tabulated(rows: Iterable[Any], headers: Sequence[str] | str = (), **how: Any) -> str:
    """Return `tabulate`'s table, each of whose cells is text in a line, whoever wrote it."""
    shown = headers if isinstance(headers, str) else [in_a_line(head) for head in headers]
    return tabulate([_row(row) for row in rows], headers=shown, **how)


def tell_plainly(hidden: Callable[[str], str]) -> None:
    """Let also warnings and the tracebacks of what nobody foresaw be plain text in this process, without what `hidden`
    takes out of them."""
    written = warnings.formatwarning
    if getattr(written, "plain", False):
        return

    def format_plainly(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        return plain(hidden(written(message, category, filename, lineno, line)))

    format_plainly.plain = True  # type: ignore[attr-defined]
    warnings.formatwarning = format_plainly

    def show_plainly(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
        sys.stderr.write(plain(hidden("".join(traceback.format_exception(kind, error, where)))))

    sys.excepthook = show_plainly


def _row(row: Any) -> Any:
    if isinstance(row, Mapping):
        return {in_a_line(str(name)): _cell(value) for name, value in row.items()}
    return [_cell(value) for value in row] if isinstance(row, list | tuple) else row  # tabulate's own lines


def _cell(value: Any) -> Any:
    return in_a_line(value) if isinstance(value, str) else value


def _escaped(text: str, kept: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    return "".join(json.dumps(each)[1:-1] if _is_unseen(each) and each not in kept else each for each in text)


def _is_unseen(character: str) -> bool:
    return unicodedata.category(character) in _SHOWN or character in _BLANK
