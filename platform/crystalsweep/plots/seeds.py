"""How far trainings of one setting lie apart that differ in their seed alone, beside the interval of each."""

from __future__ import annotations

from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
import pandas as pd

from crystalsweep.plots.scales import Scale
from crystalsweep.plots.style import PALETTE, error_bars, legend_below, panels, save


def plot_seeds(trainings: pd.DataFrame, objective: Scale, path: Path | str) -> Path:
    """Plot, per setting, each seed with its 95 % interval over crystals, and beside them mean ± standard deviation
    over seeds.

    Args:
        trainings: Columns trial (a name of the setting), seed, value, low, high; a row per complete training.
        objective: Its title and direction.
        path: Where to write; the suffix decides the format.

    Raises:
        ValueError: No setting has two seeds.
    """
    sizes = trainings.dropna(subset=["value"]).groupby("trial", sort=False).size()
    names = list(sizes.index[sizes > 1])
    if not names:
        raise ValueError("Every setting was trained with one seed: how much the seed matters is unknown.")
    figure, (axis,) = panels(1, width=max(6.5, 0.75 * len(names) + 2), height=4.2)
    bar: dict[str, Any] = {"color": PALETTE[1], "fmt": "_", "elinewidth": 5, "alpha": 0.75, "markersize": 12}
    for index, name in enumerate(names):
        rows = trainings[(trainings["trial"] == name) & trainings["value"].notna()].sort_values("seed")
        x = index + np.linspace(-0.3, 0.12, len(rows))
        lengths = error_bars(rows.rename(columns={"value": "mean"}))
        label = "a seed, with its interval over crystals"
        style: dict[str, Any] = {"fmt": "o", "color": PALETTE[0], "markersize": 4.5, "elinewidth": 1.2, "capsize": 2}
        axis.errorbar(x, rows["value"], yerr=lengths, label=label, **style)
        axis.errorbar(index + 0.33, rows["value"].mean(), yerr=rows["value"].std(), label="mean ± SD over seeds", **bar)
    shown = [shorten(str(name), 40, placeholder="…") for name in names]
    axis.set_xticks(
        range(len(names)),
        shown,
        rotation=30 if len(names) > 4 else 0,
        ha="right" if len(names) > 4 else "center",
        fontsize=8,
    )
    axis.set_xlim(-0.6, len(names) - 0.4)
    axis.set_ylabel(objective.label, fontsize=9)
    legend_below(figure)
    return save(figure, path)
