"""Where results are kept when nobody says otherwise, and where in a folder a checkpoint is."""

from __future__ import annotations

import os
from pathlib import Path


def default_storage() -> Path:
    """Return $CRYSTALSWEEP_STORAGE, else ~/crystalsweep.

    Not the working directory: a submitted job runs in a folder that its cluster deletes. On several nodes it must be a
    folder that all of them share.
    """
    return Path(os.environ.get("CRYSTALSWEEP_STORAGE") or Path.home() / "crystalsweep").resolve()


def checkpoint_folder(path: Path) -> Path:
    """Return the checkpoint in a run folder, or the folder itself. Raises `ValueError` where there is none."""
    for candidate in (path, path / "checkpoint", *sorted(path.glob("epoch_*"), key=_epoch, reverse=True)):
        if (candidate / "checkpoint.json").exists():
            return candidate.resolve()
    raise ValueError(f"{path} holds no checkpoint; train one with `crystalsweep train … --out {path}`")


def _epoch(folder: Path) -> tuple[int, str]:
    return len(folder.name), folder.name
