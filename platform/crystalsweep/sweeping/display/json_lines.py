"""A sweep as JSON lines for machines."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TextIO

from crystalsweep.sweeping.display.changes import Changes
from crystalsweep.sweeping.display.snapshot import Snapshot, TrainingRow
from crystalsweep.sweeping.display.stream import LastingStream
from crystalsweep.sweeping.display.text import unescaped


def as_json(value: Any) -> Any:
    """Return the value in JSON's own types: what is not finite is None, numpy's scalars are numbers, paths are text."""
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [as_json(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: as_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return unescaped(value)
    return as_json(value.tolist()) if hasattr(value, "tolist") else str(value)


class JsonLines:
    """One object per line, each with `event`: `epoch`, `state`, `message` or `result`.

    While it is open, stdout has nothing else: what others print goes to stderr. A `state` comes when the status of a
    training changed, which it lists as `changed`, and else at most every `every` seconds. Messages are on stderr too.
    """

    def __init__(self, every: float = 15.0) -> None:
        self._printed, self._stdout, self._every = sys.stdout, LastingStream(sys.stdout), every
        self._changes = Changes()
        self._lock = threading.RLock()
        self._told = -every
        self._last: Snapshot | None = None
        self._stale = False
        self._kept: TextIO | None = None
        self._redirect()

    def show(self, picture: Snapshot) -> None:
        """Write a `state` event, if something changed or it is time to."""
        with self._lock:
            changed = self._changes.since(picture)
            self._last, self._stale = picture, True
            if changed or time.monotonic() - self._told >= self._every:
                self._tell(picture, changed)

    def epoch(self, row: TrainingRow) -> None:
        """Write an `epoch` event: the row."""
        self._write("epoch", as_json(row))

    def say(self, line: str, *, error: bool = False) -> None:
        """Write a `message` event, and the line on stderr."""
        self._write("message", {"text": line, "error": error})
        LastingStream(sys.stderr).line(line)

    def settle(self) -> None:
        """Write a last `state` event, if there is one to tell."""
        with self._lock:
            if self._last and self._stale:
                self._tell(self._last, [])

    def result(self, content: dict[str, Any]) -> None:
        """Write a `result` event: the content."""
        self.settle()
        self._write("result", content)

    def close(self) -> None:
        """Tell the last state and give stdout back."""
        with self._lock:
            self.settle()
            self._restore()

    def _tell(self, picture: Snapshot, changed: list[TrainingRow]) -> None:
        self._told, self._stale = time.monotonic(), False
        fields = {
            field.name: getattr(picture, field.name) for field in dataclasses.fields(picture) if field.name != "rows"
        }
        shown = {"share": picture.share, "counts": dict(picture.counts), "changed": changed}
        self._write("state", fields | shown)

    def _write(self, event: str, content: Mapping[str, Any]) -> None:
        line = json.dumps({"event": event} | as_json(content), ensure_ascii=False, allow_nan=False)
        with self._lock:
            self._out.line(line)

    def _redirect(self) -> None:
        """Point stdout at stderr, for this process's own descriptor and so for what it starts too."""
        self._stdout.flush()
        try:
            to, stderr = self._stdout.fileno(), sys.stderr.fileno()
        except OSError:  # in memory, as under click's test runner
            self._out, sys.stdout = self._stdout, sys.stderr
            return
        self._kept = os.fdopen(os.dup(to), "w", encoding="utf-8")
        os.dup2(stderr, to)
        self._out = LastingStream(self._kept)

    def _restore(self) -> None:
        if self._kept is not None:
            self._stdout.flush()
            os.dup2(self._kept.fileno(), self._stdout.fileno())
            with suppress(OSError):  # what could not be written is lost
                self._kept.close()
            self._kept = None
        elif sys.stdout is sys.stderr:
            sys.stdout = self._printed
        self._out = self._stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
