"""Ceiling and baselines beside ranked runs: what they score on the same crystals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from mlflow.entities import Run

from crystalsweep.leaderboard.entries import Entry
from crystalsweep.metrics.baselines import REFERENCES
from crystalsweep.metrics.bootstrap import Interval
from crystalsweep.metrics.summary import METRICS


def references(metric: str, entries: Sequence[Entry], sweeps: Mapping[str, Run]) -> dict[str, Interval]:
    """Return the references by name, from the first evaluation or sweep among the entries' that knows it.

    A sweep logs its references on its own run. Where it did not log their `score`, that follows from their four
    headline means, without an interval.
    """
    found: dict[str, Interval] = {}
    for entry in entries:
        for name, figures in entry.references.items():
            if name in REFERENCES and (figure := figures.get(metric)) is not None:
                values = (figure.mean, figure.low, figure.high)
                mean, low, high = (np.nan if value is None else value for value in values)
                found.setdefault(name, Interval(mean, low, high, figure.n, figure.clusters))
    for sweep in dict.fromkeys(entry.sweep for entry in entries):
        run = sweeps.get(sweep or "")
        for name in REFERENCES if run is not None else ():
            logged = _logged(metric, name.replace(" ", "_"), run.data.metrics) if run is not None else None
            if logged is not None:
                found.setdefault(name, logged)
    return {name: found[name] for name in REFERENCES if name in found}


def _logged(metric: str, name: str, metrics: Mapping[str, float]) -> Interval | None:
    key = f"{name}/{metric}"
    if key in metrics:
        low, high, n = (metrics.get(f"{key}/{part}", np.nan) for part in ("low", "high", "n"))
        return Interval(metrics[key], low, high, int(np.nan_to_num(n)), 0)
    if metric != "score" or any(f"{name}/{each.name}" not in metrics for each in METRICS):
        return None
    structural, compositional, restored, positions = (metrics[f"{name}/{each.name}"] for each in METRICS)
    # All crystals restored or none, and visible atoms kept: the score's shares are products of means.
    shares = (structural, compositional, restored, restored * max(0.0, float(np.nan_to_num(positions))))
    return Interval(float(np.mean(shares)), np.nan, np.nan, 0, 0)
