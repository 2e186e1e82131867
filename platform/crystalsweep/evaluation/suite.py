"""Frozen suites: evaluations whose crystals and settings never change, so that figures of years can be compared.

A suite is a JSON file. Those of `suites/` come with the library and are known by name; a group may freeze its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from crystalsweep.config import Config, suggestion
from crystalsweep.evaluation.settings import EvaluationSettings
from crystalsweep.wording.mistakes import mistakes

_SHIPPED = Path(__file__).with_name("suites")


class Suite(Config):
    """Which crystals are corrupted how, and how their restorations are scored."""

    format: Literal[1] = 1
    name: str
    source: str
    """`bundled` or a data set; its train part is what a restored crystal is new against."""
    part: Literal["train", "val", "test", "all"]
    parents_sha256: str
    """Fingerprint of the crystals of that part that pass the settings' filters."""
    settings: EvaluationSettings

    def sha256(self) -> str:
        """Return what identifies the suite; where its data lies does not count."""
        return self.model_copy(update={"source": "", "name": ""}).fingerprint()


def shipped() -> list[str]:
    """Return names of the suites that come with the library."""
    return sorted(file.stem for file in _SHIPPED.glob("*.json"))


def find_suite(name: str) -> Suite:
    """Return a shipped suite by name, or any by its file. Raises `ValueError` where there is none, or it is no
    suite."""
    file = Path(name) if name.endswith(".json") else _SHIPPED / f"{name}.json"
    if not file.exists():
        raise ValueError(f"no suite {name!r}: {suggestion(name, shipped())} or give the path of a suite's .json file")
    content = file.read_text(encoding="utf-8")
    try:
        return Suite.model_validate_json(content)
    except ValidationError as error:
        raise ValueError(f"{file} is no suite: {mistakes(error, Suite, content)}") from None
