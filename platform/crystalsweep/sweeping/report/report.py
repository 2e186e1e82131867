"""What reports of finished sweeps are made from, what they give, and what to type next."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from crystalsweep.artifacts.addresses import Address, without_password
from crystalsweep.plots import plot_similarity, plot_training, plot_validity
from crystalsweep.sweeping.space.finished import ReportedTraining
from crystalsweep.sweeping.space.outcome import TrainingOutcome
from crystalsweep.tracking.next_steps import FROM_ENVIRONMENT, command, store_options


def epochs_of(trial: ReportedTraining, columns: Sequence[str]) -> pd.DataFrame:
    """Return a training's epochs, as `plot_training` takes them; NaN where a metric was not logged."""
    rows = [{name: row.get(name, float("nan")) for name in columns} for row in trial.outcome.history]
    return pd.DataFrame(rows, columns=list(columns)).assign(trial=trial.name)


def draw_trial(
    trial: ReportedTraining, folder: Path, *, columns: Sequence[str], references: Mapping[str, pd.DataFrame]
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

    A password is left out: MLFLOW_TRACKING_URI has it, or is to be given it.

    Args:
        sweep: Name of its file.
        best: The training to promote.
        tracking_uri: Of the store.
        storage: Folder, or `s3://` address.
        view: Where MLflow's UI shows the sweep, below its own address.
    """
    local = str(tracking_uri).startswith("sqlite:")
    if local:
        started = f"{command('mlflow')} ui --backend-store-uri {tracking_uri}"
        look = f"{started}\n{'':29}and open http://127.0.0.1:5000/{view}"
    else:
        look = f"open {tracking_uri.link.rstrip('/')}/{view}"
    commands = [f"compare in the MLflow UI   {look}"]
    if not any(argument.startswith("--resume") for argument in sys.argv):
        again = shlex.join(["python", f"sweeps/{sweep}.py", *map(without_password, sys.argv[1:])])
        submit = f"{command('ray')} job submit --working-dir . -- {again}"
        commands.append(f"resubmit on a cluster      RAY_API_SERVER_ADDRESS=http://HEAD:8265 {submit}")
    place = store_options(tracking_uri, storage)
    commands.append(f"promote the best trial     {command('crystalsweep')} promote {best.run} {place}")
    if tracking_uri.has_password:
        commands.append(FROM_ENVIRONMENT)
    return "\n  ".join(["Next:", *commands])
