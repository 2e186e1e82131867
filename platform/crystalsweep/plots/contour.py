"""A sweep's objective over two of its parameters, with the point of the paper.

The paper's settings are those of Liu et al., iScience 27, 110672 (2024), doi:10.1016/j.isci.2024.110672.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.tri import Triangulation
from numpy.typing import NDArray

from crystalsweep.plots.scales import Ruler, Scale, set_ticks
from crystalsweep.plots.style import COLOUR_MAP, REFERENCE, legend_below, panels, save

FEWEST_TRIALS = 6
"""Distinct points below which no surface is drawn between them."""


def plot_contour(trials: pd.DataFrame, x: Scale, y: Scale, objective: Scale, path: Path | str) -> Path:
    """Plot points coloured by the objective, and between six or more of them a surface that is linear in each
    triangle.

    Points that agree in x and y are averaged for the surface. Control arms are squares outside it, trials that are not
    complete grey crosses, the paper's settings a star where both parameters have one.

    Args:
        trials: The columns of the scales, `state` and `control`; a row per trial.
        x: A numeric parameter.
        y: Another.
        objective: The colour.
        path: Where to write; the suffix decides the format.

    Raises:
        ValueError: No complete trial has a value.
    """
    placed = trials.dropna(subset=[x.column, y.column])
    done = placed[(placed["state"] == "complete") & placed[objective.column].notna()]
    if done.empty:
        raise ValueError("No trial is complete.")
    paper = [] if x.paper is None or y.paper is None else [(x.paper, y.paper)]
    across = Ruler([*placed[x.column], *(point[0] for point in paper)], log=x.log)
    up = Ruler([*placed[y.column], *(point[1] for point in paper)], log=y.log)
    figure, (axis,) = panels(1, width=7.4, height=5.0)
    shade = ScalarMappable(Normalize(done[objective.column].min(), done[objective.column].max()), COLOUR_MAP)
    arms = done[~done["control"]]
    surface = _surface(axis, across.at(arms[x.column]), up.at(arms[y.column]), arms[objective.column], shade)
    for rows, marker, label in ((arms, "o", "complete"), (done[done["control"]], "s", "control arm")):
        if len(rows):
            at = across.at(rows[x.column]), up.at(rows[y.column])
            color = shade.to_rgba(rows[objective.column].to_numpy(float))
            axis.scatter(*at, c=color, marker=marker, s=52, edgecolors="black", linewidths=0.9, label=label, zorder=4)
    cut = placed[placed["state"] != "complete"]
    if len(cut):
        at = across.at(cut[x.column]), up.at(cut[y.column])
        axis.scatter(*at, c=REFERENCE, marker="x", s=30, label="cut, stopped or failed", zorder=3)
    for point in paper:
        at = across.at(point[:1]), up.at(point[1:])
        axis.scatter(*at, c="#D55E00", marker="*", s=420, edgecolors="white", linewidths=1.2, label="paper", zorder=3.5)
    set_ticks(axis, x=across, y=up)
    axis.set_xlim(*_around(across.at([*placed[x.column], *(point[0] for point in paper)])))
    axis.set_ylim(*_around(up.at([*placed[y.column], *(point[1] for point in paper)])))
    axis.grid(visible=not surface)
    axis.set_xlabel(x.title, fontsize=10)
    axis.set_ylabel(y.title, fontsize=10)
    figure.colorbar(shade, ax=axis, pad=0.02).set_label(objective.label, fontsize=9)
    legend_below(figure)
    return save(figure, path)


def _around(places: NDArray[np.float64]) -> tuple[float, float]:
    """Return limits with room for markers."""
    low, high = float(places.min()), float(places.max())
    room = 0.08 * (high - low) or 0.5
    return low - room, high + room


def _surface(
    axis: Axes, x: NDArray[np.float64], y: NDArray[np.float64], values: pd.Series, shade: ScalarMappable
) -> bool:
    """Fill the triangles between distinct points; False where there are too few, or all lie on one line."""
    points = pd.DataFrame({"x": x, "y": y, "value": values.to_numpy()}).groupby(["x", "y"], as_index=False).mean()
    if len(points) < FEWEST_TRIALS or points["value"].nunique() < 2:
        return False
    unit = (points[["x", "y"]] - points[["x", "y"]].min()) / np.ptp(points[["x", "y"]].to_numpy(), axis=0).clip(1e-12)
    if np.linalg.matrix_rank(unit - unit.mean(), tol=1e-6) < 2:
        return False
    triangles = Triangulation(unit["x"], unit["y"]).triangles  # by the picture's shape, whatever the units
    axis.tricontourf(
        Triangulation(points["x"], points["y"], triangles),
        points["value"],
        levels=14,
        cmap=COLOUR_MAP,
        norm=shade.norm,
        alpha=0.75,
        zorder=1,
    )
    return True
