"""Headline metrics over test noise, beyond the noise of training (Liu et al., iScience 27, 110672 (2024), Fig. 4).

doi:10.1016/j.isci.2024.110672
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from crystalsweep.metrics.summary import METRICS, Metric, ScoreTables, summarise
from crystalsweep.plots.style import (
    DASHES,
    MARKERS,
    PALETTE,
    REFERENCE,
    aside,
    describe,
    draw_references,
    error_bars,
    models_of,
    panels,
    save,
)

TrainedAt = Mapping[str, float | Sequence[float]]
"""Noise levels of the training by model; of a range its two ends."""


_APART = 0.02
"""sigma_noise that the models take up where there is only one noise level."""

_TRAINED = "training noise (vertical)"


def plot_extrapolation(tables: ScoreTables, path: Path | str, trained_at: TrainedAt | float | None = None) -> Path:
    """Plot a panel per headline metric: its mean over all mask types against sigma_noise, with 95 % bands.

    The legend gives the area under each curve divided by the range of sigma (trapezoidal rule), with its 95 % interval.

    Args:
        tables: Scores by name, models and references.
        path: Where to write; the suffix decides the format.
        trained_at: sigma_noise of the training, by model or one for all: dashed verticals.

    Raises:
        ValueError: There is no model beside the references, or one without a row.
    """
    models = models_of(tables)
    sigmas = sorted({float(sigma) for table in tables.values() for sigma in table["sigma_noise"].unique()})
    figure, axes = panels(len(METRICS), width=5.2, height=4.1)
    for axis, metric in zip(axes, METRICS, strict=True):
        means = {name: _curve(tables[name], metric, intervals=name in models) for name in tables}
        for index, name in enumerate(models):
            shift = 0.0 if len(sigmas) > 1 else aside(index, len(models), _APART)
            _line(axis, means[name], shift, index, f"{name}{_area(tables[name], metric)}")
        _levels(axis, means, models)
        _trained(axis, models, trained_at)
        axis.set_xticks(sigmas, [f"{sigma:g}" for sigma in sigmas])
        axis.set_xlim(*_range(sigmas))
        axis.set_xlabel("sigma_noise (fraction of the shortest interatomic distance)", fontsize=9)
        axis.set_ylabel(f"{metric.title.split()[-1].lower()} (dimensionless)", fontsize=9)
        describe(axis, metric.title, metric.definition)
        _legend(axis, tables, metric)
    figure.suptitle("Mean over all mask types, 95 % band; area: mean height of the curve", fontsize=10, color="0.35")
    return save(figure, path)


def _curve(table: pd.DataFrame, metric: Metric, *, intervals: bool) -> pd.DataFrame:
    return summarise(table, by=("sigma_noise",), metrics=(metric,), n_resamples=1000 if intervals else 1)


def _range(sigmas: Sequence[float]) -> tuple[float, float]:
    margin = 0.06 * (sigmas[-1] - sigmas[0]) if len(sigmas) > 1 else 2 * _APART
    return sigmas[0] - margin, sigmas[-1] + margin


def _line(axis: Axes, rows: pd.DataFrame, shift: float, index: int, label: str) -> None:
    color, marker = PALETTE[index % len(PALETTE)], MARKERS[index % len(MARKERS)]
    x = rows["sigma_noise"] + shift
    axis.plot(x, rows["mean"], color=color, marker=marker, markersize=5, label=label, zorder=4)
    if len(rows) == 1:  # a band of one noise level has no width
        axis.errorbar(x, rows["mean"], yerr=error_bars(rows), color=color, capsize=2.5, zorder=3)
    else:
        axis.fill_between(x, rows["low"], rows["high"], color=color, alpha=0.18, linewidth=0, zorder=2)


def _area(table: pd.DataFrame, metric: Metric, *, interval: bool = True) -> str:
    """Return what the legend adds to a name; nothing where the area is undefined."""
    area = metric.area_over_sigma(table, n_resamples=1000 if interval else 1)
    if np.isnan(area.mean):
        return ""
    return f": area {area}" if interval and np.isfinite(area.low) else f": area {area.mean:.3f}"


def _levels(axis: Axes, means: Mapping[str, pd.DataFrame], models: Sequence[str]) -> None:
    drawn = pd.concat([means[name] for name in models])[["mean", "low", "high"]].to_numpy(dtype=float)
    known = drawn[np.isfinite(drawn)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    levels = {name: rows.set_index("sigma_noise")["mean"] for name, rows in means.items() if name in DASHES}
    draw_references(axis, {name: level for name, level in levels.items() if level.notna().any()}, low, high)


def _trained(axis: Axes, models: Sequence[str], trained_at: TrainedAt | float | None) -> None:
    """Draw dashed verticals at the training noise: in the model's colour, or grey where all share it."""
    if trained_at is None:
        return
    by_model = trained_at if isinstance(trained_at, Mapping) else {"": trained_at}
    for name, sigmas in by_model.items():
        index = models.index(name) if name in models else 0
        color = PALETTE[index % len(PALETTE)] if name in models else REFERENCE
        dashes = (3.0 * index, (3.0, 3.0 * max(len(by_model) - 1, 1)))  # out of step, so that equal ones all show
        for sigma in np.atleast_1d(np.asarray(sigmas, dtype=float)):
            axis.axvline(sigma, color=color, linewidth=1.5, linestyle=dashes, zorder=1)
    axis.plot([], [], color=REFERENCE, linewidth=1.5, linestyle=(0, (3, 3)), label=_TRAINED)


def _legend(axis: Axes, tables: ScoreTables, metric: Metric) -> None:
    """Put the legend below the panel, since the areas are its own."""
    handles, labels = axis.get_legend_handles_labels()
    named = [f"{label}{_area(tables[label], metric, interval=False)}" if label in DASHES else label for label in labels]
    style = {"frameon": False, "fontsize": 8, "borderaxespad": 0.0}
    axis.legend(handles, named, loc="upper left", bbox_to_anchor=(0, -0.17), ncols=2, **style)
