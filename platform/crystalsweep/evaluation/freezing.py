"""Suites held against their crystals: frozen over those that a source holds now, and checked that it still does."""

from __future__ import annotations

from typing import Literal

from crystalsweep.data import absolute_source
from crystalsweep.evaluation.inputs import read_inputs
from crystalsweep.evaluation.settings import EvaluationSettings
from crystalsweep.evaluation.suite import Suite


def freeze(name: str, source: str, part: Literal["train", "val", "test", "all"], settings: EvaluationSettings) -> Suite:
    """Return a suite over the crystals that `source` holds now."""
    source = absolute_source(source)
    found = read_inputs(source, part, None, settings).data_sha256
    return Suite(name=name, source=source, part=part, parents_sha256=found, settings=settings)


def require_same_crystals(suite: Suite) -> None:
    """Raise `ValueError` where the source no longer holds the crystals that the suite was frozen with."""
    found = read_inputs(suite.source, suite.part, None, suite.settings).data_sha256
    if found != suite.parents_sha256:
        raise ValueError(
            f"suite {suite.name}: {suite.source} ({suite.part}) holds other crystals than it was frozen with "
            f"({found[:12]}, not {suite.parents_sha256[:12]}); restore that file, or freeze a suite of another name"
        )
