"""A candidate beside the champion: the differences that decided, each with its interval."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from crystalsweep.plots.style import PALETTE, REFERENCE, panels, save

VERDICT_COLOURS = {"better": PALETTE[2], "worse": PALETTE[1], "not resolved": REFERENCE}


def plot_differences(frame: pd.DataFrame, titles: dict[str, str], path: Path) -> None:
    """Draw the verdicts of `metrics.verdicts` (one pair of tables), a row per metric, to `path`."""
    rows = frame[frame["p"].notna()].to_dict("records")
    figure, (axis,) = panels(1, width=7.5, height=0.7 + 0.42 * max(len(rows), 1))
    for i, row in enumerate(rows):
        colour = VERDICT_COLOURS[row["verdict"]]
        axis.plot([row["low"], row["high"]], [i, i], color=colour, linewidth=2.2, solid_capstyle="butt")
        filled = colour if row["verdict"] != "not resolved" else "white"
        axis.plot(row["difference"], i, "o", color=colour, markerfacecolor=filled, markersize=7)
    axis.axvline(0, color="0.2", linewidth=0.9)
    axis.set_yticks(range(len(rows)), [_label(row, titles) for row in rows])
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_xlabel(f"candidate minus {rows[0]['b']}" if rows else "nothing to compare")
    save(figure, path)


def _label(row: Mapping[Hashable, Any], titles: dict[str, str]) -> str:
    arrow = " (lower is better)" if row["better_is"] == "lower" else ""
    return f"{titles.get(str(row['metric']), row['metric'])}{arrow}\n{row['verdict']}"
