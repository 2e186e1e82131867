"""Looks that the plots share: palette, markers, a figure with panels, and how it is saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from crystalsweep.metrics.summary import ScoreTables

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's colours: told apart with every common colour vision deficiency."""

COLOUR_MAP = "viridis"
"""Of values of an objective: told apart with every common colour vision deficiency, and in grey."""

DASHES: dict[str, Any] = {
    "ceiling": (0, (6, 3)),
    "identity": (0, (1.5, 2)),
    "most common": (0, (4, 2, 1, 2)),
    "substitution": "-",
}
"""Line styles of the references, by name."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")

ALONE = "one parent: no interval"
"""What the legend says of open markers."""

REFERENCE = "0.45"
"""Grey of ceilings, baselines and everything else that is no result."""

DPI = 150


def panels(n: int, *, columns: int = 2, width: float = 5.2, height: float = 3.6) -> tuple[Figure, list[Axes]]:
    """Make a figure with n panels in rows of `columns`; sizes in inches per panel. No global pyplot state is
    touched."""
    columns = min(n, columns)
    rows = -(-n // columns)
    figure = Figure(figsize=(width * columns, height * rows + 0.9), dpi=DPI, layout="constrained")
    figure.get_layout_engine().set(h_pad=0.12, w_pad=0.08)  # type: ignore[union-attr, call-arg]
    FigureCanvasAgg(figure)
    axes = list(np.atleast_1d(figure.subplots(rows, columns)).ravel())
    for axis in axes:
        _dress(axis)
    for axis in axes[n:]:
        axis.remove()
    return figure, axes[:n]


def panel_grid(rows: int, columns: int, *, width: float, heights: Sequence[float]) -> tuple[Figure, list[list[Axes]]]:
    """Make rows of panels (their heights and the panels' width in inches) that share x in a column and y in a row."""
    figure = Figure(figsize=(width * columns + 0.5, sum(heights) + 1.0), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, sharex="col", sharey="row", squeeze=False, height_ratios=list(heights))
    for axis in axes.ravel():
        _dress(axis)
    return figure, [list(row) for row in axes]


def models_of(tables: ScoreTables) -> list[str]:
    """Return the rows that are models; the names of `DASHES` are references.

    Raises:
        ValueError: There is no model, or one without a row.
    """
    models = [name for name in tables if name not in DASHES]
    if not models:
        raise ValueError("Only references to draw: pass the table of at least one model.")
    if empty := [name for name in models if tables[name].empty]:
        raise ValueError(f"No row to draw for {', '.join(empty)}: evaluate at least one crystal.")
    return models


def aside(index: int, n: int, room: float = 0.7) -> float:
    """Return sideways shift of the index-th of n things that stand at one x, `room` wide altogether."""
    return room * (index - (n - 1) / 2) / max(n, 1)


def draw_points(axis: Axes, x: NDArray[np.float64], rows: pd.DataFrame, index: int, label: str, small: int = 0) -> None:
    """Draw means with error bars (columns mean, low, high, n) in the index-th colour and marker.

    A mean without an interval (one parent crystal) is an open marker; n is printed beside a mean of fewer than `small`.

    Args:
        axis: Where to draw.
        x: Places of the rows.
        rows: Columns mean, low, high, n.
        index: Of colour and marker.
        label: For the legend.
        small: Values below which n is printed.
    """
    color, marker = PALETTE[index % len(PALETTE)], MARKERS[index % len(MARKERS)]
    style: dict[str, Any] = {"color": color, "fmt": marker, "markersize": 5, "elinewidth": 1.4, "capsize": 2.5}
    alone = (rows["low"].isna() & rows["mean"].notna()).to_numpy()
    axis.errorbar(x, rows["mean"].where(~alone), yerr=error_bars(rows), label=label, zorder=4, **style)
    if alone.any():
        axis.plot(x[alone], rows["mean"][alone], marker, color=color, mfc="white", markersize=5, zorder=4)
        axis.plot([], [], "o", color=REFERENCE, mfc="white", markersize=5, label=ALONE)
    for at, mean, high, n in zip(x, rows["mean"], rows["high"], rows["n"], strict=True):
        if n < small and np.isfinite(mean):
            top = (at, mean if np.isnan(high) else high)
            text = axis.annotate(f"n={n}", top, (0, 4), textcoords="offset points", ha="center", zorder=5)
            text.set(fontsize=7, color=color, path_effects=[withStroke(linewidth=2, foreground="white")])


def _dress(axis: Axes) -> None:
    axis.grid(visible=True, color="0.92", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def describe(axis: Axes, title: str, definition: str) -> None:
    """Write the title of a panel and, below it in small print, what it shows."""
    axis.set_title(title, fontsize=11, loc="left", pad=20)
    axis.text(0, 1.02, definition, transform=axis.transAxes, fontsize=7.5, color="0.35")


def draw_references(axis: Axes, levels: Mapping[str, pd.Series], low: float, high: float) -> None:
    """Draw grey dashed lines over the noise levels (or across, for a single value), and a y range that shows the
    results.

    Args:
        axis: Where to draw.
        levels: By name, the values over x; a Series of length one is drawn across the panel.
        low: Lowest result, error bar included.
        high: Highest. A reference far off this range would flatten the results: it is written at the edge instead.
    """
    span = max(high - low, 0.02)
    inside = {n: s for n, s in levels.items() if low - 1.5 * span <= s.min() and s.max() <= high + 1.5 * span}
    for name, level in inside.items():
        style: dict[str, Any] = {"color": REFERENCE, "linestyle": DASHES.get(name, "--"), "label": name, "zorder": 1}
        if len(level) == 1:
            axis.axhline(float(level.iloc[0]), linewidth=1.6, **style)
        else:
            axis.plot(level.index, level, linewidth=1.6, **style)
    shown = [low, high, *(edge for level in inside.values() for edge in (level.min(), level.max()))]
    pad = 0.08 * max(max(shown) - min(shown), 0.02)
    outside = [f"{name} {level.mean():.2f}" for name, level in levels.items() if len(level) and name not in inside]
    axis.set_ylim(min(shown) - (2 * pad if outside else pad), max(shown) + pad)
    if outside:
        note = fill("off scale: " + ", ".join(outside), 50)
        text = axis.text(0.99, 0.02, note, transform=axis.transAxes, fontsize=8, color="0.35", ha="right", va="bottom")
        text.set_in_layout(False)  # a long note must not shrink its panel


def error_bars(rows: pd.DataFrame) -> NDArray[np.float64]:
    """Return (2, n) lengths below and above the columns mean, low, high; zero where one parent left no interval."""
    return np.nan_to_num(np.stack([rows["mean"] - rows["low"], rows["high"] - rows["mean"]])).clip(min=0)


def legend_below(figure: Figure, columns: int = 4) -> None:
    """Draw one legend for the figure, from what its panels show, each label once."""
    unique: dict[str, Any] = {}
    for axis in figure.axes:
        handles, labels = axis.get_legend_handles_labels()
        unique |= dict(zip(labels, handles, strict=True))
    labels = sorted(unique, key=lambda label: label in DASHES or label == ALONE)  # stable: the references come last
    if labels:
        shown = [unique[label] for label in labels]
        figure.legend(shown, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)


def save(figure: Figure, path: Path | str) -> Path:
    """Write the figure (format by suffix) and return its path; folders are made."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    engine = figure.get_layout_engine()
    if engine is not None and figure.axes:
        engine.execute(figure)  # else matplotlib draws everything once more to lay it out: half of the time
        figure.set_layout_engine("none")
    figure.savefig(target, dpi=DPI)
    return target
