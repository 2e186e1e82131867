"""SQLite files opened as they lie: never made, and whatever a kill left half written in them played back."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from urllib.parse import quote

_BUSY_S = 10.0
"""Seconds to wait for another program that holds the file, as a sweep or optuna-dashboard may."""


def opened(file: Path) -> sqlite3.Connection:
    """Open a file that is there; mode=ro would refuse one that has to be played back."""
    address = f"file:{quote(str(file))}?mode=rw"
    return sqlite3.connect(address, uri=True, timeout=_BUSY_S, isolation_level=None)
