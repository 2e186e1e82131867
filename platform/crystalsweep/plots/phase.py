"""What an adversary changed, over how hard it pushes, at which noise, and how often it learns: a phase diagram.

The paper's point is that of Liu et al., iScience 27, 110672 (2024), doi:10.1016/j.isci.2024.110672: w_W = 0.1, σ = 0.1
and 0.2, ten updates of the generator for each of the discriminator.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle

from crystalsweep.plots.style import PALETTE, panel_grid, save

DIVERGING = "RdBu"
"""Red is worse than the control arm, blue better; white is no difference."""

_SIDE = (1.5, 0.75)
"""Width and height of a cell, inches."""

RESOLVED = ("better", "worse")


@dataclass(frozen=True, kw_only=True)
class PhaseAxis:
    """One direction of the diagram."""

    title: str
    places: Sequence[str]
    """What its cells are called, in order; a diagram without this direction has one place, of no name."""
    paper: Collection[str] | None = None
    """Places that the paper's settings are in; None where the paper sets no such thing."""


def plot_phase(cells: pd.DataFrame, x: PhaseAxis, y: PhaseAxis, across: PhaseAxis, path: Path | str) -> Path:
    """Plot differences from the control arm as cells over x and y, a column of panels for each place of `across` and
    a row for each metric.

    Only cells that were tried are drawn, each with its number: bold where it is resolved, and with the number of trials
    where it is the mean of several. Nothing is drawn between them. The paper's cells have a frame, dashed where the
    paper leaves open where it stands in one of the directions.

    Args:
        cells: Columns x, y, across (places), title (of the metric), difference, better (1 where a greater difference is
            better, else −1), resolved and trials.
        x: Across a panel.
        y: Up a panel.
        across: From panel to panel.
        path: Where to write; the suffix decides the format.

    Raises:
        ValueError: No cell holds a difference.
    """
    known = cells[cells["difference"].notna()]
    if known.empty:
        raise ValueError("No trial and control arm of it are both complete.")
    metrics = list(dict.fromkeys(known["title"]))
    width, height = max(2.6, _SIDE[0] * len(x.places)), max(1.8, _SIDE[1] * len(y.places) + 0.8)
    figure, rows = panel_grid(len(metrics), len(across.places), width=width, heights=[height] * len(metrics))
    for title, axes in zip(metrics, rows, strict=True):
        own = known[known["title"] == title]
        extent = float(own["difference"].abs().max()) or 1.0
        shade = ScalarMappable(Normalize(-extent, extent), DIVERGING)
        for place, axis in zip(across.places, axes, strict=True):
            _draw(axis, own[own["across"] == place], x, y, shade)
            _frame_paper(axis, x, y, across, place)
            axis.set_title(f"{across.title} {place}" if place else "", fontsize=10, loc="left")
        axes[0].set_ylabel(f"{title}\nminus control\n\n{y.title}", fontsize=9)
        figure.colorbar(shade, ax=axes, pad=0.02)
    for axis in rows[-1]:
        axis.set_xlabel(x.title, fontsize=9)
    return save(figure, path)


def _draw(axis: Axes, cells: pd.DataFrame, x: PhaseAxis, y: PhaseAxis, shade: ScalarMappable) -> None:
    axis.grid(visible=False)
    axis.set(xlim=(-0.5, len(x.places) - 0.5), ylim=(-0.5, len(y.places) - 0.5))
    axis.set_xticks(range(len(x.places)), list(x.places))
    axis.set_yticks(range(len(y.places)), list(y.places))
    for cell in cells.to_dict("records"):
        at = x.places.index(cell["x"]), y.places.index(cell["y"])
        colour = shade.to_rgba(np.array([cell["better"] * cell["difference"]]))[0]
        axis.add_patch(Rectangle((at[0] - 0.5, at[1] - 0.5), 1, 1, facecolor=colour, edgecolor="white"))
        several = f"\n{cell['trials']} trials" if cell["trials"] > 1 else ""
        dark = float(np.dot(colour[:3], (0.3, 0.59, 0.11))) < 0.5
        axis.text(
            *at,
            f"{cell['difference']:+.3f}{several}",
            ha="center",
            va="center",
            fontsize=9,
            color="white" if dark else "black",
            fontweight="bold" if cell["resolved"] else "normal",
        )


def _frame_paper(axis: Axes, x: PhaseAxis, y: PhaseAxis, across: PhaseAxis, place: str) -> None:
    """Draw a frame around the paper's cells in the panel of a place; around all where it sets nothing."""
    if across.paper is not None and place not in across.paper:
        return
    open_ended = any(each.paper is None and len(each.places) > 1 for each in (x, y, across))
    style = {"fill": False, "edgecolor": PALETTE[4], "linewidth": 2.5, "linestyle": "--" if open_ended else "-"}
    wide, high = ([each.places.index(p) for p in each.paper or each.places if p in each.places] for each in (x, y))
    for i in wide:
        if y.paper is None:
            axis.add_patch(Rectangle((i - 0.46, -0.46), 0.92, len(y.places) - 0.08, **style))  # type: ignore[arg-type]
            continue
        for j in high:
            axis.add_patch(Rectangle((i - 0.46, j - 0.46), 0.92, 0.92, **style))  # type: ignore[arg-type]
