"""How often each element is replaced, and replaces: Eq. 7 and Figs. S17B and C of Liu et al.

iScience 27, 110672 (2024), doi:10.1016/j.isci.2024.110672.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from crystalsweep.metrics.replacement import MIN_N, novel_rows, replacement_rates
from crystalsweep.metrics.summary import ScoreTables
from crystalsweep.plots.style import MARKERS, PALETTE, describe, error_bars, legend_below, panels, save
from crystalsweep.structures.elements import atomic_number


def plot_replacement_rates(tables: ScoreTables, path: Path | str) -> Path:
    """Plot Figs. S17B and C (Eq. 7): how often each element is replaced, and replaces, by mask type; two panels per
    table.

    Elements are ordered by the share of parents that hold them, commonest first; those in fewer than ten novel crystals
    of every table, mask type and role are left out. Error bars are 95 %.

    Args:
        tables: Scored tables by name; those without ten novel crystals (ceiling, identity) are left out.
        path: Where to write; the suffix decides the format.

    Raises:
        ValueError: No table has ten novel crystals.
    """
    rates = {name: replacement_rates(table) for name, table in tables.items() if len(novel_rows(table)) >= MIN_N}
    often = {e for frame in rates.values() for e in frame.loc[frame["count"] >= MIN_N, "element"]}
    if not often:
        raise ValueError(f"No table has an element replaced in {MIN_N} or more novel crystals: evaluate more crystals.")
    order = _by_frequency(tables, often)
    figure, axes = panels(2 * len(rates), columns=1, width=max(6.5, 0.17 * len(order) + 1.2), height=2.5)
    masks = sorted({mask for frame in rates.values() for mask in frame["mask_type"]}, key=lambda m: (m != "species", m))
    drawn = [(name, role, frame) for name, frame in rates.items() for role in ("replaced", "replacing")]
    for axis, (name, role, frame) in zip(axes, drawn, strict=True):
        _rates(axis, frame[frame["role"] == role], order, masks)
        what = "X is replaced" if role == "replaced" else "X replaces another element"
        n = frame.drop_duplicates("mask_type").set_index("mask_type")["n"]
        of = ", ".join(f"{mask} {n[mask]}" for mask in masks if mask in n)
        describe(axis, f"{name}: {what}", f"share of the novel crystals of a mask type (Eq. 7); novel crystals: {of}")
    axes[-1].set_xlabel("X, from the commonest element in the parents to the rarest", fontsize=9)
    legend_below(figure, columns=3)
    return save(figure, path)


def _by_frequency(tables: ScoreTables, elements: Iterable[str]) -> list[str]:
    """Return symbols by the number of parents that hold them, commonest first; ties by atomic number."""
    parents = pd.concat([table[["parent", "species_before"]] for table in tables.values()]).drop_duplicates("parent")
    counts = Counter(int(z) for species in parents["species_before"] for z in set(species))
    return sorted(elements, key=lambda name: (-counts[atomic_number(name)], atomic_number(name)))


def _rates(axis: Axes, rows: pd.DataFrame, order: list[str], masks: list[str]) -> None:
    place = {element: i for i, element in enumerate(order)}
    for i, mask in enumerate(masks):
        drawn = rows[(rows["mask_type"] == mask) & rows["element"].isin(order)]
        x = drawn["element"].map(place).astype(float) + 0.27 * (i - (len(masks) - 1) / 2)
        color, marker = PALETTE[i % len(PALETTE)], MARKERS[i % len(MARKERS)]
        axis.errorbar(
            x,
            drawn["mean"],
            yerr=error_bars(drawn),
            fmt=marker,
            color=color,
            label=mask,
            markersize=3.5,
            elinewidth=0.8,
        )
    axis.set_xticks(range(len(order)), order, fontsize=7.5, rotation=90 if len(order) > 40 else 0)
    axis.set_xlim(-0.7, len(order) - 0.3)
    axis.set_ylim(0, None)
    axis.set_ylabel("rate", fontsize=9)
