"""Headline metrics by noise and mask type (Liu et al., iScience 27, 110672 (2024), Fig. 4).

doi:10.1016/j.isci.2024.110672
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from crystalsweep.metrics.summary import METRICS
from crystalsweep.plots.style import MARKERS, PALETTE, describe, error_bars, legend_below, panels, references, save

REFERENCES = ("ground truth", "identity")
"""Models drawn as grey lines, averaged over mask types: the ceiling and the floor."""

_MASKS = ("species", "random15", "random30")
_LINES = ("-", "--", ":", "-.")


def plot_conditions(summaries: Mapping[str, pd.DataFrame], path: Path | str) -> Path:
    """Four panels, one per headline metric: x = sigma_noise, one line per model and mask type, 95 % error bars.

    Colour tells mask types apart, or models where there are several (line style and marker then tell mask types).

    Args:
        summaries: By model name, what `metrics.summarise` returns grouped by mask_type and sigma_noise. The names
            `ground truth` and `identity` become grey lines.
        path: Where to write; the suffix decides the format.

    Raises:
        ValueError: There is no model beside the references.
    """
    models = [name for name in summaries if name not in REFERENCES]
    if not models:
        raise ValueError("Only references to draw: pass the summary of at least one model.")
    masks = _masks(summaries[name] for name in models)
    figure, axes = panels(len(METRICS))
    for axis, metric in zip(axes, METRICS, strict=True):
        _panel(axis, {name: _of(summary, metric.name) for name, summary in summaries.items()}, models, masks)
        describe(axis, metric.title, metric.definition)
        axis.set_ylabel(metric.title.split()[-1].lower() + " (dimensionless)", fontsize=9)
    legend_below(figure, columns=max(3, len(models) + 1) if len(models) > 1 else len(masks) + len(REFERENCES))
    if len(models) == 1:
        figure.suptitle(models[0], fontsize=12)
    return save(figure, path)


def _of(summary: pd.DataFrame, metric: str) -> pd.DataFrame:
    return summary[summary["metric"] == metric]


def _masks(summaries: Iterable[pd.DataFrame]) -> list[str]:
    """Mask types in the paper's order (α, β, γ), then the others by name."""
    found = {str(mask) for summary in summaries for mask in summary["mask_type"].unique()}
    return [mask for mask in _MASKS if mask in found] + sorted(found - set(_MASKS))


def _panel(axis: Axes, rows: Mapping[str, pd.DataFrame], models: list[str], masks: list[str]) -> None:
    sigmas = sorted({float(sigma) for frame in rows.values() for sigma in frame["sigma_noise"].unique()})
    lines = [(model, mask) for model in models for mask in masks]
    for index, (model, mask) in enumerate(lines):
        chosen = rows[model][rows[model]["mask_type"] == mask]
        offset = (index - (len(lines) - 1) / 2) * _step(sigmas, len(lines))
        style = _style(models.index(model), masks.index(mask), several=len(models) > 1)
        _line(axis, chosen, offset, f"{model}, {mask}" if len(models) > 1 else mask, style)
    drawn = pd.concat([rows[model] for model in models])[["mean", "low", "high"]]
    low, high = (float(drawn.min().min()), float(drawn.max().max())) if drawn.notna().any(axis=None) else (0.0, 1.0)
    references(axis, {name: _level(rows[name]) for name in REFERENCES if name in rows}, low, high)
    axis.set_xticks(sigmas, [f"{sigma:g}" for sigma in sigmas])
    axis.set_xlabel("sigma_noise (fraction of the shortest interatomic distance)", fontsize=9)


def _step(sigmas: list[float], lines: int) -> float:
    """Sideways shift between lines, so that error bars at one sigma stand side by side."""
    gaps = np.diff(sigmas)
    return 0.45 * float(gaps.min() if len(gaps) else 0.1) / max(lines, 1)


def _style(model: int, mask: int, *, several: bool) -> dict[str, Any]:
    return {
        "color": PALETTE[(model if several else mask) % len(PALETTE)],
        "marker": MARKERS[mask % len(MARKERS)],
        "linestyle": _LINES[mask % len(_LINES)] if several else "-",
    }


def _line(axis: Axes, rows: pd.DataFrame, offset: float, label: str, style: dict[str, Any]) -> None:
    rows = rows.sort_values("sigma_noise")
    axis.errorbar(
        rows["sigma_noise"] + offset,
        rows["mean"],
        yerr=error_bars(rows),
        label=label,
        markersize=5,
        linewidth=1.3,
        elinewidth=1.2,
        capsize=2.5,
        **style,
    )


def _level(rows: pd.DataFrame) -> pd.Series:
    """Mean over mask types by sigma_noise, weighted by their numbers of values."""
    known = rows[rows["mean"].notna() & (rows["n"] > 0)]
    weighted = (known["mean"] * known["n"]).groupby(known["sigma_noise"]).sum()
    return weighted / known.groupby("sigma_noise")["n"].sum()
