"""What the sweep's own process does as trials live and die: MLflow runs, and lines of progress."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException
from ray.tune import Callback
from ray.tune.experiment import Trial

from crystalsweep.config import as_parameters
from crystalsweep.tracking import Tracker
from sweeps._trial import REFUSED, Choices, configured

TRIAL_STATUS = {"TERMINATED": "FINISHED", "ERROR": "FAILED"}
"""MLflow's status of a trial that Tune is done with."""


class Track(Callback):
    """A child run per trial: parameters at its start, metrics as they come, checkpoint and status at its end."""

    def __init__(
        self,
        tracker: Tracker,
        experiment: str,
        parent: str | None,
        kind: str,
        job: dict[str, Any],
        choices: Choices,
        label: str,
        tags: dict[str, str],
    ) -> None:
        self._tracker, self._experiment, self._parent, self._kind = tracker, experiment, parent, kind
        self._job, self._choices, self._label, self._tags = job, choices, label, tags
        self.runs: dict[str, str] = {}
        """MLflow run id by trial id."""
        self.ended: list[Trial] = []
        """All trials, once the experiment is over."""
        self.failed: set[str] = set()
        """Trials that Tune calls complete but that left nothing."""
        self.history: dict[str, dict[int, dict[str, float]]] = {}
        """Metrics by trial id and epoch; an epoch trained again after a restart counts once."""

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Open the child run, once: a restarted trial keeps its run."""
        del iteration, trials, info
        if trial.trial_id in self.runs:
            return
        config = configured(self._job["stage"], self._job["config"], trial.config, self._choices)
        shown = _settings(trial.config, self._label, ", ")
        self.runs[trial.trial_id] = self._tracker.start(
            self._experiment,
            f"{self._job['stage']} {shown}".strip(),
            kind=self._kind,
            parent=self._parent,
            params=as_parameters(config),
            tags={**self._tags, "crystalsweep.trial": trial.trial_id},
        )

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Log an epoch."""
        del iteration, trials, info
        ours = {
            name: value
            for name, value in result.items()
            if isinstance(value, float) and ("/" in name or name in ("loss", "epoch", "step"))
        }
        self.history.setdefault(trial.trial_id, {})[int(result["epoch"])] = ours
        try:
            self._tracker.log(self.runs[trial.trial_id], ours, int(result["epoch"]))
        except MlflowException as error:  # a server that is away for a moment must not cost the sweep
            print(f"  epoch {int(result['epoch'])} of trial {trial.trial_id} is not in MLflow: {error}", flush=True)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Upload the last checkpoint and close the run."""
        del iteration, trials, info
        run, checkpoint = self.runs[trial.trial_id], (trial.last_result or {}).get("checkpoint_path")
        if not checkpoint:
            self._tracker.finish(run, "FAILED", "ended without a checkpoint")
            self.failed.add(trial.trial_id)
            return
        self._tracker.upload(run, Path(checkpoint), "checkpoint")
        self._tracker.finish(run, "FINISHED")

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Close the run with the reason; the sweep goes on."""
        del iteration, trials, info
        if trial.trial_id in self.runs:
            self._tracker.finish(self.runs[trial.trial_id], "FAILED", failure(trial))

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """Keep the trials as the experiment left them."""
        del info
        self.ended = list(trials)


def _settings(config: dict[str, Any], label: str, separator: str) -> str:
    """A trial's settings as the label has them, or else by their last names."""
    if label:
        return label.format(**config)
    shown = {key.rpartition(".")[2]: value for key, value in config.items()}
    return separator.join(f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in shown.items())


def failure(trial: Trial) -> str:
    """Last line of the trial's error that says something."""
    if not trial.error_file or not Path(trial.error_file).exists():
        return "unknown error"
    lines = [line.strip() for line in Path(trial.error_file).read_text().splitlines() if line.strip()]
    refused = [line.partition(REFUSED)[2].strip() for line in lines if REFUSED in line]
    named = [line for line in lines if "Error:" in line]
    return (refused or named or lines or ["unknown error"])[-1]


class Progress(Callback):
    """A line per trial that moved, and every `every` seconds a summary with the time left.

    A trial's way is measured in epochs, or in minutes where it has a budget of them and they go faster.
    """

    def __init__(
        self, title: str, trials: int, epochs: int, minutes: float | None, label: str, every: float = 15.0
    ) -> None:
        self._title, self._total, self._every, self._label = title, trials, every, label
        self._epochs, self._minutes = epochs, minutes
        self._spent: defaultdict[str, float] = defaultdict(float)
        self._began = self._shown = time.monotonic()

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """One epoch of one trial."""
        del iteration, trials, info
        settings = _settings(trial.config, self._label, " ")
        self._spent[trial.trial_id] += result.get("time/epoch_s", 0.0) / 60
        names = [name for name in result if name == "loss" or name.startswith("loss/")]
        losses = " ".join(f"{name.replace('loss/', 'L_')} {result[name]:.3f}" for name in names)
        score = f"  score {result['val/score']:.3f}" if "val/score" in result else ""
        shown = (name for name in ("val/accuracy", "val/majority_accuracy") if name in result)
        accuracy = "".join(f"  {name.removeprefix('val/')} {result[name]:.3f}" for name in shown)
        way = f"/{self._epochs}"
        if self._minutes is not None:
            way = f", {self._spent[trial.trial_id]:.2f} of {self._minutes:g} min"
        print(
            f"  {self._title} {settings}  epoch {int(result['epoch'])}{way}  {losses}{score}{accuracy}",
            flush=True,
        )

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Say at once what failed."""
        del iteration, trials, info
        print(f"  {self._title} trial {trial.trial_id} FAILED: {failure(trial)}", flush=True)

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """The summary, when it is due."""
        del iteration, info
        if time.monotonic() - self._shown >= self._every:
            self._shown = time.monotonic()
            print(self._summary(trials), flush=True)

    def _summary(self, trials: list[Trial]) -> str:
        states = Counter(trial.status for trial in trials)
        done = sum(self._share_done(trial) for trial in trials) / self._total
        elapsed = time.monotonic() - self._began
        left = f"about {elapsed * (1 - done) / done / 60:.1f} min left" if done > 0 else "starting workers"
        finished = f"{states['TERMINATED']}/{self._total} finished, {states['RUNNING']} running"
        failed = f", {states['ERROR']} failed" if states["ERROR"] else ""
        return f"[{elapsed:4.0f} s] {self._title}: {finished}{failed}; {done:.0%} done, {left}"

    def _share_done(self, trial: Trial) -> float:
        if trial.status in TRIAL_STATUS:
            return 1.0
        epochs = float((trial.last_result or {}).get("epoch", 0)) / self._epochs
        return max(epochs, min(1.0, self._spent[trial.trial_id] / self._minutes) if self._minutes else 0.0)
