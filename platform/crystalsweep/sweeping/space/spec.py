"""What a sweep file says, before anything is known of data or machine. Imports without torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from crystalsweep.inference.decoding.settings import DecodeConfig
from crystalsweep.sweeping.space.judges import Judges
from crystalsweep.sweeping.space.parameters import Parameter
from crystalsweep.sweeping.space.settings import Choices
from crystalsweep.training.config import StageConfig

if TYPE_CHECKING:
    from crystalsweep.sweeping.space.finished import FinishedSweep, Report


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """What a sweep trains with one preset."""

    stages: dict[str, StageConfig]
    """In order; the last is the one that is swept, and starts from all others."""
    parameters: tuple[Parameter, ...]
    """What differs between trials."""
    controls: tuple[dict[str, Any], ...] = ()
    """Settings of the control arms, which come first and which no budget may leave out."""
    grid: tuple[dict[str, Any], ...] | None = None
    """Points of a grid search; all combinations of the parameters' values where none are named."""
    choices: Choices = field(default_factory=dict)
    """Settings of the trials whose values are names, and what these stand for."""
    judges: Judges | None = None
    """What the report asks of restored crystals beside its metrics."""


@dataclass(frozen=True, kw_only=True)
class SweepSpec:
    """What a sweep file says."""

    name: str
    question: str
    search_space: Callable[..., SearchSpace]
    """From a preset, `--set` assignments and, by name, the options that it alone has; raises `ValueError` for unknown
    names and bad values."""
    report: str | Callable[[FinishedSweep], Report]
    """What a finished sweep says beside what all of them say: a function, or the place of one, as
    `crystalsweep.sweeping.report.gan:gan_report`. What draws imports torch, for which bad options need not wait."""

    decoders: Mapping[str, DecodeConfig] = field(default_factory=dict)
    """By name, how complete trainings' validation crystals are restored again for the report; each training's own
    table is one pass, each site by itself."""

    control_decoders: Mapping[str, DecodeConfig] = field(default_factory=dict)
    """Likewise, of the first control arm alone: what decoding gives without what the sweep asks about."""

    def reporter(self) -> Callable[[FinishedSweep], Report]:
        """Return the function that makes the report, imported. Raises `ImportError` or `AttributeError` for a wrong
        place."""
        found: Callable[[FinishedSweep], Report] = (
            resolve_name(self.report) if isinstance(self.report, str) else self.report
        )
        return found
