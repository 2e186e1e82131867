"""What the terminal shows of a sweep: one live table, plain lines where there is no terminal, or JSON for machines."""

from __future__ import annotations

import os
import sys
from types import TracebackType
from typing import Any, Protocol, Self

from crystalsweep.sweeping.display.json_lines import JsonLines
from crystalsweep.sweeping.display.live import LiveTable
from crystalsweep.sweeping.display.plain import PlainLines
from crystalsweep.sweeping.display.snapshot import Snapshot, Status, TrainingRow

__all__ = ["Display", "Snapshot", "Status", "TrainingRow", "display"]


class Display(Protocol):
    """Where a sweep tells how it goes. Any thread may call it; output that cannot be written never stops the sweep."""

    def show(self, picture: Snapshot) -> None:
        """Show the sweep as it is now; as often as the caller likes, what is drawn is throttled.

        Trainings that failed or were cut since the last picture are named at once.
        """

    def epoch(self, row: TrainingRow) -> None:
        """Tell that a training reported an epoch."""

    def say(self, line: str, *, error: bool = False) -> None:
        """Say a line, or several, for the user: above the table while there is one, on stderr if it is an error."""

    def settle(self) -> None:
        """Let the table stand as it is: what is said next goes below it, and the next picture draws a new one."""

    def result(self, content: dict[str, Any]) -> None:
        """Tell programs what came out, by name: paths, best run, costs. Values: numbers, text, paths, lists or mappings
        of them."""

    def close(self) -> None:
        """Give the terminal back; once is enough."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


def display(*, json: bool) -> Display:
    """Return JSON lines on stdout if asked for, else a live table if stdout is a terminal that can redraw, else plain
    lines.

    With `json` nothing but these lines reaches stdout until it is closed: what others print goes to stderr.
    """
    if json:
        return JsonLines()
    if sys.stdout.isatty() and os.environ.get("TERM", "").lower() not in ("dumb", "unknown"):
        return LiveTable()
    return PlainLines()
