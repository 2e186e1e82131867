"""Which trials keep to the limits that a sweep was asked for, and what is said of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crystalsweep.sweeping.space.finished import FinishedSweep
from crystalsweep.sweeping.space.limits import Limit
from crystalsweep.sweeping.space.outcome import TrainingOutcome


@dataclass(frozen=True, kw_only=True)
class KeptTrials:
    """What the limits leave of a sweep's complete trials."""

    controls: Mapping[str, float]
    """By the limited figure, its value in the best control arm; none where no control arm has one."""
    values: Mapping[int, Mapping[str, float]]
    """By number of a complete trial, its figures by metric, means over its seeds."""
    numbers: frozenset[int]
    """Of the complete trials that keep to every limit."""


def kept_trials(finished: FinishedSweep) -> KeptTrials:
    """Return which trials keep to the limits; a trial counts with all its seeds, or not at all."""
    groups: dict[int, list[TrainingOutcome]] = {}
    for outcome in finished.outcomes:
        groups.setdefault(outcome.number, []).append(outcome)
    whole = {n: group for n, group in groups.items() if all(each.state == "complete" for each in group)}
    metrics = [limit.objective.metric for limit in finished.limits]
    values = {
        n: {metric: float(np.mean([each.metrics.get(metric, np.nan) for each in group])) for metric in metrics}
        for n, group in whole.items()
    }
    arms = [values[n] for n, group in whole.items() if group[0].control]
    best = {each.objective.name: each.best(arm[each.objective.metric] for arm in arms) for each in finished.limits}
    known = {name: value for name, value in best.items() if value is not None}
    held = [limit for limit in finished.limits if limit.objective.name in known]
    kept = {n for n in values if all(each.keeps(values[n], known[each.objective.name]) for each in held)}
    return KeptTrials(controls=known, values=values, numbers=frozenset(kept))


def limits_sentences(finished: FinishedSweep, trials: pd.DataFrame) -> list[str]:
    """Return what the limits were, who keeps to them, and what would be best without them.

    Args:
        finished: The sweep.
        trials: A row per trial (`frames.trial_frame`).
    """
    if not finished.limits:
        return []
    kept = kept_trials(finished)
    unknown = [each.objective.title for each in finished.limits if each.objective.name not in kept.controls]
    if unknown:
        return [f"Whether trials keep to the limit on {', '.join(unknown)} cannot be told: no control arm is complete."]
    asked = "; ".join(_asked(each, kept.controls[each.objective.name]) for each in finished.limits)
    complete = trials[trials["state"] == "complete"]
    others = complete[~complete["control"]]
    n = int(others["number"].isin(kept.numbers).sum())
    objective = finished.objectives[0]
    first = (
        f"Asked for was the best {objective.title} of trials that {asked}. {n} of {len(others)} complete trials beside "
        "the control arms do, by their means; what is resolved, the comparisons tell."
    )
    ranked = complete.dropna(subset=[objective.name]).sort_values(
        objective.name, ascending=objective.direction == "minimize", kind="stable"
    )
    if ranked.empty or int(ranked.iloc[0]["number"]) in kept.numbers:
        return [first]
    number = int(ranked.iloc[0]["number"])
    value, lost = ranked.iloc[0][objective.name], _losses(finished.limits, kept, number)
    return [first, f"Without that, trial {number} would be best ({value:.3f}); it loses {lost}."]


def _asked(limit: Limit, control: float) -> str:
    title = limit.objective.title
    return f"lose at most {limit.most:g} of {title} to the best control arm, which has {control:.3f}"


def _losses(limits: Sequence[Limit], kept: KeptTrials, number: int) -> str:
    values = kept.values[number]
    lost = (
        (each.objective.title, each.loss(values[each.objective.metric], kept.controls[each.objective.name]))
        for each in limits
    )
    return ", ".join(f"{loss:.3f} of {title}" for title, loss in lost)
