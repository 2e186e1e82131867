"""Predictions as a table that anyone can read, and the kinds of crystals that figures are given for."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalsweep.evaluation.properties.asked import PropertyTarget
from crystalsweep.evaluation.properties.scoring import Predicted
from crystalsweep.metrics.distributions import describe_crystals
from crystalsweep.metrics.properties.classification import called_of
from crystalsweep.metrics.properties.rarity import holds_rare_element
from crystalsweep.structures.crystal import Crystal
from crystalsweep.structures.elements import formula_of

DIGITS = 9
"""Of the numbers written; more than a network of float32 has."""

_MANY = 5
"""Elements from which on crystals share a bin."""


def bins_of(crystals: Sequence[Crystal], train: Sequence[Crystal]) -> pd.DataFrame:
    """Return (M,) rows with crystal_system as spglib finds it (`unknown` where it finds none), n_elements and
    rare_element, as the strata name them."""
    described = describe_crystals(crystals)
    rare = holds_rare_element(crystals, train)
    many = f"{_MANY} or more"
    return pd.DataFrame(
        {
            "crystal_system": described["crystal_system"],
            "n_elements": [many if n >= _MANY else str(n) for n in described["n_elements"]],
            "rare_element": np.where(rare, "a rare element", "no rare element"),
        }
    )


def predictions_table(crystals: Sequence[Crystal], bins: pd.DataFrame, predicted: Sequence[Predicted]) -> pd.DataFrame:
    """Return a row per property, model or baseline, and crystal.

    Columns id, formula, those of `bins`, target, row, label, prediction and probabilities. Classes stand by name, with
    their odds as a JSON list; a spectrum is a JSON list; what has no label has an empty one.
    """
    known = pd.DataFrame({"id": [c.id for c in crystals], "formula": [formula_of(c.species) for c in crystals]}).join(
        bins
    )
    parts = [
        known.assign(target=each.target.name, row=row, label=_labels(each), **_predictions(each.target, values))
        for each in predicted
        for row, values in each.rows.items()
    ]
    return pd.concat(parts, ignore_index=True)


def _labels(predicted: Predicted) -> list[str]:
    target = predicted.target
    if target.kind == "classification":
        return ["" if np.isnan(value) else target.classes[int(value)] for value in predicted.truth]
    return [_text(value) if known else "" for value, known in zip(predicted.truth, predicted.labelled, strict=True)]


def _predictions(target: PropertyTarget, values: NDArray[np.float64]) -> dict[str, list[str]]:
    if target.kind == "classification":
        called = [target.classes[i] for i in called_of(values)]
        return {"prediction": called, "probabilities": [_text(row) for row in values]}
    return {"prediction": [_text(row) for row in values], "probabilities": [""] * len(values)}


def _text(value: NDArray[np.float64] | float) -> str:
    """Return a number, or a list of them as JSON; empty of what is no number."""
    if np.ndim(value):
        return json.dumps([float(f"{each:.{DIGITS}g}") for each in np.asarray(value).tolist()])
    return f"{value:.{DIGITS}g}" if np.isfinite(value) else ""
