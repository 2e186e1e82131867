"""The MLflow runs of the trainings of a stage: opened, filled and closed by the sweep's own process."""

from __future__ import annotations

import math
from collections.abc import Mapping, Set

from crystalsweep.artifacts.kept import kept_row
from crystalsweep.config import as_parameters
from crystalsweep.pages.text import with_interval
from crystalsweep.sweeping.live import Live
from crystalsweep.sweeping.space.objectives import Objective
from crystalsweep.sweeping.trial import Assignment, job_of
from crystalsweep.tracking.outbox import Outbox
from crystalsweep.tracking.tags import NOTE, STATE
from crystalsweep.training.catalogue import config_from

STATUS = {"complete": "FINISHED", "failed": "FAILED", "pruned": "KILLED", "stopped": "KILLED"}
"""MLflow's status of a training by its state."""


class TrainingRuns:
    """Writes what trainings report to one run each."""

    def __init__(
        self,
        outbox: Outbox,
        assignment: Assignment,
        objective: Objective,
        *,
        experiment: str,
        kind: str,
        parent: str | None = None,
        tags: Mapping[str, str] | None = None,
        prefix: str = "",
    ) -> None:
        """Take what the runs have in common.

        Args:
            outbox: What sends it.
            assignment: What the trainings share.
            objective: What a run's conclusion tells first.
            experiment: Id in MLflow.
            kind: What the runs are: `trial`, or the stage of a prerequisite.
            parent: MLflow id of the sweep's run; a prerequisite has none.
            tags: Tags of every run.
            prefix: Begins the keys of the runs, which must differ between sweeps.
        """
        self._outbox, self._assignment, self._objective = outbox, assignment, objective
        self._experiment, self._kind, self._parent = experiment, kind, parent
        self._tags, self._prefix = dict(tags or {}), prefix
        self._spared: Set[str] = frozenset()

    @property
    def waiting(self) -> int:
        """Writes that MLflow has not taken yet."""
        return self._outbox.waiting

    def spare(self, keys: Set[str]) -> None:
        """Leave the runs of these trainings as they are: what is finished is never written anew."""
        self._spared = keys

    def open(self, live: Live) -> None:
        """Open a training's run, new or that of an earlier session."""
        if live.training.key in self._spared:
            return
        training = live.training
        job = job_of(self._assignment, training.key, training.settings, "")
        config = config_from(job.stage, job.config)
        self._outbox.start(
            self._key(live),
            self._experiment,
            training.name,
            kind=self._kind,
            parent=self._parent,
            params=as_parameters(config),
            tags={
                **self._tags,
                "crystalsweep.trial": training.key,
                "stage": job.stage,
                "backbone": config.backbone.name,
                "seed": str(training.seed),
                "control": str(training.control).lower(),
                STATE: "running",
            },
        )

    def log(self, live: Live, epoch: int) -> None:
        """Send what a training reported at an epoch."""
        if live.training.key not in self._spared:
            self._outbox.log(self._key(live), live.history[epoch], epoch)

    def mutated(self, live: Live, epoch: int) -> None:
        """Note that the scheduler changed a training's settings before an epoch."""
        if live.training.key not in self._spared:
            self._outbox.tag(self._key(live), {"crystalsweep.mutated": f"before epoch {epoch}"})

    def resend(self, live: Live) -> None:
        """Send all of a training that ended in an earlier session, which could not send it."""
        self.open(live)
        for epoch in sorted(live.history):
            self.log(live, epoch)
        self.close(live)

    def close(self, live: Live) -> None:
        """Close a training's run with its state and conclusion, and its checkpoint where it is complete."""
        if live.training.key in self._spared:
            return
        key = self._key(live)
        if live.state == "complete" and (latest := live.store.latest()) is not None:
            self._outbox.upload(key, live.store.fetch(latest), "checkpoint")
            self._log_kept(key, live)
        self._outbox.tag(key, {STATE: str(live.state), NOTE: self._conclusion(live)})
        self._outbox.finish(key, STATUS[live.state or "stopped"], live.reason)

    def _log_kept(self, key: str, live: Live) -> None:
        """Log the validation of the kept epoch once more after the last, where it is another: the last values of a run
        are taken for its checkpoint's."""
        row, epochs = kept_row(live.rows), len(live.history)
        if row["epoch"] != epochs:
            self._outbox.log(key, {name: value for name, value in row.items() if name.startswith("val/")}, epochs + 1)

    def _conclusion(self, live: Live) -> str:
        """Say in a line what became of a training; the report of a finished sweep says more of it."""
        if live.state != "complete":
            return f"{str(live.state).upper()}: {live.reason}"
        row, metric = kept_row(live.rows), self._objective.metric
        value, low, high = (row.get(name, math.nan) for name in (metric, f"{metric}/low", f"{metric}/high"))
        epochs = f"{len(live.history)} epochs" if len(live.history) > 1 else "1 epoch"
        if row["epoch"] != live.rows[-1]["epoch"]:
            epochs = f"{epochs}, of which {row['epoch']:.0f} was kept"
        if math.isnan(value):
            return f"complete after {epochs}"
        return f"{self._objective.title} {with_interval(value, low, high)} after {epochs}"

    def _key(self, live: Live) -> str:
        return self._prefix + live.training.key
