"""What is used of zipfile beyond its documented interface; tests/test_private.py names each."""

from __future__ import annotations

import zipfile
from typing import IO


def index_bytes(stream: IO[bytes]) -> int | None:
    """Return the bytes of a zip file's index, found as zipfile finds it; None where it finds none.

    zipfile reads the whole index into memory when it opens a file, and says only then how long it is.
    """
    end = zipfile._EndRecData(stream)  # type: ignore[attr-defined]
    return None if end is None else int(end[5])
