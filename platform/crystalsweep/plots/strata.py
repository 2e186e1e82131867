"""Similarity by kind of crystal (Liu et al., iScience 27, 110672 (2024), Fig. 4D and 4E, and further strata).

doi:10.1016/j.isci.2024.110672
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from crystalsweep.metrics.strata import STRATA, binned, strata_table
from crystalsweep.metrics.summary import METRICS, ScoreTables
from crystalsweep.plots.grids import mask_order
from crystalsweep.plots.style import (
    PALETTE,
    aside,
    describe,
    draw_points,
    draw_references,
    legend_below,
    models_of,
    panel_grid,
    save,
)

FEWEST = 10
"""A mean of fewer crystals is not drawn: its interval says nothing."""

MOST_BINS = 30
"""More elements than this are not legible."""

_DRAWN = ("compositional_similarity", "structural_similarity")

_TITLES = {metric.name: metric for metric in METRICS}


def plot_strata(tables: ScoreTables, path: Path | str, by: str = "n_atoms") -> Path:
    """Plot compositional similarity, structural similarity and number of crystals over the bins of a stratum.

    All mask types and noise levels of the tables together; choose their rows first for one condition, as the paper does
    (sigma_noise 0.2). Means of fewer than `FEWEST` crystals are left out, and bins and elements without any mean.

    Args:
        tables: Scores by name, models and references.
        path: Where to write; the suffix decides the format.
        by: A name of `metrics.strata.STRATA`: n_atoms (Fig. 4D), masked_element (4E), crystal_system, masked_frequency.

    Raises:
        ValueError: There is no model, no such stratum, no column for it, or no bin with `FEWEST` crystals.
    """
    models = models_of(tables)
    strata = {name: strata_table(tables[name], by, n_resamples=1000 if name in models else 1) for name in tables}
    bins, present = _bins(tables, strata, models, by)
    figure, axes = panel_grid(3, 1, width=_width(bins), heights=(2.5, 2.5, 1.2))
    (top,), (middle,), (bottom,) = axes
    for axis, metric in zip((top, middle), _DRAWN, strict=True):
        _means(axis, {name: _of(frame, metric, bins) for name, frame in strata.items()}, models)
        axis.set_ylabel(f"{_TITLES[metric].title}\n{fill(_TITLES[metric].definition, 40)}", fontsize=8.5)
    _numbers(bottom, {name: strata[name] for name in models}, bins)
    bottom.set_xticks(range(len(bins)), bins, fontsize=9 if len(bins) <= 12 else 8)
    bottom.set_xlim(-0.6, len(bins) - 0.4)
    bottom.set_xlabel(STRATA[by].label, fontsize=9)
    describe(top, STRATA[by].title, _conditions(tables, models, by, len(bins), present))
    legend_below(figure, columns=max(4, len(models)))
    return save(figure, path)


def _bins(
    tables: ScoreTables, strata: Mapping[str, pd.DataFrame], models: Sequence[str], by: str
) -> tuple[list[str], int]:
    """Return bins to draw, in order, and how many have crystals: those with enough for a mean, of elements the first
    ones."""
    order = binned(pd.concat([tables[name] for name in models], ignore_index=True), by).cat.categories
    rows = pd.concat([strata[name][strata[name]["metric"] == _DRAWN[0]] for name in models])
    enough, present = set(rows.loc[rows["n"] >= FEWEST, "bin"]), set(rows.loc[rows["n"] > 0, "bin"])
    bins = [str(name) for name in order if name in enough][:MOST_BINS]
    if not bins:
        raise ValueError(f"No bin of {by} has {FEWEST} crystals: evaluate more.")
    return bins, len(present)


def _of(strata: pd.DataFrame, metric: str, bins: Sequence[str]) -> pd.DataFrame:
    """Return one row per bin; those of too few crystals have n but no mean."""
    rows = strata[strata["metric"] == metric].set_index("bin").reindex(list(bins)).reset_index()
    rows["n"] = rows["n"].fillna(0).astype(int)
    rows.loc[rows["n"] < FEWEST, ["mean", "low", "high"]] = np.nan
    return rows


def _means(axis: Axes, rows: Mapping[str, pd.DataFrame], models: Sequence[str]) -> None:
    drawn = pd.concat([rows[name] for name in models])[["mean", "low", "high"]].to_numpy(dtype=float)
    known = drawn[np.isfinite(drawn)]
    for index, name in enumerate(models):
        draw_points(axis, _places(rows[name], index, models), rows[name], index, name)
    levels = {name: frame["mean"] for name, frame in rows.items() if name not in models}
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    draw_references(axis, {name: level for name, level in levels.items() if level.notna().any()}, low, high)
    if not len(known):
        axis.text(0.5, 0.5, f"no bin with {FEWEST} values", transform=axis.transAxes, color="0.35", ha="center")


def _places(rows: pd.DataFrame, index: int, models: Sequence[str]) -> NDArray[np.float64]:
    return np.arange(len(rows), dtype=np.float64) + aside(index, len(models))


def _numbers(axis: Axes, strata: Mapping[str, pd.DataFrame], bins: Sequence[str]) -> None:
    """Write numbers; grey: crystals of a bin; coloured: those restored by a model, which the structural similarity is
    over."""
    models = list(strata)
    total = np.max([_of(strata[name], _DRAWN[0], bins)["n"] for name in models], axis=0)
    axis.bar(range(len(bins)), total, width=0.85, color="0.88", zorder=1)
    for index, name in enumerate(models):
        restored = _of(strata[name], _DRAWN[1], bins)
        width, color = 0.7 / len(models), PALETTE[index % len(PALETTE)]
        axis.bar(_places(restored, index, models), restored["n"], width=width, color=color, alpha=0.7, zorder=2)
    axis.axhline(FEWEST, color="0.35", linewidth=0.8, linestyle=":", zorder=3)
    axis.set_yscale("log")
    axis.set_ylim(0.8, 4.0 * max(total))
    axis.set_ylabel("n (grey: all;\ncolour: restored)", fontsize=8)
    if len(bins) <= 12:
        for x, n in enumerate(total):
            axis.text(x, n * 1.15, f"{n:,}", ha="center", va="bottom", fontsize=8, color="0.35")


def _width(bins: Sequence[str]) -> float:
    """Return inches that leave room for the longest label."""
    return min(max(6.0, max(0.4, 0.1 * max(map(len, bins))) * len(bins) + 1.0), 13.0)


def _conditions(tables: ScoreTables, models: Sequence[str], by: str, shown: int, present: int) -> str:
    masks = mask_order({name: tables[name][binned(tables[name], by).notna()] for name in models})
    sigmas = sorted({float(sigma) for name in models for sigma in tables[name]["sigma_noise"].unique()})
    left = f"; {shown} of {present} bins" if shown < present else ""
    return (
        f"mask type {', '.join(masks)}; sigma_noise {', '.join(f'{sigma:g}' for sigma in sigmas)}; n ≥ {FEWEST}{left}"
    )
