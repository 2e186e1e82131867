"""Axes of what a sweep varies and what it measures: numbers, logarithms that have a place for zero, and names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator
from numpy.typing import NDArray

from crystalsweep.pages.text import three_digits

_LABELLED = 9
"""Up to so many distinct values each has a tick of its own."""

_APART = 0.06
"""Ticks nearer to each other than this share of the axis would cover each other."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """One column of a frame of trials, and how it is drawn."""

    column: str
    title: str
    log: bool = False
    paper: float | None = None
    """The paper's value, as the column has it."""
    direction: str = ""
    """`maximize` or `minimize` for an objective; empty for a parameter."""

    @property
    def label(self) -> str:
        """The title, and which way is better."""
        return self.title + {"maximize": " (higher is better)", "minimize": " (lower is better)"}.get(
            self.direction, ""
        )


class Ruler:
    """Where the values of an axis stand: numbers as they are or by log10, names one step apart.

    A logarithmic axis with a zero, as of a weight whose control arm is 0, has it half a decade or more to the left of
    the least positive value.
    """

    def __init__(self, values: Iterable[Any], *, log: bool = False) -> None:
        known = [value for value in values if not _missing(value)]
        self.numeric = bool(known) and all(_number(value) for value in known)
        self._names = {} if self.numeric else {name: i for i, name in enumerate(dict.fromkeys(map(str, known)))}
        numbers = np.unique(np.array(known if self.numeric else [], dtype=float))
        positive = numbers[numbers > 0]
        self.log = log and len(positive) > 0 and not (numbers < 0).any()
        self._distinct = numbers
        if self.log:
            ends = np.log10(positive[[0, -1]])
            self._zero = float(ends[0] - max(0.5, 0.15 * (ends[1] - ends[0])))

    def at(self, values: Iterable[Any]) -> NDArray[np.float64]:
        """Return (n,) places of (n,) values; NaN where a value is missing."""
        return np.array([self._place(value) for value in values], dtype=np.float64)

    def ticks(self) -> list[tuple[float, str]]:
        """Return places and labels."""
        if not self.numeric:
            return [(float(place), name) for name, place in self._names.items()]
        places = sorted((self._place(value), three_digits(value)) for value in self._labelled())
        apart, kept = _APART * max(places[-1][0] - places[0][0], 1e-12), places[:1]
        return kept + [tick for i, tick in enumerate(places[1:]) if tick[0] - places[i][0] >= apart]

    def _labelled(self) -> NDArray[np.float64]:
        if len(self._distinct) <= _LABELLED:
            return self._distinct
        low, high = self._distinct[0], self._distinct[-1]
        if not self.log:
            ticks = MaxNLocator(5).tick_values(low, high)
        else:
            low = self._distinct[self._distinct > 0][0]
            ticks = LogLocator(subs=(1.0,) if high / low > 100 else (1.0, 2.0, 5.0)).tick_values(low, high)
        inside = ticks[(ticks >= low) & (ticks <= high)]
        return np.r_[self._distinct[:1], inside] if self.log and self._distinct[0] == 0 else inside

    def _place(self, value: Any) -> float:
        if _missing(value) or (self.numeric and not _number(value)):
            return float("nan")
        if not self.numeric:
            return float(self._names.get(str(value), np.nan))
        if not self.log:
            return float(value)
        return float(np.log10(value)) if value > 0 else self._zero


def set_ticks(axis: Axes, *, x: Ruler | None = None, y: Ruler | None = None) -> None:
    """Set the rulers' ticks on an axis whose data are the rulers' places."""
    if x:
        axis.set_xticks(*zip(*x.ticks(), strict=True))
    if y:
        axis.set_yticks(*zip(*y.ticks(), strict=True))


def _number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool | np.bool_)


def _missing(value: Any) -> bool:
    return value is None or bool(pd.isna(value))
