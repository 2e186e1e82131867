"""Metrics over α between a control and its adversarial sister."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from crystalsweep.plots.style import PALETTE, REFERENCE, describe, panels, save


def plot_interpolation(curve: pd.DataFrame, titles: dict[str, str], path: Path | str, *, harmless: float) -> Path:
    """Plot a panel per metric: its mean with its interval over α, and a line where the greatest harmless α is.

    Args:
        curve: As `evaluation.interpolation.curve_of` gives it.
        titles: What each metric is called, by name.
        path: Where to write; the suffix decides the format.
        harmless: The greatest α at which nothing is lost.
    """
    names = list(dict.fromkeys(curve["metric"]))
    figure, axes = panels(len(names), columns=3, width=3.9, height=3.0)
    for axis, name in zip(axes, names, strict=True):
        rows = curve[curve["metric"] == name]
        bars = [rows["mean"] - rows["low"], rows["high"] - rows["mean"]]
        axis.axvline(harmless, color=REFERENCE, linewidth=1, linestyle=(0, (4, 3)))
        axis.errorbar(rows["alpha"], rows["mean"], yerr=bars, color=PALETTE[0], marker="o", markersize=4, capsize=2)
        describe(axis, titles[name], f"n = {int(rows['n'].min()):,}; 95 % over parents")
        axis.set_xlabel("α: 0 control, 1 adversarial", fontsize=9)
    return save(figure, path)
