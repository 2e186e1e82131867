"""What a finished comparison of recipes says: a row per recipe, and what each change made of the preset's minutes."""

from __future__ import annotations

from dataclasses import dataclass

from crystalsweep.pages.content import Table
from crystalsweep.sweeping.report.beside import Beside, tally
from crystalsweep.sweeping.report.comparison import Pair, compare_trials, over_seeds
from crystalsweep.sweeping.report.frames import pooled, setting
from crystalsweep.sweeping.report.results import results_table
from crystalsweep.sweeping.report.sweep import reported_trainings, tell
from crystalsweep.sweeping.space.finished import FinishedSweep, Report
from crystalsweep.sweeping.space.outcome import TrainingOutcome
from crystalsweep.sweeping.space.parameters import label
from crystalsweep.training.records import SCORE

_HISTORY = ("epoch", "loss/species", "loss/position", "val/masked_accuracy", SCORE)


def recipe_report(finished: FinishedSweep) -> Report:
    """Return the report of trainings that had equal minutes: each beside the preset's recipe, where that is one of
    them, and the best beside each other."""
    trials = reported_trainings(finished)
    table = results_table(
        finished,
        trials,
        {"epochs": lambda outcome: str(len(outcome.history)), "minutes": _minutes},
        note="Minutes: training and validation. A recipe that takes longer per step has made fewer epochs of them.",
    )
    versus = against_preset(finished)
    return tell(
        finished,
        trials,
        tables=[table, *([versus.table] if versus else [])],
        history=_HISTORY,
        beside=versus.beside if versus else None,
    )


@dataclass(frozen=True, kw_only=True)
class Versus:
    """Each recipe minus the preset's."""

    table: Table
    beside: Beside


def against_preset(finished: FinishedSweep) -> Versus | None:
    """Compare each complete trial with the one that changes nothing; None where that or another is not complete."""
    first = next((outcome.number for outcome in finished.done if _changed(finished, outcome) == {}), None)
    changed = {outcome.number: _changed(finished, outcome) for outcome in finished.done if outcome.number != first}
    if first is None or not changed:
        return None
    tables = {str(number): table for number, table in pooled(finished.done).items()}
    pairs: list[Pair] = [(str(number), str(first)) for number in changed]
    comparison = compare_trials(tables, pairs)
    cells = {
        (str(number), str(first)): [str(number), label(finished.parameters, each)] for number, each in changed.items()
    }
    title = (
        "What each change made: a trial minus the preset's recipe, after as many minutes, paired by restored crystal"
    )
    heads = ["trial", "change", "metric", "minus the preset's"]
    told = {number: tally(comparison, [(str(number), str(first))]) for number in changed}
    return Versus(
        table=comparison.table(title, cells, heads, over_seeds(len(finished.seeds), "recipe")),
        beside=Beside(head="beside the preset's", cells={first: "the preset's"} | told, frame=comparison.frame),
    )


def _changed(finished: FinishedSweep, outcome: TrainingOutcome) -> dict[str, object]:
    """Return what a trial has other than the first value of each parameter."""
    own = {parameter.key: setting(outcome, parameter.key) for parameter in finished.parameters}
    return {each.key: own[each.key] for each in finished.parameters if own[each.key] != each.values[0]}


def _minutes(outcome: TrainingOutcome) -> str:
    return f"{sum(epoch['time/epoch_s'] for epoch in outcome.history) / 60:.1f}"
