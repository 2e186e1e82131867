"""What an evaluation of a property model is asked for. Imports without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class PropertyRequest:
    """Crystals to predict, and where results go."""

    source: str
    """`bundled`, a data set, or TRAIN,VAL."""
    part: Literal["train", "val", "test"] | None
    """Of it; test by default, or val where there is no test part."""
    out: Path
    """Result folder."""
    name: str
    """What the page calls the model."""
    scratch: Path | None
    """Checkpoint of the same network trained from scratch."""
    max_atoms: int | None
    device: str
