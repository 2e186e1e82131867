"""Where results are kept when nobody says otherwise, and where in a folder a checkpoint is."""

from __future__ import annotations

import os
import re
from pathlib import Path
from tempfile import TemporaryDirectory


def default_storage() -> Path:
    """Return $CRYSTALSWEEP_STORAGE, else ~/crystalsweep.

    Not the working directory: a submitted job runs in a folder that its cluster deletes. On several nodes it must be a
    folder that all of them share.
    """
    return Path(os.environ.get("CRYSTALSWEEP_STORAGE") or Path.home() / "crystalsweep").resolve()


def state_folder(storage: str) -> Path:
    """Return where the state of sweeps lies that a database or a report needs as local files.

    It is the storage itself, unless that is an object store.
    """
    return default_storage() if "://" in storage else Path(storage)


def require_writable(folder: Path, remedy: str) -> None:
    """Raise `ValueError` with the remedy where a folder, or the one in which it would be made, takes no files. Leaves
    nothing behind."""
    try:
        there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
        TemporaryDirectory(dir=there).cleanup()
    except OSError as error:
        raise ValueError(f"{folder} cannot be written ({error.strerror}): {remedy}") from error


def folder_name(text: str) -> str:
    """Return a name for a folder that a text names: one level, of at most 80 letters, digits, dots, dashes and
    underscores."""
    return re.sub(r"[^\w.-]+", "-", text)[:80].strip(".-") or "unnamed"


def checkpoint_folder(path: Path) -> Path:
    """Return the checkpoint in a run folder, or the folder itself. Raises `ValueError` where there is none."""
    for candidate in (path, path / "checkpoint", *sorted(path.glob("epoch_*"), key=_epoch, reverse=True)):
        if (candidate / "checkpoint.json").exists():
            return candidate.resolve()
    raise ValueError(f"{path} holds no checkpoint; train one with `crystalsweep train … --out {path}`")


def _epoch(folder: Path) -> tuple[int, str]:
    return len(folder.name), folder.name
