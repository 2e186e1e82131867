"""Which way a metric that epochs report is better. Imports without torch."""

from __future__ import annotations

import re
from typing import Literal

_SMALLER = {"loss", "error", "mae", "rmse", "rmsd", "instability", "energy", "failed", "undefined", "norm"}
_GREATER = {"score", "accuracy", "validity", "similarity", "balance", "rate", "r2", "eq5", "uniqueness", "novel", "sun"}


def better_when(metric: str) -> Literal["max", "min"] | None:
    """Return whether a metric is better greater (`max`) or smaller, by the words of its name, the last first; None
    where none of them tells."""
    for word in reversed(re.split(r"[/_@]", metric)):
        if word in _SMALLER:
            return "min"
        if word in _GREATER:
            return "max"
    return None
