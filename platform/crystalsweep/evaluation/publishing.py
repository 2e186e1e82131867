"""An evaluation in MLflow: its files and means, on the run of the checkpoint it judges or on one of its own."""

from __future__ import annotations

from pathlib import Path

from crystalsweep.config import as_parameters
from crystalsweep.evaluation.outcome import Outcome
from crystalsweep.provenance import environment
from crystalsweep.tracking import Tracker

ARTIFACTS = "evaluation"
"""Artifact folder, and first part of every metric's name."""

EXPERIMENT = "evaluations"
"""Of evaluations without a run of their own."""


def log_evaluation(tracker: Tracker, outcome: Outcome, folder: Path, run: str | None) -> str:
    """Log to `run`, or to a new run where there is none; returns its id."""
    chosen = run or tracker.start(
        tracker.experiment(EXPERIMENT, folder.resolve().parent / "mlflow-artifacts"),
        outcome.name,
        kind="evaluation",
        params=as_parameters(outcome.settings),
        tags=environment(),
    )
    tracker.log(chosen, _metrics(outcome), 0)
    tracker.tag(chosen, {"crystalsweep.metrics_lock": outcome.metrics_lock})
    tracker.upload(chosen, folder, ARTIFACTS)
    if run is None:
        tracker.finish(chosen, "FINISHED")
    return chosen


def _metrics(outcome: Outcome) -> dict[str, float]:
    """Means with their bounds, and means by condition."""
    named: dict[str, float] = {}
    for metric, figure in outcome.rows[outcome.name].items():
        for key, value in (("", figure.mean), ("/low", figure.low), ("/high", figure.high)):
            if value is not None:
                named[f"{ARTIFACTS}/{metric}{key}"] = value
    for condition, figures in outcome.conditions.get(outcome.name, {}).items():
        for metric, figure in figures.items():
            if figure.mean is not None:
                named[f"{ARTIFACTS}/{condition}/{metric}"] = figure.mean
    return named
