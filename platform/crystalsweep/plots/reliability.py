"""Reliability diagrams: what odds say beside what comes true."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from crystalsweep.plots.style import MARKERS, PALETTE, REFERENCE, describe, legend_below, panels, save

Curves = Mapping[str, pd.DataFrame]
"""By name, bins as `metrics.calibration.reliability` gives them."""


def plot_reliability(shown: Mapping[str, Curves], path: Path | str) -> Path:
    """Draw a panel for each title, with the share of hits over the mean probability of every bin, and write it.

    Bars are Wilson's 95 % intervals of a bin's share, as if its cases were independent. On the grey line odds are what
    they say; below it they promise too much.

    Args:
        shown: Curves by title.
        path: PNG to write.

    Raises:
        ValueError: There is no case to draw.
    """
    titles = {title: curves for title, curves in shown.items() if any(len(bins) for bins in curves.values())}
    if not titles:
        raise ValueError("No odds to draw: the table has none.")
    figure, axes = panels(len(titles), width=4.6, height=4.2)
    for axis, (title, curves) in zip(axes, titles.items(), strict=True):
        axis.plot([0, 1], [0, 1], color=REFERENCE, linestyle="--", linewidth=1.2, zorder=1)
        for index, (label, bins) in enumerate(curves.items()):
            low, high = np.array([_wilson(share, n) for share, n in zip(bins["share"], bins["n"], strict=True)]).T
            color, marker = PALETTE[index % len(PALETTE)], MARKERS[index % len(MARKERS)]
            share = bins["share"].to_numpy(dtype=float)
            bars = np.stack([share - low, high - share]).clip(min=0)
            axis.errorbar(
                bins["confidence"], share, yerr=bars, label=label, color=color, fmt=marker, markersize=5, capsize=2
            )
            axis.plot(bins["confidence"], share, color=color, linewidth=0.8, alpha=0.6)
        axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="probability", ylabel="share that is so")
        cases = max(int(bins["n"].sum()) for bins in curves.values())
        describe(axis, title, f"{cases:,} cases in bins of equally many")
    legend_below(figure)
    return save(figure, path)


def _wilson(share: float, n: int) -> tuple[float, float]:
    bounds = binomtest(round(share * n), n).proportion_ci(method="wilson")
    return float(bounds.low), float(bounds.high)
