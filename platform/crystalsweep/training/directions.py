"""Which way a metric that epochs report is better. Imports without torch."""

from __future__ import annotations

from typing import Literal

_SMALLER = {"loss", "error", "mae", "rmse", "rmsd", "instability", "energy", "failed", "undefined", "norm"}
_GREATER = {
    *("score", "accuracy", "validity", "similarity", "balance", "rate", "r2", "eq5", "uniqueness", "novel", "sun"),
    *("spearman", "auc", "f1"),
}
_BESIDE = {"high", "low", "n"}
"""What follows a metric's name where it is a bound, or a count."""


def better_when(metric: str) -> Literal["max", "min"] | None:
    """Return whether a metric is better greater (`max`) or smaller, by the words of its own name, the last first; None
    where none of them tells. What it is of, as the label in `val/formation_energy/auc`, tells nothing."""
    parts = [part for part in metric.split("/") if part not in _BESIDE]
    for word in reversed(parts[-1].split("_") if parts else []):
        if word in _SMALLER:
            return "min"
        if word in _GREATER:
            return "max"
    return "min" if parts and parts[0] == "loss" else None
