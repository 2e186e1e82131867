"""Figures of predicted spectra, such as a phonon density of states (Liu et al., 2024, Fig. S4).

Each is a mean over crystals of what one spectrum gives. Wasserstein distance and mean frequency are of spectra as
densities: values below 0 count as 0, and each is divided by its integral. doi:10.1016/j.isci.2024.110672
"""

from __future__ import annotations

import numpy as np

from crystalsweep.metrics.geometry import Array
from crystalsweep.metrics.properties.statistic import Answers, Statistic, mean_over


def _densities(spectra: Array, grid: Array) -> Array:
    """Return (M, P) shares of each grid point, by the trapezoidal rule; NaN where a spectrum has no positive value."""
    steps = np.diff(grid)
    weights = (np.append(steps, 0) + np.append(0, steps)) / 2
    mass = np.clip(spectra, 0, None) * weights
    return np.asarray(mass / mass.sum(axis=1, keepdims=True))


def wasserstein(a: Array, b: Array, grid: Array) -> Array:
    """Return (M,) earth mover's distance of spectra (M, P) as densities over grid (P,), in the grid's unit."""
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = np.cumsum(_densities(a, grid) - _densities(b, grid), axis=1)
    return np.asarray(np.abs(apart[:, :-1]) @ np.diff(grid))


def mean_frequency(spectra: Array, grid: Array) -> Array:
    """Return (M,) ∫ω g dω / ∫g dω of spectra (M, P), in the grid's unit."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(_densities(spectra, grid) @ grid)


def _grid(answers: Answers) -> Array:
    if answers.grid is None:
        raise ValueError("spectra need the grid they are given on")
    return answers.grid


_EMPTY = "no spectrum with a positive value"

SPECTRUM = (
    Statistic(
        name="mae",
        title="MAE",
        definition="mean absolute error over the grid",
        direction="lower",
        over=mean_over(lambda a: np.abs(a.predicted - a.truth).mean(axis=1)),
        why_undefined="no labelled crystal",
        unit="label",
    ),
    Statistic(
        name="mse",
        title="MSE",
        definition="mean squared error over the grid",
        direction="lower",
        over=mean_over(lambda a: ((a.predicted - a.truth) ** 2).mean(axis=1)),
        why_undefined="no labelled crystal",
        unit="label²",
    ),
    Statistic(
        name="wasserstein",
        title="Wasserstein distance",
        definition="how far the spectrum's mass must be moved along the grid, both as densities",
        direction="lower",
        over=mean_over(lambda a: wasserstein(a.truth, a.predicted, _grid(a))),
        why_undefined=_EMPTY,
        unit="grid",
    ),
    Statistic(
        name="mean_frequency_error",
        title="Error of the mean frequency",
        definition="mean |∫ω g dω / ∫g dω predicted − true|",
        direction="lower",
        over=mean_over(lambda a: np.abs(mean_frequency(a.predicted, _grid(a)) - mean_frequency(a.truth, _grid(a)))),
        why_undefined=_EMPTY,
        unit="grid",
    ),
)
"""In the order of every table."""

COMPARED_SPECTRUM = ("mae", "mse", "wasserstein")
"""What verdicts are given on; fewer comparisons resolve smaller differences."""
