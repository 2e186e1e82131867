"""A finished sweep as reports are made from it, and what a report is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from crystalsweep.sweeping.space.judges import Judges
from crystalsweep.sweeping.space.limits import Limit
from crystalsweep.sweeping.space.objectives import Objective
from crystalsweep.sweeping.space.outcome import TrainingOutcome
from crystalsweep.sweeping.space.parameters import Parameter


@dataclass(frozen=True, kw_only=True)
class PredictedTable:
    """Errors of something that predicts properties."""

    trained_on: int
    """Labelled training crystals it was fitted on."""
    errors: pd.DataFrame
    """Columns target, id, error, as trainings of property models keep them."""


@dataclass(frozen=True, kw_only=True)
class FinishedSweep:
    """What a sweep has to report on: at its end, or where a cap stopped it."""

    name: str
    """Of the sweep, as `gan_noise-20261123-102707`."""
    question: str
    """Of the sweep file."""
    outcomes: Sequence[TrainingOutcome]
    """All trainings, however they ended, by number and seed."""
    parameters: Sequence[Parameter]
    objectives: Sequence[Objective]
    structures: int
    """Training crystals of an epoch."""
    costs: Mapping[str, tuple[float, float]]
    """(forecast, actual) of `minutes` (wall-clock), `cpu_hours`, `gpu_hours` and `bytes` (checkpoints)."""
    whole: bool
    """Whether all trainings have ended, which is what the forecast was of."""
    importances: Mapping[str, float]
    """By parameter key, for the first objective; empty where it cannot be told."""
    folder: Path
    """For plots and page."""
    references: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    """Of generators: per-structure tables of ceiling, identity and most common species, on the trials' inputs."""
    crystals: Mapping[str, Path] = field(default_factory=dict)
    """By key of a complete training, its gallery's folder, below `folder`."""
    decoded: Mapping[str, Mapping[str, pd.DataFrame]] = field(default_factory=dict)
    """By key of a complete training and name of a decoder, the table of the validation crystals as it restores them."""
    judges: Judges | None = None
    """What these tables were asked for beside the metrics of all."""
    limits: Sequence[Limit] = ()
    """What trials must not lose to the control arms; the best trial is among those that do not, if any."""
    composition: Mapping[str, PredictedTable] = field(default_factory=dict)
    """Of property models: by key of a complete training, what the composition alone tells of the validation crystals,
    fitted on that training's own crystals."""
    classifier: Mapping[str, float] = field(default_factory=dict)
    """Of adversaries: metrics of the stability classifier that the discriminator started from; empty without one."""

    @property
    def done(self) -> list[TrainingOutcome]:
        """Complete trainings, which have a table."""
        return [outcome for outcome in self.outcomes if outcome.state == "complete" and outcome.checkpoint]

    @property
    def seeds(self) -> list[int]:
        """Of all trainings."""
        return sorted({outcome.seed for outcome in self.outcomes})


@dataclass(frozen=True, kw_only=True)
class ReportedTraining:
    """A complete training as a report shows it."""

    outcome: TrainingOutcome
    name: str
    """As legends show it."""
    facts: dict[str, float] = field(default_factory=dict)
    """What a sweep measures of a training beside its metrics."""

    @property
    def table(self) -> pd.DataFrame:
        """A row per restored crystal, of the last validation."""
        return self.outcome.table


@dataclass(frozen=True, kw_only=True)
class Report:
    """A sweep's report."""

    trials: Sequence[ReportedTraining]
    """Complete trainings in the order of the report."""
    best: TrainingOutcome | None
    """Complete training to promote: the best seed of the best trial; None where none completed."""
    words: list[str]
    """Plain sentences, the conclusion first."""
    text: str
    """Everything as text: conclusion, overview, tables and sentences."""
    story: str
    """What the terminal shows: conclusion, overview, and what it means."""
    differences: pd.DataFrame
    """All comparisons that verdicts were given on, a row each; `asked` says which question."""
    plots: list[Path]
    page: Path
    """HTML, everything inlined."""
    numbers: pd.DataFrame
    """A row per complete training or reference, mask type, test sigma and metric."""
    history: Sequence[str]
    """Metrics that `draw_trial` draws over a training's epochs."""
    draw: Callable[[ReportedTraining, Path], list[Path]]
    """Draws a training's own plots into a folder."""
    conditions: Callable[[TrainingOutcome], dict[str, float]]
    """Figures of a training's last validation by condition, as its run in MLflow has them."""
    references: Mapping[str, dict[str, float]] = field(default_factory=dict)
    """Figures of what trials stand beside, by name; the run of the sweep has them."""
    verdicts: Mapping[int, str] = field(default_factory=dict)
    """By number of the trial, a phrase on it beside its control arm, where it has one."""
