"""Validity and similarity by mask type and noise (Liu et al., iScience 27, 110672 (2024), Fig. 4A and 4B).

doi:10.1016/j.isci.2024.110672
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from crystalsweep.metrics.summary import METRICS, Metric, ScoreTables, summarise
from crystalsweep.plots.style import (
    PALETTE,
    aside,
    draw_points,
    draw_references,
    legend_below,
    models_of,
    panel_grid,
    save,
)

MASKS = {"species": "species (α)", "random15": "random15 (β)", "random30": "random30 (γ)"}
"""The paper's mask types, in its order, with its letters."""

NUMBERED_BELOW = 30
"""A mean of fewer crystals has its number printed."""

_ROOM = 0.7
"""Of the distance between two noise levels, what the models take up."""

_CENTRAL = (0.01, 0.99)
"""Quantiles between which a distribution is drawn."""

_SHAPELESS = 10
"""Fewer crystals than this are drawn one by one."""

_NAMED = {metric.name: metric for metric in METRICS}


def plot_validity(tables: ScoreTables, path: Path | str) -> Path:
    """Plot Fig. 4A: structural and compositional validity, a column per mask type, over sigma_noise.

    Args:
        tables: Scores by name: models get a point with its 95 % interval, references grey lines.
        path: Where to write; the suffix decides the format.

    Raises:
        ValueError: There is no model beside the references, or one without a row.
    """
    return _plot(tables, path, ("structural_validity", "compositional_validity"), heights=(2.9, 2.9))


def plot_similarity(tables: ScoreTables, path: Path | str) -> Path:
    """Plot Fig. 4B: compositional and structural similarity, a column per mask type, over sigma_noise.

    The structural similarity is a distribution over crystals (violins, from the 1st to the 99th percentile) with its
    mean and 95 % interval. Arguments and errors as in `plot_validity`.
    """
    return _plot(tables, path, ("compositional_similarity", "structural_similarity"), heights=(2.7, 3.5))


def mask_order(tables: ScoreTables) -> list[str]:
    """Mask types in the paper's order (α, β, γ), then the others by name."""
    found = {str(mask) for table in tables.values() for mask in table["mask_type"].unique()}
    return [mask for mask in MASKS if mask in found] + sorted(found - set(MASKS))


def _plot(tables: ScoreTables, path: Path | str, names: Sequence[str], heights: Sequence[float]) -> Path:
    models = models_of(tables)
    shown = {name: tables[name] for name in models}
    masks = mask_order(shown)
    sigmas = sorted({float(sigma) for table in shown.values() for sigma in table["sigma_noise"].unique()})
    figure, rows = panel_grid(
        len(names), len(masks), width=max(3.4, 0.55 * len(sigmas) + 1, 6.4 - len(masks)), heights=heights
    )
    for axes, name in zip(rows, names, strict=True):
        _row(axes, tables, _NAMED[name], masks, sigmas)
    for mask, top, bottom in zip(masks, rows[0], rows[-1], strict=True):
        top.set_title(f"mask type {MASKS.get(mask, mask)}", fontsize=10, loc="left")
        bottom.set_xticks(range(len(sigmas)), [f"{sigma:g}" for sigma in sigmas])
        bottom.set_xlim(-0.55, len(sigmas) - 0.45)
        bottom.set_xlabel("sigma_noise (of the shortest distance)", fontsize=9)
    legend_below(figure, columns=max(4, len(models)))
    return save(figure, path)


def _row(
    axes: Sequence[Axes], tables: ScoreTables, metric: Metric, masks: Sequence[str], sigmas: Sequence[float]
) -> None:
    """Draw one metric over the mask types, with one range of y."""
    models = models_of(tables)
    means = {name: _means(tables[name], metric, intervals=name in models) for name in tables}
    extents = [means[name][["mean", "low", "high"]].to_numpy(dtype=float) for name in models]
    ranges = []
    for axis, mask in zip(axes, masks, strict=True):
        for index, name in enumerate(models):
            x = np.arange(len(sigmas), dtype=np.float64) + aside(index, len(models), _ROOM)
            if metric.name == "structural_similarity":
                rows, places = tables[name][tables[name]["mask_type"] == mask], dict(zip(sigmas, x, strict=True))
                width, color = 0.9 * _ROOM / len(models), PALETTE[index % len(PALETTE)]
                extents.append(_violins(axis, rows, metric, places, width, color))
            draw_points(axis, x, _at(means[name], mask, sigmas), index, name, NUMBERED_BELOW)
    known = np.concatenate([extent.ravel() for extent in extents])
    known = known[np.isfinite(known)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    for axis, mask in zip(axes, masks, strict=True):
        if not any(_at(means[name], mask, sigmas)["mean"].notna().any() for name in models):
            axis.text(0.5, 0.5, "no value", transform=axis.transAxes, color="0.35", ha="center", fontsize=9)
        levels = {n: _at(means[n], mask, sigmas)["mean"] for n in tables if n not in models}
        draw_references(axis, {name: level for name, level in levels.items() if level.notna().any()}, low, high)
        ranges.append(axis.get_ylim())
    axes[0].set_ylim(min(bottom for bottom, _ in ranges), max(top for _, top in ranges))
    axes[0].set_ylabel(f"{metric.title}\n{fill(metric.definition, 44)}", fontsize=8.5)


def _means(table: pd.DataFrame, metric: Metric, *, intervals: bool) -> pd.DataFrame:
    return summarise(table, metrics=(metric,), n_resamples=1000 if intervals else 1)


def _at(means: pd.DataFrame, mask: str, sigmas: Sequence[float]) -> pd.DataFrame:
    """Return the rows of a mask type, one per noise level, NaN and n = 0 where there is none; index 0…"""
    chosen = means[means["mask_type"] == mask].set_index("sigma_noise").reindex(list(sigmas)).reset_index()
    return chosen.assign(n=chosen["n"].fillna(0).astype(int))


def _violins(
    axis: Axes, rows: pd.DataFrame, metric: Metric, places: Mapping[float, float], width: float, color: str
) -> NDArray[np.float64]:
    """Return central distributions at the places of the noise levels, single dots of a few crystals; returns what is
    shown."""
    shown = [np.empty(0)]
    for sigma, x in places.items():
        values = metric.values(rows[rows["sigma_noise"] == sigma]).to_numpy(dtype=np.float64)
        values = values[np.isfinite(values)]
        if len(values) < _SHAPELESS:
            axis.plot(np.full(len(values), x), values, ".", color=color, alpha=0.5, markersize=5, zorder=2)
        else:
            low, high = np.quantile(values, _CENTRAL)
            values = values[(values >= low) & (values <= high)]
            bodies: Any = axis.violinplot(values, [x], widths=width, showextrema=False)["bodies"]
            for body in bodies:
                body.set(facecolor=color, edgecolor="none", alpha=0.25, zorder=2)
        shown.append(values)
    return np.concatenate(shown)
