"""One after the other: who comes while another is served waits, and where too many wait is told so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore, Lock


class BusyError(RuntimeError):
    """Too many wait already."""


class Turns:
    """A place for one, and room for some who wait."""

    def __init__(self, waiting: int) -> None:
        self._place, self._room = Lock(), BoundedSemaphore(waiting + 1)
        self._waiting = waiting

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for the place and have it. Raises `BusyError` where there is no room to wait."""
        if not self._room.acquire(blocking=False):
            raise BusyError(f"{self._waiting} requests wait already; try again in a minute")
        try:
            with self._place:
                yield
        finally:
            self._room.release()
