"""What a search must not pay for its objective: losses against the control arms, as `compositional_similarity=0.01`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from crystalsweep.config import suggestion
from crystalsweep.sweeping.space.objectives import OBJECTIVES, Objective

_UNDEFINED = 1e9
"""Loss of a trial whose value nothing defines, where that does not count as some worst value."""


@dataclass(frozen=True, kw_only=True)
class Limit:
    """The most that a trial may lose of one figure to the best control arm."""

    objective: Objective
    most: float
    """In the figure's own unit."""

    def best(self, values: Iterable[float]) -> float | None:
        """Return the best of control arms' values; None where none is defined."""
        known = [value for value in values if not math.isnan(value)]
        if not known:
            return None
        return max(known) if self.objective.direction == "maximize" else min(known)

    def loss(self, value: float, control: float) -> float:
        """Return by how much a value is worse than the control arm's; below 0 where it is better."""
        if math.isnan(value):
            if self.objective.undefined is None:
                return _UNDEFINED
            value = self.objective.undefined
        return control - value if self.objective.direction == "maximize" else value - control

    def exceeded(self, value: float, control: float) -> float:
        """Return what a trial loses beyond the limit; at most 0 where it keeps to it."""
        return self.loss(value, control) - self.most

    def keeps(self, values: Mapping[str, float], control: float) -> bool:
        """Return whether metrics by name keep to the limit."""
        return self.exceeded(values.get(self.objective.metric, math.nan), control) <= 0


def limits(told: Iterable[str]) -> tuple[Limit, ...]:
    """Return the limits that texts as `compositional_similarity=0.01` name.

    Raises:
        ValueError: One is no such text, or names no figure, with the nearest.
    """
    found: dict[str, Limit] = {}
    for text in told:
        name, _, loss = text.partition("=")
        if name not in OBJECTIVES:
            raise ValueError(f"--subject-to {text}: there is no figure {name!r}; {suggestion(name, OBJECTIVES)}")
        try:
            most = float(loss)
        except ValueError:
            most = math.nan
        if not 0 <= most < math.inf:
            raise ValueError(f"--subject-to {text}: say what a trial may lose of it, as {name}=0.01")
        found[name] = Limit(objective=OBJECTIVES[name], most=most)
    return tuple(found.values())
