"""Scores of predictions with intervals over crystals, and verdicts on the model minus each baseline.

Rows are compared on the same resampled crystals, so that a difference has an interval of its own; p is two-sided, from
the share of resamples on the other side of 0, and corrected for all comparisons of the table (Holm).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalsweep.metrics.property_scores import classification_scores, regression_scores
from crystalsweep.metrics.verdicts import holm
from crystalsweep.structures.targets import Kind

Values = NDArray[np.float64]

RESAMPLES = 1000


JUDGED: Mapping[Kind, tuple[str, ...]] = {"regression": ("mae", "spearman"), "classification": ("accuracy", "auc")}
"""Metrics on which verdicts are given."""

_LOWER_IS_BETTER = ("mae", "rmse", "brier", "ece")

ALPHA = 0.05


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """What a table of predictions comes to."""

    scores: pd.DataFrame
    """Columns row, metric, value, low, high."""
    verdicts: pd.DataFrame
    """Columns metric, baseline, difference, low, high, p, p_adjusted, verdict: the model minus each other row."""
    n: int
    """Labelled crystals."""


def assess(kind: Kind, wanted: Values, predicted: Mapping[str, Values], model: str, *, seed: int = 0) -> Assessment:
    """Return scores of every row, and verdicts on one.

    Args:
        kind: Numbers or answers.
        wanted: (M,) labels in their own unit, or 1 and 0; none is NaN.
        predicted: (M,) by row, in the same unit, or probabilities of yes.
        model: The row that is judged.
        seed: Of the resampling.
    """
    score = classification_scores if kind == "classification" else regression_scores
    whole = {name: score(wanted, row) for name, row in predicted.items()}
    draws: dict[str, list[dict[str, float]]] = {name: [] for name in predicted}
    random = np.random.default_rng(seed)
    for _ in range(RESAMPLES if len(wanted) > 1 else 0):
        chosen = random.integers(0, len(wanted), len(wanted))
        for name, row in predicted.items():
            draws[name].append(score(wanted[chosen], row[chosen]))
    tables = {name: pd.DataFrame(each, columns=list(whole[name])) for name, each in draws.items()}
    scores = [
        {"row": name, "metric": metric, "value": value, **_ends(tables[name][metric].to_numpy())}
        for name, each in whole.items()
        for metric, value in each.items()
    ]
    verdicts = [
        {
            "metric": metric,
            "baseline": other,
            "difference": whole[model][metric] - whole[other][metric],
            **_ends(gap := (tables[model][metric] - tables[other][metric]).to_numpy()),
            "p": _two_sided(gap),
        }
        for metric in JUDGED[kind]
        for other in predicted
        if other != model
    ]
    frame = pd.DataFrame(verdicts, columns=["metric", "baseline", "difference", "low", "high", "p"])
    frame["p_adjusted"] = holm(frame["p"].to_numpy())
    frame["verdict"] = [_verdict(row["metric"], row["difference"], row["p_adjusted"]) for _, row in frame.iterrows()]
    return Assessment(scores=pd.DataFrame(scores), verdicts=frame, n=len(wanted))


def _ends(draws: Values) -> dict[str, float]:
    """Return a 95 % interval; NaN where more than a twentieth of the resamples have no value."""
    known = draws[np.isfinite(draws)]
    if len(known) < 0.95 * max(len(draws), 1) or not len(known):
        return {"low": float("nan"), "high": float("nan")}
    low, high = np.quantile(known, [0.025, 0.975])
    return {"low": float(low), "high": float(high)}


def _two_sided(gap: Values) -> float:
    known = gap[np.isfinite(gap)]
    if len(known) < 0.95 * max(len(gap), 1) or not len(known):
        return float("nan")
    below, above = (known <= 0).sum() + 1, (known >= 0).sum() + 1
    return float(min(1.0, 2 * min(below, above) / (len(known) + 1)))


def _verdict(metric: str, difference: float, p: float) -> str:
    if np.isnan(p):
        return "undefined"
    if p >= ALPHA:
        return "not resolved"
    return "better" if (difference < 0) == (metric in _LOWER_IS_BETTER) else "worse"
