"""Figures of predicted numbers: errors in the label's unit, R², and whether the order is right."""

from __future__ import annotations

import numpy as np

from crystalsweep.metrics.geometry import Array
from crystalsweep.metrics.properties.statistic import Answers, Statistic, mean_over

CONSTANT = "all labels, or all predictions, are equal"


def _error(answers: Answers) -> Array:
    return answers.predicted - answers.truth


def _rmse(answers: Answers, times: Array) -> Array:
    return np.sqrt(mean_over(lambda a: _error(a) ** 2)(answers, times))


def _r2(answers: Answers, times: Array) -> Array:
    """Return 1 − Σ(error²) / Σ(label − mean)², the mean being that of the crystals scored."""
    if np.ptp(answers.truth) == 0:
        return np.full(len(times), np.nan)
    centred, n = answers.truth - answers.truth.mean(), times.sum(axis=1)
    spread = times @ centred**2 - (times @ centred) ** 2 / n
    return np.where(spread > 0, 1 - (times @ _error(answers) ** 2) / spread, np.nan)


def _spearman(answers: Answers, times: Array) -> Array:
    """Return the correlation of ranks, ties sharing their mean rank; each crystal has as many ranks as it counts."""
    a, b = (_ranks(values, times) for values in (answers.truth, answers.predicted))
    n = times.sum(axis=1, keepdims=True)
    a, b = (each - (times * each).sum(axis=1, keepdims=True) / n for each in (a, b))
    product = (times * a * b).sum(axis=1)
    spread = np.sqrt((times * a**2).sum(axis=1) * (times * b**2).sum(axis=1))
    return np.where(spread > 0, product / spread, np.nan)


def _ranks(values: Array, times: Array) -> Array:
    """Return (R, M) mean ranks of the crystals, each counted `times`; from 0."""
    _, group = np.unique(values, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    held = np.add.reduceat(times[:, order], starts, axis=1)
    return np.asarray((held.cumsum(axis=1) - held / 2)[:, group])


REGRESSION = (
    Statistic(
        name="mae",
        title="MAE",
        definition="mean absolute error",
        direction="lower",
        over=mean_over(lambda answers: np.abs(_error(answers))),
        why_undefined="no labelled crystal",
        unit="label",
    ),
    Statistic(
        name="rmse",
        title="RMSE",
        definition="root of the mean squared error",
        direction="lower",
        over=_rmse,
        why_undefined="no labelled crystal",
        unit="label",
    ),
    Statistic(
        name="r2",
        title="R²",
        definition="1 − squared error / spread of the labels; 0 is what the labels' own mean scores",
        direction="higher",
        over=_r2,
        why_undefined="all labels are equal",
    ),
    Statistic(
        name="spearman",
        title="Spearman",
        definition="rank correlation of prediction and label",
        direction="higher",
        over=_spearman,
        why_undefined=CONSTANT,
    ),
)
"""In the order of every table."""

COMPARED_REGRESSION = ("mae", "spearman")
"""What verdicts are given on; fewer comparisons resolve smaller differences."""
