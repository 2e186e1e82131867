"""What models have learnt after how many minutes: training loss and validation score over wall-clock.

The score is the mean of the four headline metrics (Liu et al., iScience 27, 110672 (2024), Fig. 4).
doi:10.1016/j.isci.2024.110672
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogFormatter

from crystalsweep.plots.style import MARKERS, PALETTE, describe, draw_references, legend_below, panels, save

_FEW = 20
"""Epochs up to which each has its marker."""


def plot_budget(history: pd.DataFrame, path: Path | str, *, references: Mapping[str, float] | None = None) -> Path:
    """Plot two panels over minutes, loss (logarithmic) and score; a colour per model, a line per seed.

    Args:
        history: Columns model, seed, minutes, loss, score; a row per epoch, at its end.
        path: Where to write; the suffix decides the format.
        references: Scores by name, drawn as grey lines.

    Raises:
        ValueError: There is no epoch to draw.
    """
    if history.empty:
        raise ValueError("The history has no epoch: train at least one.")
    figure, (loss, score) = panels(2, width=5.6, height=4.0)
    for axis, column in ((loss, "loss"), (score, "score")):
        _lines(axis, history, column)
        axis.set_xlabel("wall-clock (minutes of training and validation)", fontsize=9)
        axis.set_ylabel(f"{column} (dimensionless)", fontsize=9)
        axis.set_xlim(left=0)
    loss.set_yscale("log")
    for ticks in (loss.yaxis.set_major_formatter, loss.yaxis.set_minor_formatter):
        ticks(LogFormatter(minor_thresholds=(2, 0.5)))
    describe(loss, "Training loss", "mean over each epoch")
    describe(score, "Validation score", "mean of the four headline metrics, after each epoch")
    levels = {name: pd.Series([level]) for name, level in (references or {}).items()}
    draw_references(score, levels, float(history["score"].min()), float(history["score"].max()))
    legend_below(figure)
    return save(figure, path)


def _lines(axis: Axes, history: pd.DataFrame, column: str) -> None:
    for index, (model, rows) in enumerate(history.groupby("model", sort=False)):
        for _, line in rows.groupby("seed"):
            axis.plot(
                line["minutes"],
                line[column],
                color=PALETTE[index % len(PALETTE)],
                marker=MARKERS[index % len(MARKERS)] if len(line) <= _FEW else None,
                markersize=4,
                linewidth=1.6,
                label=str(model),
            )
