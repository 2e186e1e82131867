"""Predicted properties against labels: parity, error over the label, reliability of answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalsweep.plots.reliability import plot_reliability
from crystalsweep.plots.style import PALETTE, REFERENCE, describe, legend_below, panels, save

Values = NDArray[np.float64]


def plot_parity(
    label: str, unit: str, wanted: Values, predicted: Values, low: Values, high: Values, path: Path
) -> Path:
    """Draw predictions with their intervals over labels, and the error over the label.

    Args:
        label: What is predicted.
        unit: Of it; may be empty.
        wanted: (M,) labels.
        predicted: (M,).
        low: (M,) lower ends of the intervals; NaN where there are none.
        high: (M,) upper ends.
        path: PNG to write.
    """
    named = f"{label} ({unit})" if unit else label
    figure, axes = panels(2, width=5.0, height=4.4)
    span = float(min(wanted.min(), predicted.min())), float(max(wanted.max(), predicted.max()))
    inside = (low <= wanted) & (wanted <= high)
    given = np.isfinite(low)
    axes[0].plot(span, span, color=REFERENCE, linestyle="--", linewidth=1.2, zorder=1)
    faint = 0.8 if len(wanted) < 300 else 0.35
    groups = [(~given | inside, PALETTE[0], "in its interval" if given.any() else "")]
    groups.append((given & ~inside, PALETTE[1], "outside"))
    for chosen, colour, name in groups:
        if chosen.any():
            style: dict[str, Any] = {"color": colour, "markersize": 4, "linestyle": "none", "alpha": faint}
            axes[0].plot(wanted[chosen], predicted[chosen], "o", label=name or None, **style)
            axes[1].plot(wanted[chosen], (predicted - wanted)[chosen], "o", **style)
    axes[0].set(xlabel=f"label: {named}", ylabel=f"predicted: {named}")
    describe(axes[0], "Predicted against label", f"{len(wanted):,} crystals; on the line they agree")
    axes[1].axhline(0, color=REFERENCE, linestyle="--", linewidth=1.2, zorder=1)
    axes[1].set(xlabel=f"label: {named}", ylabel="predicted − label")
    describe(axes[1], "Error over the label", "a slope says that extremes are drawn to the middle")
    legend_below(figure)
    return save(figure, path)


def plot_answers(question: str, wanted: Values, probability: Values, path: Path, bins: int = 10) -> Path:
    """Draw the share of yes over the probability of yes, in bins of equally many crystals.

    Args:
        question: What was asked, for the title.
        wanted: (M,) 1 for yes.
        probability: (M,) of yes.
        bins: How many.
        path: PNG to write.
    """
    order = np.argsort(probability, kind="stable")
    parts = np.array_split(order, min(bins, len(order)))
    rows = [{"confidence": probability[i].mean(), "share": wanted[i].mean(), "n": len(i)} for i in parts]
    return plot_reliability({question: {"model": pd.DataFrame(rows)}}, path)
