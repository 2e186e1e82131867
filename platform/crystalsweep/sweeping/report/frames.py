"""A finished sweep as frames: a row per training, per trial, and per epoch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pandas as pd

from crystalsweep.config import value_at
from crystalsweep.metrics import ranking_score
from crystalsweep.networks.checkpoint import read_info
from crystalsweep.plots.scales import Scale
from crystalsweep.sweeping.report.limits import kept_trials
from crystalsweep.sweeping.space.finished import FinishedSweep
from crystalsweep.sweeping.space.objectives import Objective
from crystalsweep.sweeping.space.outcome import TrainingOutcome
from crystalsweep.sweeping.space.parameters import Parameter, label
from crystalsweep.training.records import SCORE

_UNFINISHED = ("failed", "stopped", "pruned")
"""A trial is what the worst of its trainings is."""

_SAME_SCORE = 1e-6
"""An interval farther off than this is of another table, or of another definition of the score, and is not told."""


def setting(outcome: TrainingOutcome, key: str) -> Any:
    """Return a setting that a training was given, else that of its config, else None."""
    if key in outcome.settings:
        return outcome.settings[key]
    return value_at(read_info(outcome.checkpoint).config, key) if outcome.checkpoint else None


def shown(parameter: Parameter, value: Any) -> Any:
    """Return a value in the parameter's unit: a number where it is one."""
    return value / parameter.unit if isinstance(value, int | float) and not isinstance(value, bool) else value


def parameter_scale(parameter: Parameter) -> Scale:
    """Return the axis of a parameter; its column is its key."""
    paper = shown(parameter, parameter.paper)
    number = float(paper) if isinstance(paper, int | float) and not isinstance(paper, bool) else None
    return Scale(column=parameter.key, title=parameter.title, log=parameter.log, paper=number)


def objective_scale(objective: Objective) -> Scale:
    """Return the axis of an objective; its column is its name."""
    return Scale(column=objective.name, title=objective.title, direction=objective.direction)


def names(finished: FinishedSweep) -> dict[str, str]:
    """Return, by key of a training, its trial's settings as text; told apart by number where two trials have the
    same."""
    order = {parameter.key: i for i, parameter in enumerate(finished.parameters)}
    texts = {}
    for outcome in finished.outcomes:
        settings = sorted(outcome.settings.items(), key=lambda item: order.get(item[0], len(order)))
        texts[outcome.number] = label(finished.parameters, dict(settings))
    often = Counter(texts.values())
    return {
        outcome.key: text if often[text := texts[outcome.number]] == 1 else f"{text} (trial {outcome.number})"
        for outcome in finished.outcomes
    }


def numbered(finished: FinishedSweep) -> bool:
    """Return whether trials have too many settings to be called by them, and are called by their number."""
    return len(finished.parameters) > 2


def short_names(finished: FinishedSweep) -> dict[str, str]:
    """Return, by number of a trial, as text, what a sentence calls it: its settings, or its number where these are
    many."""
    called, many = names(finished), numbered(finished)
    return {
        str(outcome.number): f"trial {outcome.number}" if many else called[outcome.key] for outcome in finished.outcomes
    }


def training_names(finished: FinishedSweep) -> dict[str, str]:
    """Return, by key of a training, what a legend calls it: its trial's short name, and its seed where there are
    several."""
    called, several = short_names(finished), len(finished.seeds) > 1
    return {
        outcome.key: f"{called[str(outcome.number)]}{f' seed {outcome.seed}' if several else ''}"
        for outcome in finished.outcomes
    }


def objective_interval(outcome: TrainingOutcome, objective: Objective) -> tuple[float, float, float]:
    """Return the objective after the last epoch and its 95 % interval over crystals; NaN where there is none."""
    value, low, high = (
        outcome.metrics.get(f"{objective.metric}{part}", float("nan")) for part in ("", "/low", "/high")
    )
    if objective.metric == SCORE and pd.isna(low) and outcome.state == "complete" and outcome.checkpoint:
        interval = ranking_score(outcome.table)
        if abs(interval.mean - value) < _SAME_SCORE:
            low, high = interval.low, interval.high
    return value, low, high


def training_frame(finished: FinishedSweep) -> pd.DataFrame:
    """Return a row per training.

    Columns: key, number, seed, trial (settings as text), state, control, reason, run, epochs, minutes; parameters by
    key; objectives by name, with `/low` and `/high`.
    """
    called = names(finished)
    rows = [
        {
            "key": outcome.key,
            "number": outcome.number,
            "seed": outcome.seed,
            "trial": called[outcome.key],
            "state": outcome.state,
            "control": outcome.control,
            "reason": outcome.reason,
            "run": outcome.run,
            "epochs": outcome.metrics.get("epoch", 0.0),
            "minutes": outcome.seconds / 60,
            **{parameter.key: shown(parameter, setting(outcome, parameter.key)) for parameter in finished.parameters},
            **_objectives(outcome, finished.objectives),
        }
        for outcome in finished.outcomes
    ]
    return pd.DataFrame(rows)


def trial_frame(finished: FinishedSweep, trainings: pd.DataFrame) -> pd.DataFrame:
    """Return a row per trial: number, trial, state, control, parameters by key, mean objectives over its seeds by name.

    A trial is complete when all of its trainings are.
    """
    rows = []
    for _, group in trainings.groupby("number", sort=True):
        states = set(group["state"])
        state = next((each for each in _UNFINISHED if each in states), "complete")
        kept = ["number", "trial", "control", *(parameter.key for parameter in finished.parameters)]
        first: dict[str, Any] = {str(key): value for key, value in group.iloc[0][kept].items()}
        means = {objective.name: group[objective.name].mean() for objective in finished.objectives}
        rows.append({**first, "state": state, **means})
    return pd.DataFrame(rows)


def epoch_frame(finished: FinishedSweep, columns: Sequence[str]) -> pd.DataFrame:
    """Return a row per training and epoch, as `plot_curves` takes them; its `value` is the first objective's last."""
    called, first = training_names(finished), finished.objectives[0].metric
    rows = [
        {
            "trial": called[outcome.key],
            "state": outcome.state,
            "control": outcome.control,
            "value": outcome.metrics.get(first, float("nan")),
            "epoch": epoch.get("epoch", float(i + 1)),
            **{column: epoch.get(column, float("nan")) for column in columns},
        }
        for outcome in finished.outcomes
        for i, epoch in enumerate(outcome.history)
    ]
    return pd.DataFrame(rows, columns=["trial", "state", "control", "value", "epoch", *columns])


def pooled(outcomes: Sequence[TrainingOutcome]) -> dict[int, pd.DataFrame]:
    """Return, by number of the trial, the tables of its complete trainings, told apart by the column `seed`."""
    found: dict[int, list[pd.DataFrame]] = {}
    for outcome in outcomes:
        found.setdefault(outcome.number, []).append(outcome.table.assign(seed=outcome.seed))
    return {number: pd.concat(tables, ignore_index=True) for number, tables in found.items()}


def best_of(finished: FinishedSweep, trainings: pd.DataFrame) -> TrainingOutcome | None:
    """Return the best seed of the trial whose mean of the first objective is best, among complete trials where there
    are any, and among those that keep to the limits where any does.

    None where no training is complete.
    """
    objective = finished.objectives[0]
    done = {outcome.key: outcome for outcome in finished.done}
    rows = trainings[trainings["key"].isin(done)]
    if rows.empty:
        return None
    kept = rows["number"].isin(kept_trials(finished).numbers) if finished.limits else pd.Series(False, rows.index)
    rows = rows[kept] if kept.any() else rows
    whole = ~rows["number"].isin(trainings.loc[trainings["state"] != "complete", "number"])
    rows = rows[whole] if whole.any() else rows
    sign = 1.0 if objective.direction == "maximize" else -1.0
    values = (sign * rows[objective.name]).fillna(float("-inf"))
    means = values.groupby(rows["number"]).transform("mean")
    order = pd.DataFrame({"mean": means, "value": values}).sort_values(
        ["mean", "value"], kind="stable", ascending=False
    )
    return done[str(rows.loc[order.index[0], "key"])]


def _objectives(outcome: TrainingOutcome, objectives: Sequence[Objective]) -> dict[str, float]:
    found: dict[str, float] = {}
    for objective in objectives:
        value, low, high = objective_interval(outcome, objective)
        found |= {objective.name: value, f"{objective.name}/low": low, f"{objective.name}/high": high}
    return found
