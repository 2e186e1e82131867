"""Which parameter of a sweep explains most of what its objective did."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from crystalsweep.plots.scales import Scale
from crystalsweep.plots.style import PALETTE, panels, save


def plot_importance(importances: Mapping[str, float], objective: Scale, path: Path | str) -> Path:
    """Plot a bar per parameter, the greatest on top, with its number.

    Args:
        importances: By parameter title.
        objective: Its title.
        path: Where to write; the suffix decides the format.

    Raises:
        ValueError: Fewer than two parameters.
    """
    if len(importances) < 2:
        raise ValueError("Importance compares parameters: there are fewer than two that have one.")
    ordered = sorted(importances.items(), key=lambda item: item[1])
    figure, (axis,) = panels(1, width=7.0, height=0.5 * len(ordered) + 0.9)
    bars = axis.barh([name for name, _ in ordered], [value for _, value in ordered], color=PALETTE[0], height=0.6)
    axis.bar_label(bars, fmt="%.2f", padding=4, fontsize=9)
    axis.margins(x=0.12)
    axis.grid(visible=False, axis="y")
    axis.set_xlabel(f"importance for: {objective.title} (share, dimensionless)", fontsize=9)
    return save(figure, path)
