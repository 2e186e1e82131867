"""Energy of generated crystals relative to their originals (Liu et al., iScience 27, 110672 (2024), Fig. 4C).

doi:10.1016/j.isci.2024.110672
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.patches import Patch

from crystalsweep.metrics.bootstrap import clustered_median
from crystalsweep.metrics.summary import ScoreTables
from crystalsweep.plots.style import MARKERS, PALETTE, REFERENCE, error_bars, models_of, save
from crystalsweep.plots.style import panels as make_panels

GEOMETRIES = {"delta_energy": "single point", "delta_energy_relaxed": "relaxed"}
"""Energies by column, in the order of the boxes."""

LINEAR = 0.01
"""eV/atom; the axis is linear up to here and logarithmic beyond."""

_FAILED = "generated: |parent: "
"""In a row's reason where an energy of ΔE failed; that of the hull may fail besides."""

_SHAPELESS = 10
"""Fewer crystals than this are drawn one by one."""


def plot_energies(tables: ScoreTables, path: Path | str) -> Path:
    """Plot Fig. 4C: ΔE per atom, a panel per sigma_noise, a box per model, relaxed beside single point.

    Boxes are quartiles with whiskers from the 5th to the 95th percentile and every crystal beyond as a dot; the marker
    is the median with its 95 % interval, white where one parent leaves none. Nothing is clipped: the axis is linear to
    ±10 meV/atom, logarithmic beyond.

    Args:
        tables: Scores by name with the columns `delta_energy` and, if there, `delta_energy_relaxed` and
            `energy_failure`; models are coloured, references that have energies grey, the ceiling is the zero line.
        path: Where to write; the suffix decides the format.

    Raises:
        ValueError: There is no model, or no model has an energy.
    """
    models = models_of(tables)
    columns = [column for column in GEOMETRIES if any(_values(tables[name], column).notna().any() for name in models)]
    if not columns:
        raise ValueError("No model has a relative energy to draw: evaluate with energies first.")
    names = models + [
        n for n in tables if n not in (*models, "ceiling") and _values(tables[n], columns[0]).notna().any()
    ]
    sigmas = sorted({float(sigma) for name in models for sigma in tables[name]["sigma_noise"].unique()})
    boxes = len(names) * len(columns)
    figure, axes = make_panels(len(sigmas), columns=3, width=max(3.6, 0.62 * boxes + 0.9), height=4.0)
    for axis, sigma in zip(axes, sigmas, strict=True):
        at_sigma = {name: tables[name][tables[name]["sigma_noise"] == sigma] for name in names}
        _panel(axis, at_sigma, columns, models)
        axis.set_title(f"sigma_noise {sigma:g}", fontsize=10, loc="left")
    _share_y(axes)
    handles = [Patch(label=name, **_face(name, models, relaxed=False)) for name in names]
    if len(columns) > 1:
        handles.append(Patch(label="open: relaxed", facecolor="white", edgecolor=REFERENCE))
    note = "box: 25–75 %, whiskers: 5–95 %, marker: median, 95 % interval"
    legend = figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False, fontsize=9, title=note)
    legend.get_title().set(fontsize=8, color="0.35")
    return save(figure, path)


def _values(table: pd.DataFrame, column: str) -> pd.Series:
    """Return finite values of a column, NaN where it has none or is absent."""
    if column not in table:
        return pd.Series(np.nan, table.index)
    return table[column].astype(float).replace([np.inf, -np.inf], np.nan)


def _panel(axis: Axes, tables: ScoreTables, columns: list[str], models: list[str]) -> None:
    ticks: list[tuple[float, str]] = []
    axis.axhline(0, color=REFERENCE, linewidth=1.2, zorder=1)
    for index, (name, table) in enumerate(tables.items()):
        for column in columns:
            x = len(ticks) + 0.4 * index  # a gap between models
            known = _values(table, column).dropna()
            _box(
                axis,
                x,
                known,
                table.loc[known.index, "parent"],
                index,
                _face(name, models, relaxed=column != columns[0]),
            )
            ticks.append((x, _count(table, column, len(known), several=len(columns) > 1)))
    axis.set_xticks([x for x, _ in ticks], [label for _, label in ticks], fontsize=7.5)
    axis.set_xlim(-0.6, ticks[-1][0] + 0.6)
    axis.grid(visible=False, axis="x")


def _count(table: pd.DataFrame, column: str, n: int, *, several: bool) -> str:
    """Return what stands below a box: which energy, the number of crystals in it and of those whose calculation
    failed."""
    lines = [GEOMETRIES[column].replace(" ", "\n")] if several else []
    lines.append(f"n = {n:,}")
    if column == "delta_energy" and "energy_failure" in table:
        same = table["compositional_similarity_permuted"].astype(float) == 1
        failed = same & table["energy_failure"].fillna("").str.contains(_FAILED)
        lines.append(f"{int(failed.sum()):,} failed")
    return "\n".join(lines)


def _face(name: str, models: list[str], *, relaxed: bool) -> dict[str, Any]:
    color = PALETTE[models.index(name) % len(PALETTE)] if name in models else REFERENCE
    return {"edgecolor": color, "facecolor": "white" if relaxed else to_rgba(color, 0.35)}


def _box(axis: Axes, x: float, values: pd.Series, parents: pd.Series, index: int, face: dict[str, Any]) -> None:
    """Draw distribution and median at x; dots alone of a few crystals, nothing of none."""
    line, color = {"color": face["edgecolor"], "linewidth": 1.1}, face["edgecolor"]
    if len(values) < _SHAPELESS:
        axis.plot(np.full(len(values), x), values, ".", color=color, alpha=0.5, markersize=5, zorder=2)
    else:
        axis.boxplot(
            values,
            positions=[x],
            widths=0.7,
            whis=(5, 95),
            patch_artist=True,
            boxprops=face,
            whiskerprops=line,
            capprops=line,
            medianprops={"linewidth": 0},
            flierprops={"marker": ".", "markersize": 3, "mec": "none", "mfc": color, "alpha": 0.4},
            manage_ticks=False,
            zorder=2,
        )
    median = clustered_median(values, parents)
    if median.n:
        row = pd.DataFrame([asdict(median)])
        fill = "white" if np.isnan(median.low) else color
        style: dict[str, Any] = {"color": "black", "mfc": fill, "mec": "black", "markersize": 5.5, "elinewidth": 1.6}
        fmt = MARKERS[index % len(MARKERS)]
        axis.errorbar([x], row["mean"], yerr=error_bars(row), fmt=fmt, capsize=3.5, zorder=4, **style)


def _share_y(axes: list[Axes]) -> None:
    """Set one symmetric-logarithmic range for all panels, with its ticks in full."""
    for axis in axes:
        axis.set_yscale("symlog", linthresh=LINEAR, linscale=0.5)
    low = min(axis.dataLim.y0 for axis in axes)
    high = max(axis.dataLim.y1 for axis in axes)
    decades = [10.0**power for power in range(round(np.log10(LINEAR)), 300)]
    ticks = [-tick for tick in decades[::-1]] + [0.0] + decades
    low, high = min(low, -LINEAR), max(high, LINEAR)
    low, high = max(tick for tick in ticks if tick <= low), min(tick for tick in ticks if tick >= high)
    every = 1 + len([tick for tick in ticks if low <= tick <= high]) // 9
    shown = [tick for tick in ticks if low <= tick <= high and ticks.index(tick) % every == ticks.index(0.0) % every]
    for axis in axes:
        axis.set_yticks(shown, [f"{tick:,g}".replace("-", "−") for tick in shown])
        axis.minorticks_off()
        axis.set_ylim(low, high)
        axis.set_ylabel("ΔE to the original (eV/atom; linear to ±0.01)", fontsize=9)
