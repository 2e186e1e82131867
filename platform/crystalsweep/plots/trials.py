"""What the adversarial weight w_W does at each noise (Liu et al., iScience 27, 110672 (2024), Eq. 3 and Fig. 4).

The control arm, w_W = 0, is the same training without the adversary: only a trial outside its band says anything
about the adversary. doi:10.1016/j.isci.2024.110672
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from crystalsweep.metrics.summary import METRICS
from crystalsweep.plots.style import PALETTE, describe, draw_references, error_bars, legend_below, panels, save

_REFERENCES = ("ceiling", "identity")
"""Values of the column `trial` drawn as grey lines across the panel."""

_TITLES = {metric.name: (metric.title, metric.definition) for metric in METRICS}


def plot_trials(trials: pd.DataFrame, path: Path | str) -> Path:
    """Plot panels in two columns, one per metric: x = w_W (symlog), colour = sigma_noise, 95 % error bars.

    Trials with w_W = 0 are open markers; their interval is the shaded band at their sigma.

    Args:
        trials: Columns trial, sigma_noise, w_wasserstein, metric, mean, low, high; rows whose trial is `ceiling` or
            `identity` are the grey lines.
        path: Where to write; the suffix decides the format.

    Raises:
        ValueError: There is no trial beside the references.
    """
    drawn = trials[~trials["trial"].isin(_REFERENCES)]
    if drawn.empty:
        raise ValueError("Only references to draw: pass the rows of at least one trial.")
    present = list(trials["metric"].unique())
    names = [name for name in _TITLES if name in present] + [name for name in present if name not in _TITLES]
    figure, axes = panels(len(names))
    for axis, name in zip(axes, names, strict=True):
        title, definition = _TITLES.get(name, (name, ""))
        _scale(axis, drawn["w_wasserstein"])
        _panel(axis, trials[trials["metric"] == name], drawn)
        describe(axis, title, definition)
        axis.set_ylabel(f"{title.split()[-1].lower()} (dimensionless)", fontsize=9)
    legend_below(figure, columns=4)
    return save(figure, path)


def _panel(axis: Axes, rows: pd.DataFrame, drawn: pd.DataFrame) -> None:
    arms = rows[~rows["trial"].isin(_REFERENCES)]
    sigmas, smallest = sorted(drawn["sigma_noise"].unique()), _smallest(drawn["w_wasserstein"])
    for index, sigma in enumerate(sigmas):
        color, side = PALETTE[index % len(PALETTE)], index - (len(sigmas) - 1) / 2
        at_sigma = arms[arms["sigma_noise"] == sigma]
        control = at_sigma[at_sigma["w_wasserstein"] == 0]
        for low, high in control[["low", "high"]].dropna().to_numpy(dtype=float):
            axis.axhspan(low, high, color=color, alpha=0.13, linewidth=0, zorder=0)
        _points(axis, control, side, smallest, f"σ = {sigma:g}, control arm", {"color": color, "mfc": "white"})
        _points(axis, at_sigma[at_sigma["w_wasserstein"] > 0], side, smallest, f"σ = {sigma:g}", {"color": color})
    levels = {name: rows.loc[rows["trial"] == name, "mean"].dropna() for name in _REFERENCES}
    known = {name: pd.Series([level.mean()]) for name, level in levels.items() if len(level)}
    extent = arms[["mean", "low", "high"]]
    low, high = (float(extent.min().min()), float(extent.max().max())) if extent.notna().any(axis=None) else (0.0, 1.0)
    draw_references(axis, known, low, high)


def _points(axis: Axes, rows: pd.DataFrame, side: float, smallest: float, label: str, style: dict[str, Any]) -> None:
    """Draw means with error bars, set aside by sigma and by repetition so that they do not cover each other."""
    if rows.empty:
        return
    weight = rows["w_wasserstein"].to_numpy(dtype=float)
    shift = side + 0.3 * rows.groupby("w_wasserstein").cumcount().to_numpy()
    x = np.where(weight > 0, weight * 1.15**shift, 0.14 * smallest * shift)
    axis.errorbar(
        x, rows["mean"], yerr=error_bars(rows), fmt="o", markersize=6, elinewidth=1.3, capsize=3, label=label, **style
    )


def _smallest(weights: pd.Series) -> float:
    """Return the least positive weight, where the axis turns from linear to logarithmic; 1 if there is none."""
    positive = weights[weights > 0]
    return float(positive.min()) if len(positive) else 1.0


def _scale(axis: Axes, weights: pd.Series) -> None:
    smallest, ticks = _smallest(weights), sorted(weights.unique())
    axis.set_xscale("symlog", linthresh=smallest, linscale=0.6)
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
    axis.set_xlim(-0.4 * smallest, max(1.6 * max(ticks), 0.4 * smallest))
    axis.set_xlabel("w_W, weight of the adversarial loss (dimensionless; 0 = control arm)", fontsize=9)
