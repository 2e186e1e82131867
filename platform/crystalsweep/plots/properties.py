"""Predicted properties beside true ones: parity, error by label, confusion matrices, spectra.

Fig. 1C (confusion matrices) and Fig. S4 (spectra) of Liu et al., iScience 27, 110672 (2024).
doi:10.1016/j.isci.2024.110672
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from crystalsweep.plots.style import PALETTE, REFERENCE, describe, legend_below, panels, save

Array = NDArray[np.float64]

_EDGE = 0.5
"""Percent of labels and predictions beyond each end of a parity plot's axes, so that one outlier does not fill it."""

LABEL_BINS = 8
"""Of equally many crystals, in which the error is drawn against the label."""

QUANTILES = (0.05, 0.5, 0.95)
"""Of the error, at which example spectra are drawn."""


def plot_parity(truth: Array, rows: Mapping[str, Array], path: Path | str, *, label: str, log: bool = False) -> Path:
    """Draw prediction over label, a panel for each row; what lies beyond the axes is counted in the panel.

    Args:
        truth: (M,) labels.
        rows: (M,) predictions by name.
        path: PNG to write.
        label: Name and unit of the axes.
        log: Draw both axes as logarithms.
    """
    figure, axes = panels(len(rows), columns=3, width=4.0, height=3.9)
    everything = np.concatenate([truth, *rows.values()])
    if log:
        everything = everything[everything > 0]
    low, high = np.percentile(everything, [_EDGE, 100 - _EDGE])
    pad = 0.0 if log else 0.05 * (high - low or 1.0)
    for index, (axis, (name, predicted)) in enumerate(zip(axes, rows.items(), strict=True)):
        axis.plot([low - pad, high + pad], [low - pad, high + pad], color=REFERENCE, linestyle="--", linewidth=1.2)
        size = float(np.clip(4000 / max(len(truth), 1), 3, 14))
        axis.scatter(truth, predicted, s=size, color=PALETTE[index % len(PALETTE)], alpha=0.5, linewidths=0)
        if log:
            axis.set(xscale="log", yscale="log")
        axis.set(xlim=(low - pad, high + pad), ylim=(low - pad, high + pad), aspect="equal")
        axis.set(xlabel=label, ylabel="predicted")
        outside = int((~_between(truth, low - pad, high + pad) | ~_between(predicted, low - pad, high + pad)).sum())
        beyond = f", {outside:,} beyond the axes" if outside else ""
        describe(axis, name, f"{len(truth):,} crystals{beyond}")
    return save(figure, path)


def plot_errors(truth: Array, rows: Mapping[str, Array], path: Path | str, *, label: str, unit: str) -> Path:
    """Draw signed and absolute error over the label, as means in bins of equally many crystals.

    Args:
        truth: (M,) labels.
        rows: (M,) predictions by name.
        path: PNG to write.
        label: Name and unit of the label.
        unit: Of the error.
    """
    figure, (signed, absolute) = panels(2, width=5.2, height=3.6)
    parts = [part for part in np.array_split(np.argsort(truth, kind="stable"), LABEL_BINS) if len(part)]
    centres = [float(np.median(truth[part])) for part in parts]
    signed.axhline(0, color=REFERENCE, linestyle="--", linewidth=1.2)
    for index, (name, predicted) in enumerate(rows.items()):
        error = predicted - truth
        style = {"color": PALETTE[index % len(PALETTE)], "marker": "o", "markersize": 4, "linewidth": 1.2}
        signed.plot(centres, [error[part].mean() for part in parts], label=name, **style)  # type: ignore[arg-type]
        absolute.plot(centres, [np.abs(error[part]).mean() for part in parts], label=name, **style)  # type: ignore[arg-type]
    signed.set(xlabel=label, ylabel=f"mean error {unit}".strip())
    absolute.set(xlabel=label, ylabel=f"mean absolute error {unit}".strip())
    about = f"means over {len(parts)} bins of about {len(truth) // max(len(parts), 1):,} crystals, at the bin's median"
    describe(signed, "Prediction − label", about)
    describe(absolute, "Absolute error", about)
    legend_below(figure)
    return save(figure, path)


def plot_confusion(matrices: Mapping[str, NDArray[np.int64]], classes: Sequence[str], path: Path | str) -> Path:
    """Draw a confusion matrix for each title: shares of the true class, and how many crystals (Fig. 1C).

    Args:
        matrices: (K, K) crystals by true (row) and called (column) class.
        classes: K names.
        path: PNG to write.
    """
    figure, axes = panels(len(matrices), columns=4, width=2.9, height=2.7)
    for axis, (title, matrix) in zip(axes, matrices.items(), strict=True):
        _confusion(axis, matrix, classes)
        accuracy = np.trace(matrix) / matrix.sum() if matrix.sum() else np.nan
        describe(axis, title, f"{matrix.sum():,} crystals, accuracy {accuracy:.3f}")
    return save(figure, path)


def _confusion(axis: Axes, matrix: NDArray[np.int64], classes: Sequence[str]) -> None:
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.zeros(matrix.shape), where=totals > 0)
    axis.grid(visible=False)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for i, row in enumerate(matrix):
        for j, n in enumerate(row):
            text = f"{shares[i, j]:.2f}\n{n:,}" if totals[i] else "none"
            axis.text(j, i, text, ha="center", va="center", fontsize=8, color="white" if shares[i, j] > 0.6 else "0.15")
    axis.set_xticks(range(len(classes)), list(classes), fontsize=8)
    axis.set_yticks(range(len(classes)), list(classes), fontsize=8, rotation=90, va="center")
    axis.set(xlabel="called", ylabel="true")


def plot_spectra(
    truth: Array, rows: Mapping[str, Array], errors: Array, grid: Array, path: Path | str, *, label: str
) -> Path:
    """Draw spectra at quantiles of the first row's error: a good, a middling and a bad one (Fig. S4).

    Args:
        truth: (M, P).
        rows: (M, P) predictions by name.
        errors: (M,) of the first row.
        grid: (P,).
        path: PNG to write.
        label: Of the grid's axis.
    """
    figure, axes = panels(len(QUANTILES), columns=3, width=4.2, height=3.2)
    order = np.argsort(errors, kind="stable")
    for axis, quantile in zip(axes, QUANTILES, strict=True):
        at = order[min(int(quantile * len(order)), len(order) - 1)]
        axis.plot(grid, truth[at], color="0.25", linewidth=1.6, label="label")
        for index, (name, predicted) in enumerate(rows.items()):
            axis.plot(grid, predicted[at], color=PALETTE[index % len(PALETTE)], linewidth=1.2, label=name)
        axis.set(xlabel=label)
        describe(axis, f"{100 * quantile:.0f} % have a smaller error", f"mean absolute error {errors[at]:.3g}")
    legend_below(figure)
    return save(figure, path)


def _between(values: Array, low: float, high: float) -> NDArray[np.bool_]:
    return np.asarray((values >= low) & (values <= high))
