"""The losses over the weight of the position loss w_pos (Liu et al., iScience 27, 110672 (2024), Fig. S2).

doi:10.1016/j.isci.2024.110672
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crystalsweep.pages.text import three_digits
from crystalsweep.plots.scales import Ruler, Scale, set_ticks
from crystalsweep.plots.style import PALETTE, REFERENCE, describe, legend_below, panels, save

LEVEL = 0.05
"""Relative decrease for each doubling of w_pos below which a loss no longer falls."""


def plateau(weights: Sequence[float], losses: Sequence[float], *, level: float = LEVEL) -> float | None:
    """Return the first of the ascending weights (n,) after which no doubling takes `level` or more off the losses (n,).

    Between two weights the loss is taken to fall by the same share at each doubling, so that what is found does not
    depend on how far they are apart. None where it still falls at the last, or where there is only one.
    """
    doublings = [np.log2(greater / less) for less, greater in pairwise(weights)]
    falls = [
        1 - (after / before) ** (1 / n) >= level for (before, after), n in zip(pairwise(losses), doublings, strict=True)
    ]
    last = max((i + 1 for i, falling in enumerate(falls) if falling), default=0)
    return float(weights[last]) if last < len(falls) else None


def plot_position_weight(
    trainings: pd.DataFrame, weight: Scale, path: Path | str, *, plateau_at: float | None = None
) -> Path:
    """Plot two panels, L_species and L_position of the last epoch over w_pos: thin for each seed, thick for their
    mean.

    Args:
        trainings: Columns of `weight`, seed, species and position; a row per complete training.
        weight: w_pos on a logarithmic scale; its paper's value is a dashed line.
        path: Where to write; the suffix decides the format.
        plateau_at: w_pos from which L_position no longer falls, as `plateau` gives it: the panel is shaded from there.

    Raises:
        ValueError: Fewer than two weights.
    """
    known = trainings.dropna(subset=[weight.column, "species", "position"])
    if known[weight.column].nunique() < 2:
        raise ValueError("Fewer than two values of w_pos have a complete training.")
    ruler = Ruler([*known[weight.column], *([] if weight.paper is None else [weight.paper])], log=weight.log)
    figure, axes = panels(2, width=5.6, height=4.0)
    for axis, column, title in zip(axes, ("species", "position"), ("L_species", "L_position"), strict=True):
        means = known.groupby(weight.column)[column].mean()
        for _, rows in known.sort_values(weight.column).groupby("seed"):
            thin: dict[str, Any] = {"color": PALETTE[5], "linewidth": 0.9, "marker": "o", "markersize": 4.5}
            axis.plot(ruler.at(rows[weight.column]), rows[column], label="a seed", **thin)
        axis.plot(ruler.at(means.index), means, color=PALETTE[0], linewidth=2.2, label="mean over seeds")
        if weight.paper is not None:
            (place,) = ruler.at([weight.paper])
            label = f"paper: {three_digits(weight.paper)}"
            axis.axvline(place, color=PALETTE[1], linestyle="--", linewidth=1.5, label=label)
        if column == "position" and plateau_at is not None:
            (start,) = ruler.at([plateau_at])
            label = f"falls by less than {100 * LEVEL:.0f} % per doubling"
            axis.axvspan(
                start, float(np.nanmax(ruler.at(known[weight.column]))), color=REFERENCE, alpha=0.15, label=label
            )
        describe(axis, title, "mean over the last epoch, dimensionless")
        set_ticks(axis, x=ruler)
        axis.set_xlabel(weight.title, fontsize=9)
        axis.set_ylabel(title, fontsize=9)
    legend_below(figure)
    return save(figure, path)
