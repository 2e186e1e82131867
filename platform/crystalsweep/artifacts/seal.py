"""The seal of a registered version: the digest of a list of all its files, by which changed files are found."""

from __future__ import annotations

import json
from pathlib import Path

from crystalsweep.artifacts.archive import check, manifest
from crystalsweep.artifacts.atomic import file_sha256

FILES = "FILES.json"
"""Sha256 and size of every other file of a version."""
SEAL = "crystalsweep.files_sha256"
"""Tag of a version: sha256 of its `FILES.json`."""
RECORD = "registry.json"
"""In an export, beside the version's files: what the registry said of it."""
_ADDED = ("registered_model_meta", RECORD)
"""What MLflow adds to a download, and an export to an archive."""


def seal(folder: Path) -> str:
    """Write `FILES.json` over a version's files, which are then final; returns its sha256."""
    (folder / FILES).unlink(missing_ok=True)
    (folder / FILES).write_text(json.dumps(manifest(folder), indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return seal_of(folder)


def seal_of(folder: Path) -> str:
    """Return sha256 of a version's `FILES.json`."""
    return file_sha256(folder / FILES)


def require_sealed(folder: Path, expected: str | None = None) -> None:
    """Raise `ValueError`, naming the file, where a version's files are not those that were sealed."""
    file = folder / FILES
    if not file.exists():
        raise ValueError(f"{folder} has no {FILES}: it was not registered by `crystalsweep promote`")
    found = seal_of(folder)
    if expected is not None and found != expected:
        raise ValueError(f"{file} has sha256 {found[:12]}, the registry has {expected[:12]}: the files were changed")
    there = manifest(folder)
    beside = {name: there[name] for name in (FILES, *_ADDED) if name in there}
    check(folder, json.loads(file.read_text(encoding="utf-8")) | beside)
