"""What a sweep's folder tells of each training beside the ledger, so that this can be made anew.

trainings/0007-s0.json    its settings, and how it ended
histories/0007-s0.jsonl   its epochs
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from crystalsweep.artifacts.atomic import write_whole
from crystalsweep.sweeping.folder import HISTORIES
from crystalsweep.sweeping.space.outcome import TrainingState

TRAININGS = "trainings"

_KEY = re.compile(r"\d{4,}-s\d+")
"""Of a training of the swept stage; a prerequisite is named after its stage."""


@dataclass(frozen=True, kw_only=True)
class TrainingNote:
    """What is noted of a training as it begins, and again as it ends."""

    settings: Mapping[str, Any]
    """By parameter key; of a mutated training the latest ones."""
    control: bool = False
    state: TrainingState = "stopped"
    """How it ended; stopped also while it has not."""
    reason: str = ""
    seconds: float = 0.0
    """For which it held its resources."""


def note_training(folder: Path, key: str, note: TrainingNote) -> None:
    """Replace the note of a training."""
    (folder / TRAININGS).mkdir(parents=True, exist_ok=True)
    content = asdict(note) | {"settings": dict(note.settings)}
    write_whole(folder / TRAININGS / f"{key}.json", json.dumps(content, indent=2, sort_keys=True) + "\n")


def noted_trainings(folder: Path) -> dict[str, TrainingNote]:
    """Return the notes of the swept stage's trainings by key, in order; those that cannot be read are left out."""
    found = {}
    for path in sorted((folder / TRAININGS).glob("*.json")):
        with suppress(OSError, ValueError, TypeError):
            note = TrainingNote(**json.loads(path.read_text()))
            if _KEY.fullmatch(path.stem) and isinstance(note.settings, dict) and note.state in get_args(TrainingState):
                found[path.stem] = note
    return found


def begun_trainings(folder: Path) -> set[str]:
    """Return keys of the swept stage's trainings of which the folder has a note, a history or, where the storage is a
    folder, checkpoints."""
    files = [*(folder / TRAININGS).glob("*.json"), *(folder / HISTORIES).glob("*.jsonl")]
    files += (folder / "checkpoints").glob("*")
    return {path.stem for path in files if _KEY.fullmatch(path.stem)}
