"""What a property model learns of a crystal, and the values of it that crystals have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from crystalsweep.config import Config
from crystalsweep.data.packed import label_values
from crystalsweep.structures.crystal import Crystal


class Target(Config):
    """One property."""

    name: str
    """Of the label column."""
    kind: Literal["regression", "classification", "spectrum"] = "regression"
    threshold: float | None = None
    """Of a numeric label, up to which a crystal is of class 1."""
    classes: tuple[str, ...] = ()
    """Names, in the order of the model's outputs."""
    transform: Literal["none", "log10", "standardise"] = "none"
    """What the model learned; predictions are in the label's own unit."""
    unit: str = ""
    grid: tuple[float, ...] | None = None
    """Where a spectrum is given, ascending."""


STABILITY = Target(
    name="e_above_hull", kind="classification", threshold=0.0, classes=("unstable", "stable"), unit="eV/atom"
)
"""Whether a crystal is on the convex hull (Fig. 1C)."""


def values_of(crystals: Sequence[Crystal], target: Target) -> NDArray[np.float64]:
    """Return (M,) values, or class indices as floats; NaN where a crystal has no label."""
    values = label_values(crystals, target.name)
    if target.threshold is None:
        return values
    return np.where(np.isnan(values), np.nan, (values <= target.threshold).astype(np.float64))
