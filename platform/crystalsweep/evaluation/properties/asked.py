"""What a property model is asked for, as its evaluation tells it: the one place that knows how a model says so."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crystalsweep.config import Config
from crystalsweep.data import label_values
from crystalsweep.data.classes import class_values
from crystalsweep.data.spectra import Column, Grid, spectrum_values
from crystalsweep.inference.predicting import Prediction, Predictor
from crystalsweep.inference.target_records import TargetRecord
from crystalsweep.metrics.properties.statistic import Kind
from crystalsweep.structures.crystal import Crystal

Array = NDArray[np.float64]


class PropertyTarget(Config):
    """One property."""

    name: str
    """As it was asked for, `log10(k_vrh)` or `e_above_hull<=0`."""
    label: str
    """Column of the labels."""
    kind: Kind
    threshold: float | None = None
    """Of a label, up to which a crystal is of class 1."""
    classes: tuple[str, ...] = ()
    """Names, by class index."""
    log10: bool = False
    """Whether the logarithm was learnt; predictions are in the label's own unit all the same."""
    unit: str = ""
    grid: tuple[float, ...] | None = None
    """Where a spectrum is given, ascending."""
    grid_unit: str = ""
    """Of it."""

    @property
    def told(self) -> str:
        """The label with its unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label


STABLE = ("unstable", "stable")
"""Classes of e_above_hull ≤ 0 (Fig. 1C)."""


def targets_of(predictor: Predictor) -> tuple[PropertyTarget, ...]:
    """Return what a model predicts."""
    return tuple(map(_target, predictor.records))


def values_of(crystals: Sequence[Crystal], target: PropertyTarget) -> Array:
    """Return (M,) labels in their own unit, class indices as floats, or (M, P) spectra; NaN where a crystal has none.

    Raises:
        ValueError: A crystal is of a class, or has its spectrum on a grid, that is not the target's.
    """
    if target.grid is not None:
        grid = Grid(start=target.grid[0], stop=target.grid[-1], points=len(target.grid), unit=target.grid_unit)
        return spectrum_values(crystals, Column(target.label, grid))
    if target.kind == "classification" and target.threshold is None:
        return class_values(crystals, target.label, target.classes)
    values = label_values(crystals, target.label)
    if target.threshold is None:
        return values
    return np.where(np.isnan(values), np.nan, (values <= target.threshold).astype(np.float64))


def predicted_by(predictor: Predictor, crystals: Sequence[Crystal]) -> dict[str, Array]:
    """Return (M,) in the label's own unit, (M, P) spectra, or (M, K) probabilities, by the target's name."""
    return {name: _values(each) for name, each in predictor.predict(crystals).items()}


def _target(record: TargetRecord) -> PropertyTarget:
    target = record.target
    on_the_hull = target.label == "e_above_hull" and target.threshold == 0
    named = STABLE if on_the_hull else record.answers
    return PropertyTarget(
        name=record.name,
        label=target.label,
        kind=target.kind,
        threshold=target.threshold,
        classes=named,
        log10=target.log10,
        unit=target.unit,
        grid=None if record.spectrum is None else tuple(record.spectrum.grid.values.tolist()),
        grid_unit="" if record.spectrum is None else record.spectrum.grid.unit,
    )


def _values(prediction: Prediction) -> Array:
    return prediction.odds if prediction.record.target.kind == "classification" else prediction.value
