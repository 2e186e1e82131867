"""Output that is written if it can be: a full disk, a closed pipe or a terminal that is gone never stops a sweep."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from crystalsweep.wording.stranger import plain

GONE = (errno.EPIPE, errno.EIO)
"""Nobody reads any more: a pipe's reader has ended, or the terminal was closed."""


class LastingStream(io.TextIOBase):
    """A text stream whose writes never fail; characters its encoding lacks become `?`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Return the stream's own."""
        return self._stream.encoding or "utf-8"

    def write(self, text: str) -> int:
        """Return all of the text, or as much as goes; its length."""
        with self._lasting():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush; what a full disk has no room for is tried again at the next flush."""
        with self._lasting():
            self._stream.flush()

    def line(self, text: str) -> None:
        """Write a line, whoever wrote it, as plain text, and flush."""
        self.write(f"{plain(text)}\n")
        self.flush()

    def isatty(self) -> bool:
        """Return what the stream itself says."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Return the stream's own."""
        return self._stream.fileno()

    @contextmanager
    def _lasting(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in GONE:  # without this the interpreter would complain when it ends
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)
        except ValueError:  # the stream is closed
            pass
