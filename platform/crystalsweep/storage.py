"""Where results are kept when nobody says otherwise."""

from __future__ import annotations

import os
from pathlib import Path


def default_storage() -> Path:
    """$CRYSTALSWEEP_STORAGE, else ~/crystalsweep.

    Not the working directory: a submitted job runs in a folder that its cluster deletes. On several nodes it must be a
    folder that all of them share.
    """
    return Path(os.environ.get("CRYSTALSWEEP_STORAGE") or Path.home() / "crystalsweep").resolve()
