"""What a sweep varies: its keys, the values of a grid, the ranges that a search draws from, and the paper's point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from crystalsweep.pages.text import three_digits

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One thing that differs between trials."""

    key: str
    """Dotted path in the swept stage's config, or a name that `Resolved.choices` explains."""
    title: str
    """As axes and tables show it, as `w_W`."""
    values: tuple[Any, ...]
    """Of a grid, in order."""
    low: float | None = None
    """Range that random search and Optuna draw from; without one they choose among `values`."""
    high: float | None = None
    log: bool = False
    """Draw, and draw axes, on a logarithmic scale."""
    paper: Any = None
    """The paper's value, where it has one."""
    unit: float = 1.0
    """Shown is the value over this, as lr_D over lr_G."""
    mutable: bool = False
    """Whether population-based training may change it while a trial runs."""
    brief: str = ""
    """In names of runs, where `{}` is the value, as `σ={}` or `{}:1`; the title and the value where empty."""

    @property
    def integer(self) -> bool:
        """Whether values are whole numbers."""
        return all(isinstance(value, int) and not isinstance(value, bool) for value in self.values)

    def contains(self, value: Any) -> bool:
        """Return whether a search can propose this value; control arms such as w_W = 0 need not be among them."""
        if self.low is None or self.high is None:
            return value in self.values
        return bool(self.low <= value <= self.high)

    def suggest(self, trial: optuna.Trial) -> Any:
        """Return a value that the study's sampler proposes, or the one that the trial was enqueued with."""
        if self.low is None or self.high is None:
            return trial.suggest_categorical(self.key, self.values)
        if self.integer:
            return trial.suggest_int(self.key, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(self.key, self.low, self.high, log=self.log)

    def shown(self, value: Any) -> str:
        """Return the value as tables and names have it."""
        return three_digits(value / self.unit) if isinstance(value, int | float) else str(value)

    def named(self, value: Any) -> str:
        """Return the value in the name of a run, as `σ=0.2` or `10:1`."""
        return (self.brief or f"{self.title}={{}}").format(self.shown(value))


def always_named(named: Mapping[str, str]) -> tuple[Parameter, ...]:
    """Return as parameters the settings that the name of every training says (`StageSpec.named`)."""
    return tuple(
        Parameter(key=key, title=key.rpartition(".")[2], values=(), brief=brief) for key, brief in named.items()
    )


def grid_points(parameters: Sequence[Parameter]) -> list[dict[str, Any]]:
    """Return all combinations of the parameters' values, the first parameter varying slowest."""
    keys = [parameter.key for parameter in parameters]
    return [dict(zip(keys, values, strict=True)) for values in product(*(p.values for p in parameters))]


def label(parameters: Sequence[Parameter], settings: Mapping[str, Any]) -> str:
    """Return a trial's settings for a person, as `σ_noise=0.2 w_W=0.1`; settings that are no parameter by their last
    name."""
    titles = {parameter.key: parameter for parameter in parameters}
    parts = []
    for key, value in settings.items():
        known = titles.get(key)
        title, shown = (known.title, known.shown(value)) if known else (key.rpartition(".")[2], f"{value}")
        parts.append(f"{title}={shown}")
    return " ".join(parts)


def run_name(parameters: Sequence[Parameter], settings: Mapping[str, Any]) -> str:
    """Return a trial's settings in the name of a run, as `σ=0.2 w_W=0.1 10:1`."""
    known = {parameter.key: parameter for parameter in parameters}
    return " ".join(
        known[key].named(value) if key in known else f"{key.rpartition('.')[2]}={value}"
        for key, value in settings.items()
    )
