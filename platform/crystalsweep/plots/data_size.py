"""Error over the number of labelled training crystals, by arm (Liu et al., iScience 27, 110672 (2024), Fig. S4).

doi:10.1016/j.isci.2024.110672
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.ticker import FuncFormatter, NullFormatter

from crystalsweep.pages.text import three_digits
from crystalsweep.plots.style import MARKERS, PALETTE, REFERENCE, describe, error_bars, legend_below, panels, save


def plot_data_size(
    curves: Mapping[str, pd.DataFrame], references: Mapping[str, pd.DataFrame], path: Path | str, *, error: str
) -> Path:
    """Plot each arm's error over the number of crystals that it learned from, both axes logarithmic.

    Args:
        curves: By arm, columns n, mean, low and high, ascending in n; bars are 95 % intervals.
        references: Likewise, of what learned no structure: grey lines.
        path: Where to write; the suffix decides the format.
        error: Name and unit of the error.

    Raises:
        ValueError: No arm has two sizes.
    """
    if not any(len(curve) > 1 for curve in curves.values()):
        raise ValueError("No arm has complete trainings on two numbers of crystals.")
    figure, (axis,) = panels(1, width=7.0, height=4.4)
    for name, curve in references.items():
        axis.plot(curve["n"], curve["mean"], color=REFERENCE, linestyle="--", linewidth=1.6, label=name, zorder=1)
    for index, (name, curve) in enumerate(curves.items()):
        style = {"color": PALETTE[index % len(PALETTE)], "marker": MARKERS[index % len(MARKERS)]}
        axis.errorbar(
            curve["n"],
            curve["mean"],
            yerr=error_bars(curve),
            label=name,
            markersize=5,
            linewidth=1.8,
            elinewidth=1.2,
            capsize=2.5,
            **style,  # type: ignore[arg-type]
        )
    axis.set(xscale="log", yscale="log")
    sizes = sorted({int(n) for curve in curves.values() for n in curve["n"]})
    axis.set_xticks(sizes, [f"{n:,}" for n in sizes])
    axis.xaxis.set_minor_formatter(NullFormatter())
    for formatted in (axis.yaxis.set_major_formatter, axis.yaxis.set_minor_formatter):
        formatted(FuncFormatter(lambda value, _: three_digits(value)))
    axis.set_xlabel("labelled training crystals", fontsize=9)
    axis.set_ylabel(error, fontsize=9)
    describe(axis, "How much data does pre-training save?", "validation crystals; bars: 95 % intervals")
    legend_below(figure)
    return save(figure, path)
