"""The targets of crystals as numbers, with what is not labelled left open."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crystalsweep.data.packed import Crystals, ids_of, label_values
from crystalsweep.structures.crystal import Crystal
from crystalsweep.structures.targets import Target

_NAMED = 3
"""Crystals that a message names."""


def target_values(crystals: Sequence[Crystal], target: Target) -> NDArray[np.float64]:
    """Return (M,) what is learnt of each: the label, its log10, or 1 for yes and 0 for no; NaN where unlabelled.

    Raises:
        ValueError: A logarithm is asked of a label that is not greater than 0; names the crystals.
    """
    values = label_values(crystals, target.label)
    if target.threshold is not None:
        return np.where(np.isnan(values), np.nan, values <= target.threshold)
    if not target.log10:
        return values
    wrong = np.flatnonzero(values <= 0)
    if len(wrong):
        ids = ids_of(crystals)
        named = ", ".join(f"{ids[i]} ({values[i]:g})" for i in wrong[:_NAMED])
        raise ValueError(
            f"{target.name}: {len(wrong):,} of {int((~np.isnan(values)).sum()):,} labels are not greater than 0, as of "
            f"{named}: leave these crystals out, or learn {target.label} itself"
        )
    return np.log10(values)


def require_labels(crystals: Sequence[Crystal], targets: Sequence[Target], part: str) -> None:
    """Require that some crystals have each target's label. Raises `ValueError` naming the labels that there are."""
    for target in targets:
        if not np.isfinite(label_values(crystals, target.label)).any():
            there = ", ".join(label_names(crystals)) or "none at all"
            raise ValueError(f"no {part} crystal has a label {target.label!r}; the labels there are: {there}")


def label_names(crystals: Sequence[Crystal]) -> list[str]:
    """Return the labels that any of the crystals has, sorted."""
    if isinstance(crystals, Crystals):
        return crystals.label_names()
    return sorted({name for crystal in crystals for name in crystal.labels})
