"""Curves over the epochs of many trainings, with those that were cut ended by a cross."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from crystalsweep.plots.style import COLOUR_MAP, PALETTE, REFERENCE, describe, legend_below, panels, save

NAMED = 8
"""Up to so many trainings each has a colour and a line in the legend."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One quantity over the epochs."""

    column: str
    title: str
    definition: str = ""
    level: float | None = None
    """Of a grey line across, as of chance."""
    log: bool = False
    """Where all values are positive."""


def plot_curves(
    history: pd.DataFrame,
    shown: Sequence[Panel],
    path: Path | str,
    *,
    value: str,
    colours: Mapping[str, Any] | None = None,
) -> Path:
    """Plot one panel per quantity, one line per training; control arms dashed, what was cut faint and ended by a
    cross.

    Args:
        history: Columns trial (a name), epoch, state, control, value (what colours tell of many trainings) and those of
            the panels; a row per training and epoch, NaN where not logged.
        shown: What to draw.
        path: Where to write; the suffix decides the format.
        value: What the column `value` is, for the colour bar.
        colours: By name of a training; else its own for each of a few, and by value of many.

    Raises:
        ValueError: Nothing was logged for any of the panels.
    """
    columns = [panel.column for panel in shown if panel.column in history and history[panel.column].notna().any()]
    if not columns:
        raise ValueError(f"No training reported {' or '.join(panel.column for panel in shown)}.")
    drawn = [panel for panel in shown if panel.column in columns]
    figure, axes = panels(len(drawn), columns=3, width=8.5 if len(drawn) == 1 else 4.8, height=3.9)
    complete = [str(name) for name in history.loc[history["state"] == "complete", "trial"].unique()]
    few, given = len(complete) <= NAMED, colours is not None
    if colours is None:
        colours = _named(complete) if few else _shaded(figure, axes, history, value)
    for axis, panel in zip(axes, drawn, strict=True):
        for name, rows in history.groupby("trial", sort=False):
            _line(axis, rows, panel.column, str(name), colours, labelled=few or given)
        _dress(axis, panel, history[panel.column])
    legend_below(figure, columns=4)
    return save(figure, path)


def _named(names: Sequence[str]) -> dict[str, Any]:
    return {name: [*PALETTE, "#7F3C8D"][i] for i, name in enumerate(names)}


def _shaded(figure: Figure, axes: Sequence[Axes], history: pd.DataFrame, value: str) -> dict[str, Any]:
    """Return colours by value, with their bar."""
    values = history[history["state"] == "complete"].groupby("trial", sort=False)["value"].last()
    shade = ScalarMappable(Normalize(values.min(), values.max()), colormaps[COLOUR_MAP])
    figure.colorbar(shade, ax=list(axes), pad=0.01, fraction=0.03).set_label(f"{value} at the end", fontsize=9)
    return {str(name): shade.to_rgba(number) if np.isfinite(number) else REFERENCE for name, number in values.items()}


def _line(
    axis: Axes, rows: pd.DataFrame, column: str, name: str, colours: Mapping[str, Any], *, labelled: bool
) -> None:
    rows = rows.dropna(subset=[column]).sort_values("epoch")
    if rows.empty:
        return
    done, control = rows["state"].iloc[-1] == "complete", bool(rows["control"].iloc[-1])
    color = colours.get(name, REFERENCE)
    axis.plot(
        rows["epoch"],
        rows[column],
        color=color,
        alpha=1.0 if done else 0.55,
        linewidth=1.6 if done else 1.1,
        linestyle="--" if control else "-",
        marker="o" if len(rows) == 1 and done else None,
        markersize=4,
        label=f"{name}{', control' if control else ''}" if done and labelled else None,
        zorder=3 if done else 2,
    )
    if not done:
        cross: dict[str, Any] = {"color": color, "markersize": 6, "linestyle": "none", "zorder": 4}
        axis.plot(rows["epoch"].iloc[-1:], rows[column].iloc[-1:], "x", label="cut, stopped or failed", **cross)


def _dress(axis: Axes, panel: Panel, values: pd.Series) -> None:
    known = values[np.isfinite(values)]
    if panel.log and (known > 0).any():
        axis.set_yscale("symlog", linthresh=float(known[known > 0].min()), linscale=0.4)
    if panel.level is not None:
        axis.axhline(panel.level, color=REFERENCE, linestyle=":", linewidth=1.2, zorder=1)
    describe(axis, panel.title, panel.definition)
    axis.set_xlabel("epoch", fontsize=9)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
