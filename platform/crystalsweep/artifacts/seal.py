"""The seal of a registered version: the digest of a list of all its files, by which changed files are found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from crystalsweep.artifacts.archive import MAX_MANIFEST, check, manifest
from crystalsweep.artifacts.atomic import file_sha256

FILES = "FILES.json"
"""Sha256 and size of every other file of a version."""
SEAL = "crystalsweep.files_sha256"
"""Tag of a version: sha256 of its `FILES.json`."""
RECORD = "registry.json"
"""In an export, beside the version's files: what the registry said of it."""
META = "registered_model_meta"
"""Which version a download is, as MLflow writes it beside the files."""
_ADDED = (META, RECORD)
"""What MLflow adds to a download, and an export to an archive."""


class BrokenSealError(ValueError):
    """A version's files are not those that were sealed, or there is no seal to tell."""


def seal(folder: Path) -> str:
    """Write `FILES.json` over a version's files, which are then final; returns its sha256."""
    (folder / FILES).unlink(missing_ok=True)
    (folder / FILES).write_text(json.dumps(manifest(folder), indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return seal_of(folder)


def seal_of(folder: Path) -> str:
    """Return sha256 of a version's `FILES.json`."""
    return file_sha256(folder / FILES)


def require_sealed(folder: Path, expected: str | None = None) -> None:
    """Raise `BrokenSealError`, naming the file, where a version's files are not those that were sealed.

    Args:
        folder: The version's files.
        expected: Sha256 of its `FILES.json`, as the registry has it; without it the folder is held to its own list.
    """
    file = folder / FILES
    if not file.exists():
        raise BrokenSealError(f"{folder} has no {FILES}: it was not registered by `crystalsweep promote`")
    try:
        there = manifest(folder)  # first: of links nothing is read
        found = seal_of(folder)
        if expected is not None and found != expected:
            told = f"{file} has sha256 {found[:12]}, the registry has {expected[:12]}"
            raise BrokenSealError(f"{told}: the files were changed")
        beside = {name: there[name] for name in (FILES, *_ADDED) if name in there}
        check(folder, _sealed(file) | beside)
    except BrokenSealError:
        raise
    except ValueError as error:
        raise BrokenSealError(str(error)) from None


def _sealed(file: Path) -> dict[str, Any]:
    """Return the list of files that a seal is over. Raises `ValueError` where it is none."""
    if file.stat().st_size > MAX_MANIFEST:
        raise ValueError(f"{file} has more than {MAX_MANIFEST:,} bytes: it is no list of files")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is no JSON ({error})") from None
    if not isinstance(content, dict):
        raise ValueError(f"{file} is no JSON object")
    return content
