"""A sweep on one screen: a row per trial with what it was best by, its mean metrics, and how it did beside another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pandas as pd

from crystalsweep.metrics import SHOWN, headline, ranking_score
from crystalsweep.pages.content import Table, TableRow
from crystalsweep.pages.text import with_interval
from crystalsweep.sweeping.report.beside import Beside
from crystalsweep.sweeping.report.frames import objective_interval, pooled
from crystalsweep.sweeping.report.results import ordered, setting_columns
from crystalsweep.sweeping.space.finished import FinishedSweep
from crystalsweep.sweeping.space.objectives import Objective
from crystalsweep.sweeping.space.outcome import TrainingOutcome
from crystalsweep.training.records import SCORE

BEST = "★"

MEANS = {
    "compositional_validity": "valid",
    "compositional_similarity": "similar",
    "structural_similarity": "in place",
    "masked_accuracy": "accuracy",
}
"""Short column heads of the metrics that one screen has room for, on the terminal and in MLflow's table."""

_NOTE = (
    "★ best. valid, similar: compositional validity and similarity; in place: structural similarity; accuracy: of "
    "masked sites. n: restored crystals, beside a mean where it rests on others. All means have their 95 % intervals "
    "in the report."
)

_REFERENCES = {
    "ceiling": "the true crystals",
    "identity": "the corrupted ones as they are",
    "most common": "the most common element on every masked site",
}

_ENDED = {"pruned": "cut early", "failed": "failed", "stopped": "stopped"}


def overview(finished: FinishedSweep, best: TrainingOutcome | None, beside: Beside | None) -> Table:
    """Return a row per trial in the order of the report, those that did not complete, and the references.

    Args:
        finished: The sweep.
        best: The best training.
        beside: What the last column says of them.
    """
    settings, tables = setting_columns(finished), pooled(finished.done)
    said = beside.cells if beside else {}
    by_number: dict[int, list[TrainingOutcome]] = {}
    for outcome in [*ordered(finished), *(each for each in finished.outcomes if each.state != "complete")]:
        by_number.setdefault(outcome.number, []).append(outcome)
    rows = []
    for number, group in by_number.items():
        chosen = best is not None and number == best.number
        ended = [_ENDED[each.state] for each in group if each.state in _ENDED]
        last = "; ".join(dict.fromkeys([*ended, *([said[number]] if number in said else [])]))
        values = [_value([each for each in group if each.state == "complete"], one) for one in finished.objectives]
        own = [BEST if chosen else "", *(cell(group[0]) for cell in settings.values())]
        rows.append(TableRow(cells=[*own, *values, *_means(tables.get(number)), last], highlighted=chosen))
    for name, table in finished.references.items():
        values = [str(ranking_score(table)) if each.metric == SCORE else "" for each in finished.objectives]
        own = ["", name, *[""] * (len(settings) - 1)]
        rows.append(TableRow(cells=[*own, *values, *_means(table), ""]))
    several = " (seeds)" if len(finished.seeds) > 1 else ""
    titles = [f"{objective.title}{several}" for objective in finished.objectives]
    seeds = "\n(seeds): mean over seeds, and the least and the greatest of them." if several else ""
    heads = ["", *settings, *titles, "n", *MEANS.values(), beside.head if beside else ""]
    named = [f"{name}: {what}" for name, what in _REFERENCES.items() if name in finished.references]
    below = f"\nFor comparison, {'; '.join(named)}." if named else ""
    return Table(heads=heads, rows=rows, note=f"{_NOTE}{below}{seeds}{_equals(finished, best)}")


def _equals(finished: FinishedSweep, best: TrainingOutcome | None) -> str:
    """Return a line on trials that are as good as the best one by the first objective, to the last digit."""
    if best is None:
        return ""
    objective, values = finished.objectives[0], defaultdict(list)
    for outcome in finished.done:
        values[outcome.number].append(objective_interval(outcome, objective)[0])
    means = {number: float(np.mean(each)) for number, each in values.items()}
    if not (others := sum(means[number] == means[best.number] for number in means) - 1):
        return ""
    which = "Another trial has" if others == 1 else f"{others} other trials have"
    return f"\n{which} exactly the same {objective.title} as ★, which is the first of them."


def _value(group: Sequence[TrainingOutcome], objective: Objective) -> str:
    """Return the objective of one training with its interval over crystals, of several their mean and range."""
    if not group:
        return ""
    if len(group) == 1:
        return with_interval(*objective_interval(group[0], objective), undefined="without a value")
    values = np.array([objective_interval(outcome, objective)[0] for outcome in group])
    return f"{values.mean():.3f} ({values.min():.3f} to {values.max():.3f})"


def _means(table: pd.DataFrame | None) -> list[str]:
    """Return how many crystals were restored, and the means over them; one over others has its own n beside it."""
    if table is None:
        return [""] * (len(MEANS) + 1)
    intervals = headline(table, metrics=[metric for metric in SHOWN if metric.name in MEANS])
    found = [(intervals[name].mean, intervals[name].n) for name in MEANS]
    beside = [f" n {n:,}" if n != len(table) else "" for _, n in found]
    return [
        f"{len(table):,}",
        *(f"{mean:.3f}{own}" if n else "n = 0" for (mean, n), own in zip(found, beside, strict=True)),
    ]
