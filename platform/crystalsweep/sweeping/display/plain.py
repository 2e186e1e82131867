"""A sweep as lines for a pipe or a job's log: one per epoch, a summary now and then, no escape codes."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import Any, Self

from crystalsweep.sweeping.display.changes import Changes
from crystalsweep.sweeping.display.snapshot import Snapshot, TrainingRow
from crystalsweep.sweeping.display.stream import LastingStream
from crystalsweep.sweeping.display.text import (
    behind,
    counts,
    ended,
    in_lines,
    rate,
    row_in_lines,
    time_left,
    unescaped,
    value_with_interval,
)


class PlainLines:
    """Lines on stdout, errors on stderr; a summary at most every `every` seconds."""

    def __init__(self, every: float = 15.0) -> None:
        self._out, self._err, self._every = LastingStream(sys.stdout), LastingStream(sys.stderr), every
        self._lock = threading.RLock()
        self._changes = Changes()
        self._picture: Snapshot | None = None
        self._summed = -every
        self._stale = False

    def show(self, picture: Snapshot) -> None:
        """Name what failed or was cut, and sum up if it is time to."""
        picture = in_lines(picture)
        with self._lock:
            self._picture, self._stale = picture, True
            for row in self._changes.ended(picture):
                self._out.line(f"  {picture.stage} {ended(row)}")
            if time.monotonic() - self._summed >= self._every:
                self._sum_up(picture)

    def epoch(self, row: TrainingRow) -> None:
        """Write `  gan 0003-s0 σ=0.1 w_W=1  epoch 2/4  L_species 0.913 L_position 0.204  Score 0.611 [0.590,
        0.633]`."""
        row = row_in_lines(row)
        with self._lock:
            stage, objective = (self._picture.stage, self._picture.objective) if self._picture else ("", "")
            way = f"/{row.epochs}" if row.epochs else ""
            if row.budget_minutes is not None:
                way = f", {row.minutes:.2f} of {row.budget_minutes:g} min"
            value = f"{objective} {value_with_interval(row)}".strip() if row.value is not None else ""
            parts = (f"{stage} {row.key} {row.shown}".strip(), f"epoch {row.epoch}{way}", row.losses, value)
            self._out.line("  " + "  ".join(part for part in (*parts, rate(row.rate)) if part))

    def say(self, line: str, *, error: bool = False) -> None:
        """Write the line as it is, without escape codes."""
        with self._lock:
            (self._err if error else self._out).line(unescaped(line))

    def settle(self) -> None:
        """Sum up what has not been."""
        with self._lock:
            if self._picture and self._stale:
                self._sum_up(self._picture)

    def result(self, content: dict[str, Any]) -> None:
        """Write nothing: people have been told."""
        del content
        self.settle()

    def close(self) -> None:
        """Sum up what has not been."""
        self.settle()

    def _sum_up(self, picture: Snapshot) -> None:
        self._summed, self._stale = time.monotonic(), False
        way = f"{picture.share:.0%} done, {time_left(picture)}"
        parts = (counts(picture), way, picture.used and f"used {picture.used}", behind(picture))
        shown = "; ".join(part for part in parts if part)
        self._out.line(f"[{picture.elapsed:4.0f} s] {picture.stage}: {shown}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
