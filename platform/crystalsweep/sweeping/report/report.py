"""What reports of finished sweeps are made from, what they give, and what to type next."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from crystalsweep.artifacts.addresses import HIDDEN, Address, without_password
from crystalsweep.plots import plot_similarity, plot_training, plot_validity
from crystalsweep.sweeping.space.finished import ReportedTraining
from crystalsweep.sweeping.space.outcome import TrainingOutcome
from crystalsweep.tracking.tracker import sqlite_uri


def epochs_of(trial: ReportedTraining, columns: Sequence[str]) -> pd.DataFrame:
    """Return a training's epochs, as `plot_training` takes them; NaN where a metric was not logged."""
    rows = [{name: row.get(name, float("nan")) for name in columns} for row in trial.outcome.history]
    return pd.DataFrame(rows, columns=list(columns)).assign(trial=trial.name)


def draw_trial(
    trial: ReportedTraining, columns: Sequence[str], references: Mapping[str, pd.DataFrame], folder: Path
) -> list[Path]:
    """Draw one training's plots: metrics over test noise and mask type beside the references' tables, and its
    epochs."""
    tables = {trial.name: trial.table, **references}
    return [
        plot_validity(tables, folder / "validity.png"),
        plot_similarity(tables, folder / "similarity.png"),
        plot_training(epochs_of(trial, columns), folder / "training.png"),
    ]


def tidy(trials: Sequence[ReportedTraining], summaries: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return all numbers of the trainings and references, a row per mask type, test sigma and metric."""
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


def next_commands(sweep: str, best: TrainingOutcome, tracking_uri: Address, storage: Path | str, view: str = "") -> str:
    """Return the commands to type next; the sweep as it was asked for, unless it was resumed.

    `storage` may be an `s3://` address, `view` is where MLflow's UI shows the sweep, below its own address. A password
    is left out: MLFLOW_TRACKING_URI has it, or is to be given it.
    """
    local = str(tracking_uri).startswith("sqlite:")
    own = "://" not in str(storage) and str(tracking_uri) == sqlite_uri(Path(storage))
    place = f"--storage {storage}" if own else f"--tracking-uri {shlex.quote(str(tracking_uri))}"
    if local:
        started = f"{_command('mlflow')} ui --backend-store-uri {tracking_uri}"
        look = f"{started}\n{'':29}and open http://127.0.0.1:5000/{view}"
    else:
        look = f"open {tracking_uri.link.rstrip('/')}/{view}"
    commands = [f"compare in the MLflow UI   {look}"]
    if not any(argument.startswith("--resume") for argument in sys.argv):
        again = shlex.join(["python", f"sweeps/{sweep}.py", *map(without_password, sys.argv[1:])])
        submit = f"{_command('ray')} job submit --working-dir . -- {again}"
        commands.append(f"resubmit on a cluster      RAY_API_SERVER_ADDRESS=http://HEAD:8265 {submit}")
    commands.append(f"promote the best trial     {_command('crystalsweep')} promote {best.run} {place}")
    if tracking_uri.has_password:
        commands.append(f"{HIDDEN} is a password, which is not shown: these commands take it from MLFLOW_TRACKING_URI")
    return "\n  ".join(["Next:", *commands])


def _command(name: str) -> str:
    """Return the command as this shell finds it: by name with the environment activated, else by path."""
    if shutil.which(name):
        return name
    path = Path(sys.executable).parent / name
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
