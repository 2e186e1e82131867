"""How a sweep's objective developed from trial to trial."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from crystalsweep.plots.scales import Scale
from crystalsweep.plots.style import PALETTE, REFERENCE, aside, legend_below, panels, save


def plot_objective_history(trainings: pd.DataFrame, objective: Scale, path: Path | str) -> Path:
    """Plot every training at its trial's number with its interval, and the best trial so far as a line.

    Control arms are open markers, trainings that did not complete grey crosses at their last value. The line is over
    complete trials, by the mean of their seeds.

    Args:
        trainings: Columns number, seed, state, control, value, low, high; a row per training.
        objective: Its title and direction.
        path: Where to write; the suffix decides the format.

    Raises:
        ValueError: No training has a value.
    """
    known = trainings[trainings["value"].notna()]
    if known.empty:
        raise ValueError("No training has a value of the objective.")
    figure, (axis,) = panels(1, width=8.5, height=3.9)
    seeds = sorted(known["seed"].unique())
    done = known["state"] == "complete"
    room = 0.5 if len(seeds) > 1 else 0.0
    shift = {seed: aside(i, len(seeds), room) for i, seed in enumerate(seeds)}
    x = known["number"] + known["seed"].map(shift)
    for rows, label, style in (
        (done & ~known["control"], "complete", {"color": PALETTE[0]}),
        (done & known["control"], "control arm", {"color": PALETTE[1], "mfc": "white"}),
    ):
        if rows.any():
            _points(axis, x[rows], known[rows], label, style)
    cut = known[~done]
    axis.plot(
        x[~done], cut["value"], "x", color=REFERENCE, markersize=6, label="cut, stopped or failed" * bool(len(cut))
    )
    whole = ~known["number"].isin(trainings.loc[trainings["state"] != "complete", "number"])
    best = best_so_far(known[whole], objective.direction)
    axis.step(
        best.index, best, where="post", color="black", linewidth=1.2, zorder=2, label="best so far" * bool(len(best))
    )
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel("trial", fontsize=9)
    axis.set_ylabel(objective.label, fontsize=9)
    legend_below(figure)
    return save(figure, path)


def best_so_far(trainings: pd.DataFrame, direction: str) -> pd.Series:
    """Return the best mean over seeds up to each trial, by the trial's number."""
    means = trainings.groupby("number")["value"].mean().sort_index()
    return means.cummax() if direction == "maximize" else means.cummin()


def _points(axis: Any, x: pd.Series, rows: pd.DataFrame, label: str, style: dict[str, Any]) -> None:
    lengths = np.stack([rows["value"] - rows["low"], rows["high"] - rows["value"]]).astype(float)
    bars = np.nan_to_num(lengths).clip(min=0)
    axis.errorbar(
        x, rows["value"], yerr=bars, fmt="o", markersize=5.5, elinewidth=1.2, capsize=2.5, label=label, **style
    )
