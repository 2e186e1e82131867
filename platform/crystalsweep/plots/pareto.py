"""Trials of a sweep with several objectives that no other trial beats in all of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from crystalsweep.plots.scales import Scale
from crystalsweep.plots.style import PALETTE, REFERENCE, legend_below, panels, save


def non_dominated(values: ArrayLike, directions: Sequence[str]) -> NDArray[np.bool_]:
    """Return (n,) which rows of (n, k) values no other row dominates: at least as good in all columns and better in
    one.

    Equal rows do not dominate each other. A row with a NaN is never among them and dominates none.

    Args:
        values: (n, k).
        directions: `maximize` or `minimize` of each column.
    """
    signs = np.array([1.0 if direction == "maximize" else -1.0 for direction in directions])
    scores = np.asarray(values, dtype=np.float64).reshape(-1, len(signs)) * signs
    known = np.isfinite(scores).all(axis=1)
    compared = np.where(known[:, None], scores, -np.inf)
    as_good = (compared[:, None, :] >= compared[None, :, :]).all(axis=-1)
    better = (compared[:, None, :] > compared[None, :, :]).any(axis=-1)
    dominated = (as_good & better).any(axis=0)
    return np.asarray(known & ~dominated)


def plot_pareto(trials: pd.DataFrame, objectives: Sequence[Scale], path: Path | str) -> Path:
    """Plot a panel per pair of objectives: all complete trials, and the front of that pair as a line.

    Filled are the trials that are on the front of all objectives together, with their number; the others are faint.

    Args:
        trials: Columns number, state, control and those of the objectives; a row per trial.
        objectives: Two or more, with their direction.
        path: Where to write; the suffix decides the format.

    Raises:
        ValueError: Fewer than two objectives, or no complete trial that has them all.
    """
    if len(objectives) < 2:
        raise ValueError("A front is between two objectives or more; this sweep has one.")
    columns = [objective.column for objective in objectives]
    done = trials[(trials["state"] == "complete") & trials[columns].notna().all(axis=1)]
    if done.empty:
        raise ValueError("No complete trial has all objectives.")
    front = non_dominated(done[columns].to_numpy(), [objective.direction for objective in objectives])
    pairs = list(combinations(objectives, 2))
    figure, axes = panels(len(pairs), columns=3, width=4.6, height=3.8)
    for axis, (x, y) in zip(axes, pairs, strict=True):
        _panel(axis, done, front, x, y)
    legend_below(figure)
    return save(figure, path)


def _panel(axis: Axes, done: pd.DataFrame, front: NDArray[np.bool_], x: Scale, y: Scale) -> None:
    looks: Sequence[tuple[pd.DataFrame, str, dict[str, Any]]] = (
        (done[~front], "dominated", {"c": REFERENCE, "alpha": 0.45, "s": 26, "zorder": 2}),
        (done[front], "on the front of all objectives", {"c": PALETTE[0], "s": 42, "zorder": 4}),
    )
    for rows, label, style in looks:
        if len(rows):
            axis.scatter(rows[x.column], rows[y.column], label=label, **style)
    arms = done[done["control"]]
    if len(arms):
        ring: dict[str, Any] = {"facecolors": "none", "edgecolors": PALETTE[1], "linewidths": 1.4, "s": 95, "zorder": 3}
        axis.scatter(arms[x.column], arms[y.column], label="control arm", **ring)
    both = done[[x.column, y.column]]
    line = both[non_dominated(both.to_numpy(), (x.direction, y.direction))].sort_values([x.column, y.column])
    axis.plot(line[x.column], line[y.column], color=PALETTE[0], linewidth=1.2, label="front of the two", zorder=3)
    for _, rows in done[front].groupby([x.column, y.column]):
        numbers = ", ".join(f"{number}" for number in rows["number"])
        place = float(rows[x.column].iloc[0]), float(rows[y.column].iloc[0])
        axis.annotate(numbers, place, (4, 4), textcoords="offset points", fontsize=7.5, zorder=5)
    axis.margins(0.1)
    axis.set_xlabel(x.label, fontsize=8.5)
    axis.set_ylabel(y.label, fontsize=8.5)
