"""What a finished comparison of recipes says: a row per recipe, with what it made of its minutes."""

from __future__ import annotations

from crystalsweep.sweeping.report.results import results_table
from crystalsweep.sweeping.report.sweep import reported_trainings, tell
from crystalsweep.sweeping.space.finished import FinishedSweep, Report
from crystalsweep.sweeping.space.outcome import TrainingOutcome
from crystalsweep.training.records import SCORE

_HISTORY = ("epoch", "loss/species", "loss/position", "val/masked_accuracy", SCORE)


def recipe_report(finished: FinishedSweep) -> Report:
    """Return the report of trainings that had equal minutes: the best, and the best minus each other."""
    trials = reported_trainings(finished)
    table = results_table(
        finished,
        trials,
        {"epochs": lambda outcome: str(len(outcome.history)), "minutes": _minutes},
        note="Minutes: training and validation. A recipe that takes longer per step has made fewer epochs of them.",
    )
    return tell(finished, trials, tables=[table], history=_HISTORY)


def _minutes(outcome: TrainingOutcome) -> str:
    return f"{sum(epoch['time/epoch_s'] for epoch in outcome.history) / 60:.1f}"
