"""A leaderboard: means with intervals from the best to the worst, and bars that join what is not resolved.

Bars are the tie groups of a compact letter display (Piepho, J. Comput. Graph. Stat. 13, 456 (2004),
doi:10.1198/1061860043515), drawn as lines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import blended_transform_factory

from crystalsweep.plots.style import DASHES, PALETTE, REFERENCE, legend_below, panels, save

_NEAR = 1.5
"""References farther off than so many widths of the results are written at the edge: a line would flatten the rows."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """One row."""

    name: str
    mean: float
    low: float
    """NaN where there is no interval."""
    high: float
    control: bool = False
    """Drawn open."""
    named: str = ""
    """What the registry calls it."""


def plot_leaderboard(
    rows: Sequence[Drawn],
    groups: Sequence[Sequence[int]],
    references: Mapping[str, float],
    label: str,
    path: Path | str,
) -> Path:
    """Draw it.

    Args:
        rows: From the best to the worst.
        groups: Positions of rows that are not resolved from each other; of two or more each is a bar.
        references: By name, means of ceiling and baselines.
        label: Of the x axis, with its unit.
        path: Where to write; the suffix decides the format.

    Raises:
        ValueError: There is no row whose mean is defined.
    """
    known = [value for row in rows for value in (row.mean, row.low, row.high) if np.isfinite(value)]
    if not known:
        raise ValueError("No row to draw: pass one whose mean is defined.")
    figure, (axis,) = panels(1, columns=1, width=10.5, height=0.8 + 0.3 * len(rows))
    for y, row in enumerate(rows):
        _row(axis, y, row)
    bars = [group for group in groups if len(group) > 1]
    for k, group in enumerate(bars):
        _bar(axis, group, k)
    _references(axis, references, min(known), max(known))
    axis.set_yticks(range(len(rows)), [row.name for row in rows], fontsize=8.5)
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.set_xlabel(label, fontsize=9)
    legend_below(figure, columns=7)
    return save(figure, path)


def _row(axis: Axes, y: int, row: Drawn) -> None:
    if not np.isfinite(row.mean):
        return
    color = PALETTE[1] if row.named else PALETTE[0]
    label = row.named or ("control arm" if row.control else "run")
    bounds = [[row.mean - row.low], [row.high - row.mean]] if np.isfinite(row.low) else None
    style: dict[str, Any] = {"color": color, "markersize": 6, "elinewidth": 1.4, "capsize": 2.5, "zorder": 4}
    axis.errorbar([row.mean], [y], xerr=bounds, fmt="o", mfc="white" if row.control else color, label=label, **style)


def _bar(axis: Axes, group: Sequence[int], k: int) -> None:
    """Draw a line over the rows of a group, with a dot at each: rows between them may be resolved."""
    beside = blended_transform_factory(axis.transAxes, axis.transData)
    x = 1.012 + 0.014 * k
    axis.plot([x, x], [min(group), max(group)], color="0.6", linewidth=1.2, transform=beside, clip_on=False)
    axis.plot([x] * len(group), list(group), "o", color="0.35", markersize=3.2, transform=beside, clip_on=False)


def _references(axis: Axes, references: Mapping[str, float], low: float, high: float) -> None:
    span = max(high - low, 0.02)
    near = {n: value for n, value in references.items() if low - _NEAR * span <= value <= high + _NEAR * span}
    for name, value in near.items():
        axis.axvline(value, color=REFERENCE, linestyle=DASHES.get(name, "--"), linewidth=1.4, label=name, zorder=1)
    shown = [low, high, *near.values()]
    pad = 0.06 * max(max(shown) - min(shown), 0.02)
    axis.set_xlim(min(shown) - pad, max(shown) + pad)
    if far := [f"{name} {value:.2f}" for name, value in references.items() if name not in near]:
        axis.set_title(f"off scale: {', '.join(far)}", fontsize=8, color="0.35", loc="left")
