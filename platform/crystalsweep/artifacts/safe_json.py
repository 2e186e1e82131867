"""JSON that a stranger, or a power failure, may have made: every refusal is a `ValueError` that names the file."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

MEND_LINE = "copy the file from elsewhere, or remove that line"
"""What to do about a line that is damaged."""

MAX_JSON = 16 << 20
"""Bytes."""

MAX_DEPTH = 50
"""Lists and objects within each other in a JSON file."""


def require_regular(path: Path) -> int:
    """Return the bytes of a regular file, or of the one that a link leads to. Raises `ValueError` for a folder, pipe or
    device."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path} is no regular file; copy the file itself there")
    return status.st_size


def read_json(path: Path) -> Any:
    """Return the content of a small JSON file. Raises `FileNotFoundError` where there is none."""
    size = require_regular(path)
    if size > MAX_JSON:
        raise ValueError(f"{path} has {size:,} bytes, at most {MAX_JSON:,} are read; download it again")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON ({_why(error)}); copy or download it again") from None
    _require_flat(content, path)
    return content


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file with a JSON object on each line; none where there is no file.

    Raises `ValueError`, with the file and the line, where one is none, as where a power failure cut it off.
    """
    if not path.exists():
        return []
    rows = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"line {number} of {path} is damaged ({_why(error)}); {MEND_LINE}") from None
        if not isinstance(row, dict):
            raise ValueError(f"line {number} of {path} is damaged (no JSON object); {MEND_LINE}")
        rows.append(row)
    return rows


def _why(error: ValueError | RecursionError) -> str:
    """Return what is wrong with a text that is no JSON; Python's own words tell programmers how to read it anyway."""
    if isinstance(error, RecursionError):
        return f"more than {MAX_DEPTH} lists and objects within each other"
    known = isinstance(error, json.JSONDecodeError | UnicodeDecodeError)
    return str(error) if known else "a number of thousands of digits"


def _require_flat(content: Any, path: Path) -> None:
    level = [content]
    for _ in range(MAX_DEPTH):
        below = [each.values() if isinstance(each, dict) else each for each in level if isinstance(each, dict | list)]
        level = [each for values in below for each in values]
        if not level:
            return
    raise ValueError(f"{path} has more than {MAX_DEPTH} lists and objects within each other")
