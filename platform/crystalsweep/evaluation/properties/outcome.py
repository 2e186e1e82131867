"""`metrics.json` of a property model's evaluation: figures of each property, beside every baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import FiniteFloat, NonNegativeInt, model_validator

from crystalsweep.artifacts.safe_json import read_json
from crystalsweep.artifacts.validated_json import read_validated
from crystalsweep.config import Config
from crystalsweep.evaluation.outcome import ABSENT, METRICS_FILE, Figure
from crystalsweep.evaluation.properties.asked import PropertyTarget

PREDICTIONS_FILE = "predictions.csv"
"""A row per property, crystal, and model or baseline."""

MODEL_KEYS = ("id", "target", "row")
"""Columns of `PREDICTIONS_FILE` that tell its rows apart."""

Rows = dict[str, dict[str, Figure]]
"""Figures by row name and metric."""


class Verdict(Config):
    """The model against one baseline, or one stratum of it."""

    metric: str
    against: str
    difference: FiniteFloat | None
    """Model minus baseline."""
    low: FiniteFloat | None
    high: FiniteFloat | None
    p: FiniteFloat | None
    p_adjusted: FiniteFloat | None
    """By Holm's method over the comparisons it stands among; null where there is nothing to test."""
    n: NonNegativeInt
    verdict: Literal["better", "worse", "not resolved"]


class Stratum(Config):
    """Crystals of one kind."""

    bin: str
    n: NonNegativeInt
    rows: Rows
    verdicts: list[Verdict]
    """On the headline figure, corrected over all bins of this stratum."""
    confusion: list[list[int]] | None = None
    """The model's, by true and called class."""
    beside: dict[str, list[list[int]]] = {}
    """That of each other row, by its name; empty where nothing is classified, and of older evaluations."""


class TargetOutcome(Config):
    """What was found of one property."""

    target: PropertyTarget
    n: NonNegativeInt
    """Crystals with a label."""
    unlabelled: NonNegativeInt
    """Crystals without, which are predicted and not scored."""
    unpredicted: NonNegativeInt
    """Labelled crystals of which the model gave no number; they are in no figure."""
    trained_on: NonNegativeInt
    """Training crystals with a label, on which baselines are fitted."""
    rows: Rows
    undefined: dict[str, dict[str, str]]
    """By row and metric, why there is no value."""
    verdicts: list[Verdict]
    strata: dict[str, list[Stratum]]
    confusion: dict[str, list[list[int]]]
    """By row, crystals by true and called class; empty where nothing is classified."""


class PropertyEvaluation(Config):
    """Everything a reader needs beside the predictions. No times and no paths of output: the same evaluation twice on a
    CPU gives the same file."""

    format: Literal[1] = 1
    kind: Literal["property"] = "property"
    name: str
    """Row name of the model."""
    model: dict[str, Any]
    data: dict[str, Any]
    settings: dict[str, Any]
    versions: dict[str, str]
    metrics_lock: str
    """Sha256 of settings and versions; figures under different locks need not agree."""
    flags: dict[str, list[str]] = {}
    """By row, what makes its figures hollow."""
    targets: dict[str, TargetOutcome]

    @model_validator(mode="after")
    def _has_own_rows(self) -> PropertyEvaluation:
        for name, each in self.targets.items():
            if self.name not in each.rows:
                raise ValueError(f"targets.{name}: no figures of {self.name!r}")
        return self


def is_property_evaluation(folder: Path) -> bool:
    """Return whether a folder holds the evaluation of a property model, by what its metrics.json says it is."""
    file = folder / METRICS_FILE
    content = read_json(file) if file.exists() else None
    return isinstance(content, dict) and content.get("kind") == "property"


def read_property_outcome(folder: Path) -> PropertyEvaluation:
    """Read a finished evaluation of a property model. Raises `ValueError` where there is none, or it does not fit."""
    return read_validated(
        folder / METRICS_FILE,
        PropertyEvaluation,
        absent=ABSENT,
        unfit="no evaluation of a property model",
        remedy="evaluate again",
    )
