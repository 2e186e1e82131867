"""What reports of finished sweeps are made from, what they give, and what to type next."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from crystalsweep.plots import plot_similarity, plot_training, plot_validity
from crystalsweep.sweeping.outcome import Outcome
from crystalsweep.sweeping.space.objectives import Objective
from crystalsweep.sweeping.space.parameters import Parameter
from crystalsweep.tracking.tracker import sqlite_uri


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What a sweep has to report on: at its end, or where a cap stopped it."""

    name: str
    """Of the sweep, as `gan_noise-20261123-102707`."""
    question: str
    """Of the sweep file."""
    outcomes: Sequence[Outcome]
    """All trainings, however they ended, by number and seed."""
    parameters: Sequence[Parameter]
    objectives: Sequence[Objective]
    references: Mapping[str, pd.DataFrame]
    """Per-structure tables of ceiling, identity and most common species, on the trials' inputs."""
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

    @property
    def done(self) -> list[Outcome]:
        """Complete trainings, which have a table."""
        return [outcome for outcome in self.outcomes if outcome.state == "complete" and outcome.checkpoint]

    @property
    def seeds(self) -> list[int]:
        """Of all trainings."""
        return sorted({outcome.seed for outcome in self.outcomes})


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """A complete training as a report shows it."""

    outcome: Outcome
    name: str
    """As legends show it."""
    facts: dict[str, float] = field(default_factory=dict)
    """What a sweep measures of a training beside its metrics."""

    @property
    def table(self) -> pd.DataFrame:
        """A row per restored crystal, of the last validation."""
        return self.outcome.table


@dataclass(frozen=True, kw_only=True)
class Told:
    """A sweep's report."""

    trials: Sequence[Evaluated]
    """Complete trainings in the order of the report."""
    best: Outcome | None
    """Complete training to promote: the best seed of the best trial; None where none completed."""
    words: list[str]
    """Plain sentences."""
    text: str
    """For the terminal: tables, then the sentences."""
    plots: list[Path]
    page: Path
    """HTML, everything inlined."""
    numbers: pd.DataFrame
    """A row per complete training or reference, mask type, test sigma and metric."""
    history: Sequence[str]
    """Metrics that `draw_trial` draws over a training's epochs."""
    verdicts: Mapping[int, str] = field(default_factory=dict)
    """By number of the trial, a phrase on it beside its control arm, where it has one."""


def history(trial: Evaluated, columns: Sequence[str]) -> pd.DataFrame:
    """A training's epochs, as `plot_training` takes them; NaN where a metric was not logged."""
    rows = [{name: row.get(name, float("nan")) for name in columns} for row in trial.outcome.history]
    return pd.DataFrame(rows, columns=list(columns)).assign(trial=trial.name)


def draw_trial(
    trial: Evaluated, columns: Sequence[str], references: Mapping[str, pd.DataFrame], folder: Path
) -> list[Path]:
    """One training's plots: metrics over test noise and mask type beside the references' tables, and its epochs."""
    tables = {trial.name: trial.table, **references}
    return [
        plot_validity(tables, folder / "validity.png"),
        plot_similarity(tables, folder / "similarity.png"),
        plot_training(history(trial, columns), folder / "training.png"),
    ]


def tidy(trials: Sequence[Evaluated], summaries: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """All numbers of the trainings and references, a row per mask type, test sigma and metric."""
    parts = [
        trial.outcome.summary.assign(
            trial=trial.outcome.key,
            seed=trial.outcome.seed,
            run=trial.outcome.run,
            **{str(key): str(value) for key, value in trial.outcome.settings.items()},
            **trial.facts,
        )
        for trial in trials
    ]
    parts += [summary.assign(trial=name) for name, summary in summaries.items()]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def next_commands(sweep: str, best: Outcome, tracking_uri: str, storage: Path | str) -> str:
    """The commands to type next; the sweep as it was asked for, unless it was resumed.

    `storage` may be an `s3://` address.
    """
    local = tracking_uri.startswith("sqlite:")
    own = "://" not in str(storage) and tracking_uri == sqlite_uri(Path(storage))
    place = f"--storage {storage}" if own else f"--tracking-uri {tracking_uri}"
    look = f"{_command('mlflow')} ui --backend-store-uri {tracking_uri}" if local else f"open {tracking_uri}"
    commands = [f"compare in the MLflow UI   {look}"]
    if not any(argument.startswith("--resume") for argument in sys.argv):
        again = shlex.join(["python", f"sweeps/{sweep}.py", *sys.argv[1:]])
        submit = f"{_command('ray')} job submit --working-dir . -- {again}"
        commands.append(f"resubmit on a cluster      RAY_API_SERVER_ADDRESS=http://HEAD:8265 {submit}")
    commands.append(f"promote the best trial     {_command('crystalsweep')} promote {best.run} {place}")
    return "\n  ".join(["Next:", *commands])


def _command(name: str) -> str:
    """The command as this shell finds it: by name with the environment activated, else by path."""
    if shutil.which(name):
        return name
    path = Path(sys.executable).parent / name
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
