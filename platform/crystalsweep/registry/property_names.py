"""What a property model is called in the registry where nobody names it: after what it predicts."""

from __future__ import annotations

import re
from collections.abc import Iterable

PREFIX = "crystal-property-"
LONGEST = 100
"""Of a name."""


def default_name(targets: Iterable[str]) -> str:
    """Return the name of a model of these targets: `crystal-property-k_vrh`, `crystal-property-e_above_hull-le-0.1`."""
    plain = [re.sub(r"[^\w.]+", "-", each.replace("<=", "-le-")).strip("-") for each in targets]
    return (PREFIX + "-and-".join(plain))[:LONGEST]
