"""Size and sha256 of the files of a checkpoint, beside them, by which a damaged one is told from a whole one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from crystalsweep.artifacts.archive import check, manifest
from crystalsweep.artifacts.atomic import file_sha256
from crystalsweep.artifacts.safe_json import read_json

SUMS = "sums.json"
"""Holds them, of every other file."""


def write_sums(folder: Path) -> None:
    """Write the sums of a local folder's files, which are then final."""
    (folder / SUMS).unlink(missing_ok=True)
    _write(folder, manifest(folder))


def renew_sum(folder: Path, name: str) -> None:
    """Write the sum of one file anew, which was changed on purpose; those of the others stay, be they right or not."""
    if (folder / SUMS).exists():
        _write(folder, {**read_json(folder / SUMS), name: _sum(folder / name)})


def require_sums(folder: Path) -> bool:
    """Return whether a folder has sums at all; older checkpoints have none.

    Raises `ValueError` where its files are not those that were summed, naming the first that differ.
    """
    expected = _expected(folder)
    if expected is None:
        return False
    check(folder, {**expected, SUMS: _sum(folder / SUMS)})
    return True


def require_sum(folder: Path, name: str) -> None:
    """Raise `ValueError` where one file is not the one that was summed; without a sum nothing is compared."""
    expected = _expected(folder) or {}
    if name in expected and expected[name] != _sum(folder / name):
        raise ValueError(
            f"{folder / name} was changed or damaged since the checkpoint was written ({SUMS} has another sha256 of "
            "it); copy or download it again, or take another checkpoint"
        )


def _expected(folder: Path) -> dict[str, Any] | None:
    """Return the sums of a folder's files; None where it has none."""
    if not (folder / SUMS).exists():
        return None
    sums = read_json(folder / SUMS)
    if not isinstance(sums, dict):
        raise ValueError(f"{folder / SUMS} is no JSON object; copy or download the checkpoint again")
    return sums


def _sum(path: Path) -> dict[str, int | str]:
    return {"sha256": file_sha256(path), "bytes": path.stat().st_size}


def _write(folder: Path, sums: object) -> None:
    (folder / SUMS).write_text(json.dumps(sums, indent=2, sort_keys=True) + "\n", encoding="utf-8")
