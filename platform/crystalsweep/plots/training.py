"""Losses and metrics over the epochs of a training (Liu et al., iScience 27, 110672 (2024), Eqs. 2, 3 and 6).

doi:10.1016/j.isci.2024.110672
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from crystalsweep.plots.style import PALETTE, legend_below, panels, save

_DECADES = 30.0
"""Positive curves spanning more than this factor are drawn on a logarithmic axis."""


def plot_training(history: pd.DataFrame, path: Path | str, *, units: Mapping[str, str] | None = None) -> Path:
    """Plot one panel per loss or metric column over the epochs, one line per trial.

    Args:
        history: Columns trial (optional), epoch, and one numeric column per loss or metric; NaN where not logged.
        path: Where to write; the suffix decides the format.
        units: Unit by column, for the axis label; dimensionless where absent.

    Raises:
        ValueError: There is no numeric column to draw.
    """
    named = history if "trial" in history else history.assign(trial="training")
    columns = [name for name in history.select_dtypes("number").columns if name not in ("trial", "epoch")]
    if not columns:
        raise ValueError("The history has no numeric column beside trial and epoch: log at least one loss.")
    figure, axes = panels(len(columns), columns=3 if len(columns) > 4 else 2, width=4.4, height=3.0)
    trials = list(named["trial"].unique())
    for axis, column in zip(axes, columns, strict=True):
        for index, trial in enumerate(trials):
            _line(axis, named[named["trial"] == trial], column, str(trial), index)
        _dress(axis, column, (units or {}).get(column, "dimensionless"), named[column])
    legend_below(figure, columns=5)
    return save(figure, path)


def _line(axis: Axes, rows: pd.DataFrame, column: str, label: str, index: int) -> None:
    rows = rows.dropna(subset=[column]).sort_values("epoch")
    axis.plot(
        rows["epoch"],
        rows[column],
        color=PALETTE[index % len(PALETTE)],
        linestyle=("-", "--", ":")[index // len(PALETTE) % 3],
        marker="o" if len(rows) <= 15 else None,
        markersize=3.5,
        linewidth=1.5,
        label=label,
    )


def _dress(axis: Axes, column: str, unit: str, values: pd.Series) -> None:
    finite = values[np.isfinite(values)]
    if len(finite) and finite.min() > 0 and finite.max() / finite.min() > _DECADES:
        axis.set_yscale("log")
    axis.set_title(column, fontsize=10, loc="left")
    axis.set_xlabel("epoch", fontsize=9)
    axis.set_ylabel(unit, fontsize=9)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
