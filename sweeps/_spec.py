"""What a sweep file says, before anything is known of preset, data or machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna

from sweeps._report import Finished, Told
from sweeps._trial import Choices
from trainables.config import StageConfig


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """What a sweep trains with one preset."""

    stages: dict[str, StageConfig]
    """In order; the last is the one that is swept, and starts from all others."""
    choices: Choices = field(default_factory=dict)
    """Settings of the trials whose values are names, and what these stand for."""


@dataclass(frozen=True, kw_only=True)
class SweepSpec:
    """What a sweep file says."""

    name: str
    question: str
    resolve: Callable[[str, Sequence[str]], Resolved]
    """From a preset and `--set` assignments; raises `ValueError` for unknown names and bad values."""
    points: Sequence[dict[str, Any]]
    """Settings of the first trials."""
    controls: int = 0
    """How many of them are control arms, which no budget may leave out."""
    space: Callable[[optuna.Trial], dict[str, Any]]
    """Where later ones come from; picklable."""
    label: str = ""
    """How runs show their settings, as `{backbone} seed {seed}`; empty for `key=value`."""
    report: Callable[[Finished], Told]
