"""The first table of a sweep's report, a row per complete training and reference, and tables as text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from textwrap import fill, wrap
from typing import Any

import pandas as pd

from crystalsweep.metrics import HEADERS, cells, footnote
from crystalsweep.pages.content import Table, TableRow
from crystalsweep.sweeping.report.frames import numbered, setting, shown
from crystalsweep.sweeping.space.finished import FinishedSweep, ReportedTraining
from crystalsweep.sweeping.space.outcome import TrainingOutcome
from crystalsweep.sweeping.space.parameters import Parameter
from crystalsweep.wording.stranger import tabulated

Column = Callable[[TrainingOutcome], str]

METRIC_TITLES = {"adversarial.w_wasserstein": "w_W"}
"""Of settings that control arms have and that are no parameter of the sweep; others by their last name."""

TABLE_WIDTH = 110


def setting_columns(finished: FinishedSweep) -> dict[str, Column]:
    """Return what trials differ by, by column title: number where they go by it, parameters, what only control arms
    set."""
    number: dict[str, Column] = {"trial": lambda outcome: str(outcome.number)} if numbered(finished) else {}
    columns = number | {parameter.title: _parameter_cell(parameter) for parameter in finished.parameters}
    known = {parameter.key for parameter in finished.parameters}
    keys = dict.fromkeys(key for outcome in finished.outcomes for key in outcome.settings if key not in known)
    return columns | {METRIC_TITLES.get(key, key.rpartition(".")[2]): _setting_cell(key) for key in keys}


def ordered(finished: FinishedSweep) -> list[TrainingOutcome]:
    """Complete trainings: by the parameters of a grid that is easily overlooked, else best first; seeds together."""
    objective = finished.objectives[0]
    sign = -1.0 if objective.direction == "maximize" else 1.0
    means = pd.Series(dtype=float)
    if finished.done:
        values = {outcome.key: sign * outcome.metrics.get(objective.metric, float("nan")) for outcome in finished.done}
        means = pd.Series(values).groupby([outcome.number for outcome in finished.done]).mean()

    def place(outcome: TrainingOutcome) -> tuple[Any, ...]:
        if numbered(finished):
            return (float(means.fillna(float("inf"))[outcome.number]), outcome.number, outcome.seed)
        return (*(_sortable(setting(outcome, p.key), p) for p in finished.parameters), outcome.number, outcome.seed)

    return sorted(finished.done, key=place)


def results_table(
    finished: FinishedSweep, trials: Sequence[ReportedTraining], extra: Mapping[str, Column], *, note: str = ""
) -> Table:
    """Return settings, metrics with 95 % intervals, what `extra` gives by column title, and the MLflow run.

    With several seeds, a row for all of them together follows those of each trial.
    """
    settings, several = setting_columns(finished), len(finished.seeds) > 1
    rows: list[TableRow] = []
    for number in dict.fromkeys(trial.outcome.number for trial in trials):
        group = [trial for trial in trials if trial.outcome.number == number]
        for trial in group:
            seed = [str(trial.outcome.seed)] if several else []
            own = [cell(trial.outcome) for cell in extra.values()]
            rows.append(TableRow(cells=[*_told(settings, trial), *seed, *cells(trial.table), *own, trial.outcome.run]))
        if len(group) > 1:
            together = pd.concat([trial.table for trial in group], ignore_index=True)
            blank = [""] * (len(extra) + 1)
            told = [*_told(settings, group[0]), f"all {len(group)}", *cells(together), *blank]
            rows.append(TableRow(cells=told, highlighted=True))
    for name, table in finished.references.items():
        before, blank = [""] * (len(settings) - 1 + several), [""] * (len(extra) + 1)
        rows.append(TableRow(cells=[name, *before, *cells(table), *blank], highlighted=several))
    heads = [*settings, *(["seed"] if several else []), *HEADERS, *extra, "MLflow run"]
    known = footnote(finished.references["ceiling"]) if "ceiling" in finished.references else ""
    spread = "Intervals are over crystals, of these trained models: how far seeds lie apart is seen in their rows."
    notes = [known, note, spread if several else ""]
    return Table(heads=heads, rows=rows, note="\n".join(filter(None, notes)))


def audited_ratio(outcome: TrainingOutcome) -> str:
    """Return how great the adversary's gradient on the generator was beside its own, in the last epoch."""
    return f"{outcome.metrics.get('audit/ratio', float('nan')):.3f}"


def as_text(table: Table) -> str:
    """Return a table for a terminal."""
    rows = [row.cells for row in table.rows]
    body = tabulated(rows, headers=table.heads, disable_numparse=True) if rows else ""
    note = "\n".join(fill(line, TABLE_WIDTH) for line in table.note.splitlines())
    return "\n".join(text for text in (table.title, body, note) if text)


def as_sentences(heading: str, words: Sequence[str]) -> str:
    """Return sentences for a terminal below a heading, each with a dash, wrapped."""
    lines = [line for each in words for line in wrap(each, TABLE_WIDTH, initial_indent="- ", subsequent_indent="  ")]
    return "\n".join([heading, *lines])


def _told(settings: Mapping[str, Column], trial: ReportedTraining) -> list[str]:
    return [cell(trial.outcome) for cell in settings.values()]


def _parameter_cell(parameter: Parameter) -> Column:
    def cell(outcome: TrainingOutcome) -> str:
        value = setting(outcome, parameter.key)
        return "" if value is None else parameter.shown(value)

    return cell


def _setting_cell(key: str) -> Column:
    def cell(outcome: TrainingOutcome) -> str:
        value = setting(outcome, key)
        return f"{value:g}" if isinstance(value, float) else "" if value is None else str(value)

    return cell


def _sortable(value: Any, parameter: Parameter) -> tuple[int, float, str]:
    """Return numbers by size, names in the order of the grid, what is missing last."""
    if value in parameter.values and not isinstance(value, int | float):
        return (0, float(parameter.values.index(value)), "")
    number = shown(parameter, value)
    return (0, float(number), "") if isinstance(number, int | float) else (1, 0.0, str(value))
