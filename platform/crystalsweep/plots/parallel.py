"""Every trial of a sweep as a line through its parameters and its objectives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from crystalsweep.plots.scales import Ruler, Scale
from crystalsweep.plots.style import COLOUR_MAP, panels, save

_UNFINISHED = "0.6"


def plot_parallel(
    trials: pd.DataFrame, parameters: Sequence[Scale], objectives: Sequence[Scale], path: Path | str
) -> Path:
    """Plot axes side by side, parameters first; complete trials coloured by the first objective, all others faint.

    Control arms are dashed.

    Args:
        trials: The columns of the scales, `state` (`complete` or another) and `control`; a row per trial.
        parameters: What was varied.
        objectives: What was measured, the first is the colour; NaN where a trial has no value.
        path: Where to write; the suffix decides the format.

    Raises:
        ValueError: No trial, or no complete one with a first objective.
    """
    first = objectives[0]
    complete = trials[(trials["state"] == "complete") & trials[first.column].notna()]
    if complete.empty:
        raise ValueError("No trial is complete.")
    scales = [*parameters, *objectives]
    figure, (axis,) = panels(1, width=max(7.5, 1.75 * len(scales) + 1.5), height=4.2)
    places = np.column_stack([_axis(axis, i, scale, trials[scale.column]) for i, scale in enumerate(scales)])
    shade = ScalarMappable(_range(complete[first.column]), colormaps[COLOUR_MAP])
    order = np.argsort(trials["state"].eq("complete").to_numpy(), kind="stable")  # complete ones on top
    for row in order:
        trial = trials.iloc[row]
        done = trial["state"] == "complete" and pd.notna(trial[first.column])
        axis.plot(
            range(len(scales)),
            places[row],
            color=shade.to_rgba(trial[first.column]) if done else _UNFINISHED,
            alpha=0.9 if done else 0.45,
            linewidth=1.8 if done else 1.0,
            linestyle="--" if trial["control"] else "-",
            zorder=3 if done else 2,
        )
    axis.set_xticks(range(len(scales)), [scale.title.replace(" ", "\n", 1) for scale in scales], fontsize=9)
    axis.set_yticks([])
    axis.grid(visible=False)
    axis.spines[["left", "bottom"]].set_visible(False)
    axis.tick_params(length=0)
    axis.set_xlim(-0.3, len(scales) - 0.65)
    axis.set_ylim(-0.05, 1.05)
    bar = figure.colorbar(shade, ax=axis, pad=0.01, fraction=0.03)
    bar.set_label(first.label, fontsize=9)
    return save(figure, path)


def _range(values: pd.Series) -> Normalize:
    low, high = float(values.min()), float(values.max())
    return Normalize(low, high if high > low else low + 1e-9)


def _axis(axis: Axes, x: int, scale: Scale, values: pd.Series) -> NDArray[np.float64]:
    """Draw one vertical axis from 0 to 1 with its labels; returns the places (n,) of the values on it."""
    ruler = Ruler(values, log=scale.log)
    places = ruler.at(values)
    known = places[np.isfinite(places)]
    low, span = (known.min(), np.ptp(known)) if len(known) else (0.0, 0.0)
    axis.axvline(x, color="0.25", linewidth=1.0, zorder=1)
    for place, label in ruler.ticks() if len(known) else []:
        y = (place - low) / span if span else 0.5
        axis.plot([x - 0.025, x + 0.025], [y, y], color="0.25", linewidth=1.0, zorder=4)
        text = axis.text(x + 0.05, y, label, fontsize=8, va="center", zorder=5)
        text.set_path_effects([withStroke(linewidth=2.5, foreground="white")])
    return (places - low) / span if span else np.where(np.isfinite(places), 0.5, np.nan)
