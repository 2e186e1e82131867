"""A sweep as one table that is redrawn in place."""

from __future__ import annotations

import atexit
import sys
import threading
import time
from types import TracebackType
from typing import Any, Self, TextIO, cast

from rich.console import Console
from rich.live import Live
from rich.text import Text

from crystalsweep.sweeping.display.changes import Changes, Finishes
from crystalsweep.sweeping.display.snapshot import Snapshot, TrainingRow
from crystalsweep.sweeping.display.stream import LastingStream
from crystalsweep.sweeping.display.table import Frame
from crystalsweep.sweeping.display.text import ended, in_lines, unescaped
from crystalsweep.wording.stranger import plain

SHORTEST_PAUSE = 0.5
"""Seconds between two drawings, at least."""
SHARE = 0.01
"""Of one CPU core that drawing may take; a long table is drawn less often."""


class _SteadyConsole(Console):
    """A console that never hides the cursor: a process killed outright leaves a terminal that works."""

    def show_cursor(self, show: bool = True) -> bool:
        """Leave it as it is."""
        del show
        return False


class LiveTable:
    """A table on stdout, drawn by a thread of its own; what others print while it stands scrolls above it."""

    def __init__(self) -> None:
        stream = cast(TextIO, LastingStream(sys.stdout))
        self._console = _SteadyConsole(file=stream, force_terminal=True, markup=False, highlight=False, emoji=False)
        self._live: Live | None = None
        self._thread: threading.Thread | None = None
        self._settled = threading.Event()
        self._shown = 0
        self._picture: Snapshot | None = None
        self._changes, self._finishes = Changes(), Finishes()
        atexit.register(self.close)

    def show(self, picture: Snapshot) -> None:
        """Draw this picture next; a new stage begins a new table."""
        picture = in_lines(picture)
        if self._picture and self._picture.stage != picture.stage:
            self.settle()
            self._finishes = Finishes()
        self._finishes.add(picture)
        for row in self._changes.ended(picture):
            self._above(f"{picture.stage} {ended(row)}", "red" if row.status == "failed" else "yellow")
        self._picture = picture
        self._shown += 1
        if self._live is None:
            self._start()

    def epoch(self, row: TrainingRow) -> None:
        """Do nothing: the next snapshot has it."""

    def say(self, line: str, *, error: bool = False) -> None:
        """Write the line; an error also on stderr if that is not this terminal."""
        if error and not sys.stderr.isatty():
            LastingStream(sys.stderr).line(unescaped(line))
        self._above(line, "red" if error else "")

    def settle(self) -> None:
        """Draw the last picture and go on below it."""
        if self._live is None:
            return
        self._settled.set()
        try:
            if self._thread is not None and self._thread.is_alive():
                self._thread.join()
        finally:
            self._live.stop()
            self._live = None

    def result(self, content: dict[str, Any]) -> None:
        """Write nothing: people have been told."""
        del content
        self.settle()

    def close(self) -> None:
        """Draw the last picture and leave the terminal as it was."""
        self.settle()
        atexit.unregister(self.close)

    def _above(self, line: str, style: str) -> None:
        self._console.print(Text(plain(unescaped(line)), style=style), soft_wrap=True)

    def _frame(self) -> Frame:
        assert self._picture
        finishes = self._finishes
        return Frame(picture=self._picture, ended=dict(finishes.order), hourly=finishes.hourly(self._picture))

    def _start(self) -> None:
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            redirect_stderr=sys.stderr.isatty(),
            get_renderable=self._frame,
        )
        self._live.start(refresh=True)
        self._settled.clear()
        self._thread = threading.Thread(target=self._draw, args=(self._live,), name="display", daemon=True)
        self._thread.start()

    def _draw(self, live: Live) -> None:
        drawn, pause = 0, SHORTEST_PAUSE
        while not self._settled.wait(pause):
            if self._shown != drawn:
                drawn, began = self._shown, time.thread_time()
                live.refresh()
                pause = max(SHORTEST_PAUSE, (time.thread_time() - began) / SHARE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
