"""JSON files that hold one pydantic model: read whole, or refused with the file, the mistakes and the remedy."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from crystalsweep.artifacts.safe_json import read_json
from crystalsweep.wording.mistakes import mistakes

Model = TypeVar("Model", bound=BaseModel)


def read_validated(file: Path, model: type[Model], *, absent: str, unfit: str, remedy: str) -> Model:
    """Return what a JSON file holds.

    Args:
        file: Where it should be.
        model: What it should hold.
        absent: What to do where there is no such file in the folder.
        unfit: What the file is where it holds something else.
        remedy: What to do then.

    Raises:
        ValueError: There is no such file, or it holds something else.
    """
    if not file.exists():
        raise ValueError(f"{file.parent} holds no {file.name}: {absent}")
    content = read_json(file)
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise ValueError(f"{file}: {unfit} ({mistakes(error, model, content)}); {remedy}") from error
