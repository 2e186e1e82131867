"""Frozen suites: evaluations whose crystals and settings never change, so that figures of years can be compared.

A suite is a JSON file. Those of `suites/` come with the library and are known by name; a group may freeze its own.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from crystalsweep.config import Config, suggestion
from crystalsweep.evaluation.settings import EvaluationSettings
from crystalsweep.inference.decoding.settings import ARGMAX
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
        told = self.model_copy(update={"source": "", "name": ""}).model_dump(mode="json")
        if self.settings.decode == ARGMAX:
            del told["settings"]["decode"]  # suites frozen before decoders could be chosen keep their sum
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def shipped() -> list[str]:
    """Return names of the suites that come with the library."""
    return sorted(file.stem for file in _SHIPPED.glob("*.json"))


def find_suite(name: str, calculator: str | None = None) -> Suite:
    """Return a shipped suite by name, or any by its file.

    Args:
        name: As users write it.
        calculator: That they name themselves, which a suite needs whose calculator is code.

    Raises:
        ValueError: There is none, it is no suite, or it names another calculator.
    """
    file = Path(name) if name.endswith(".json") else _SHIPPED / f"{name}.json"
    if not file.exists():
        raise ValueError(f"no suite {name!r}: {suggestion(name, shipped())} or give the path of a suite's .json file")
    content = file.read_text(encoding="utf-8")
    try:
        suite = Suite.model_validate_json(content)
    except ValidationError as error:
        raise ValueError(f"{file} is no suite: {mistakes(error, Suite, content)}") from None
    require_own_calculator(suite, calculator)
    return suite


def require_own_calculator(suite: Suite, calculator: str | None) -> None:
    """Raise `ValueError` where a suite's calculator is not the one that the user named.

    A suite is data, and may be a stranger's; `module:factory` runs code of that module with the suite's own words, and
    `uma:FILE` what is pickled in that file. So neither is run unless the user says the same.
    """
    energies = suite.settings.energies
    if calculator is None and not energies.runs_code:
        return
    if calculator is None:
        raise ValueError(
            f"suite {suite.name} has energies computed by {energies.calculator!r}, which would run as code on this "
            "machine: look at it, and only where it is your own name the same with --calculator"
        )
    if calculator != energies.calculator:
        raise ValueError(f"suite {suite.name} has the calculator {energies.calculator!r}, not {calculator!r}")
