"""Arms and ways of decoding them, by how valid and how similar what they restore is."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from crystalsweep.metrics.bootstrap import Interval
from crystalsweep.metrics.summary import headline
from crystalsweep.plots.pareto import non_dominated
from crystalsweep.plots.style import MARKERS, PALETTE, REFERENCE, legend_below, panels, save

_X, _Y = "compositional_similarity", "compositional_validity"


def plot_decoders(tables: dict[str, pd.DataFrame], path: Path | str) -> Path:
    """Plot compositional validity over compositional similarity, a point per arm and decoder, with their front.

    Args:
        tables: Per-structure tables by `ARM, DECODER`.
        path: Where to write; the suffix decides the format.

    Raises:
        ValueError: There is no table.
    """
    if not tables:
        raise ValueError("No trial is complete.")
    figure, (axis,) = panels(1, width=7.0, height=5.0)
    names = {key: key.rsplit(", ", 1) for key in tables}
    arms = list(dict.fromkeys(arm for arm, _ in names.values()))
    decoders = list(dict.fromkeys(decoder for _, decoder in names.values()))
    points = {key: headline(table) for key, table in tables.items()}
    for key, (arm, decoder) in names.items():
        x, y = points[key][_X], points[key][_Y]
        colour, marker = PALETTE[arms.index(arm) % len(PALETTE)], MARKERS[decoders.index(decoder) % len(MARKERS)]
        axis.errorbar(x.mean, y.mean, _bars(y), _bars(x), color=colour, fmt=marker, markersize=6, elinewidth=0.8)
    front = non_dominated([(each[_X].mean, each[_Y].mean) for each in points.values()], ["maximize", "maximize"])
    best = sorted((each[_X].mean, each[_Y].mean) for each, on in zip(points.values(), front, strict=True) if on)
    axis.plot(*zip(*best, strict=True), color=REFERENCE, linewidth=1.0, zorder=1, label="front of the means")
    for index, arm in enumerate(arms):
        axis.plot([], [], "s", color=PALETTE[index % len(PALETTE)], label=arm)
    for index, decoder in enumerate(decoders):
        axis.plot([], [], MARKERS[index % len(MARKERS)], color="black", mfc="none", label=decoder)
    n = max(len(table) for table in tables.values())
    axis.set(xlabel="compositional similarity", ylabel="compositional validity", title=f"n = {n:,} restored crystals")
    legend_below(figure)
    return save(figure, path)


def _bars(interval: Interval) -> list[list[float]]:
    return [[interval.mean - interval.low], [interval.high - interval.mean]]
