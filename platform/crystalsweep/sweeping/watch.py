"""What the sweep's own process does as trainings live and die: ledger, MLflow, budget, display, timeouts."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import ray
from optuna.exceptions import StorageInternalError
from ray.tune import Callback, Stopper
from ray.tune.experiment import Trial

from crystalsweep.artifacts.checkpoint_store import CheckpointStore, StorageError, child
from crystalsweep.config import as_parameters
from crystalsweep.sweeping.display.display import Display, Snapshot, TrainingRow
from crystalsweep.sweeping.folder import read_history, write_history
from crystalsweep.sweeping.plan.budget import Caps, Usage, exceeded, told
from crystalsweep.sweeping.report.words import interval
from crystalsweep.sweeping.space.objectives import Objective
from crystalsweep.sweeping.space.outcome import TrainingState
from crystalsweep.sweeping.space.training import Training
from crystalsweep.sweeping.trial import REFUSED, TRAINING_KEY, Assignment, job_of
from crystalsweep.tracking.outbox import Outbox
from crystalsweep.training.catalogue import config_from
from crystalsweep.training.job import LAST, STORAGE

STATUS = {"complete": "FINISHED", "failed": "FAILED", "pruned": "KILLED", "stopped": "KILLED"}
"""MLflow's status of a training by its state."""

STATE = "state"
"""Tag: `running`, or how a training ended (`outcome.State`)."""

NOTE = "mlflow.note.content"
"""Tag: the description that MLflow's UI shows, in Markdown."""

_WRITTEN = 30.0
"""Seconds after which a training that was cut has stopped writing checkpoints."""

_NOTED = 5.0
"""Seconds between notes of how long a training has run: a killed sweep forgets at most so much of its budget."""


class Source(Protocol):
    """Where trainings come from, and who wants to know how they ended: the ledger, or a single prerequisite."""

    def next(self) -> Training | None:
        """The next one to begin."""
        ...

    @property
    def planned(self) -> int:
        """Of all sessions."""
        ...

    def progress(self, key: str, seconds: float, settings: Mapping[str, Any] | None = None) -> None:
        """A training has held its resources for so long."""
        ...

    def end(
        self, key: str, state: TrainingState, reason: str, history: Sequence[Mapping[str, float]], seconds: float
    ) -> None:
        """A training is over."""
        ...


@dataclass(kw_only=True)
class Live:
    """A training as this process knows it."""

    training: Training
    settings: Mapping[str, Any]
    """Of the trial as it runs now."""
    store: CheckpointStore
    row: TrainingRow
    before: float
    """Seconds of earlier sessions."""
    began: float | None = None
    """When its present attempt began, by this process's clock."""
    heard: float = 0.0
    noted: float = 0.0
    spent: float = 0.0
    """Seconds of this session's earlier attempts."""
    history: dict[int, dict[str, float]] = field(default_factory=dict)
    size: int = 0
    """Bytes of its checkpoints, as last seen."""
    state: TrainingState | None = None
    reason: str = ""
    free_at: float | None = None
    """When its checkpoints are freed, by this process's clock; its own process may still be writing one."""

    @property
    def seconds(self) -> float:
        """For which it has held its resources, in all."""
        now = time.monotonic() - self.began if self.began is not None else 0.0
        return self.before + self.spent + now

    @property
    def rows(self) -> list[dict[str, float]]:
        """Epochs in order."""
        return [row for _, row in sorted(self.history.items())]


@dataclass(frozen=True, kw_only=True)
class WatchSettings:
    """What a watch is told of its trials."""

    title: str
    assignment: Assignment
    source: Source
    outbox: Outbox
    experiment: str
    """Id in MLflow."""
    parent: str | None
    """MLflow run id."""
    kind: str
    tags: Mapping[str, str]
    prefix: str
    """Of keys in MLflow, which must differ between sweeps."""
    objective: Objective
    caps: Caps
    used: Usage
    """By other trainings, before these."""
    timeout: float
    """Seconds without a report after which a training is given up."""
    display: Display
    folder: Path
    """Local, of the sweep: histories."""
    note: Callable[[float], None]
    """Takes, now and then, the seconds since it began to watch."""


class Watch(Callback):
    """Follows trials; `Cap` asks it whether to stop them all."""

    def __init__(self, watched: WatchSettings) -> None:
        self._w = watched
        self.live: dict[str, Live] = {}
        self.waiting: dict[str, float] = {}
        """By key, seconds for which trainings that earlier sessions left open held their resources."""
        self.halted = ""
        """Why all trials are to stop; empty while they are not."""
        self.broken = False
        """Whether that is an error, such as a full disk, and no cap."""
        self.cutting = False
        """Whether the scheduler cuts trainings: one that ends early without it has failed."""
        self._remembered = 0
        self._began = self._noted = time.monotonic()
        self._config = config_from(watched.assignment.job.stage, watched.assignment.job.config)
        self._refusals = Path(watched.assignment.folder) / "refusals"
        self._refusals.mkdir(parents=True, exist_ok=True)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its callbacks into a folder from which nobody reads them."""
        return {}

    def setup(self, **info: Any) -> None:
        """Tune's setup; there is nothing to set up."""

    @property
    def assignment(self) -> Assignment:
        """What all trials share."""
        return self._w.assignment

    @property
    def folder(self) -> Path:
        """Local, of the sweep."""
        return self._w.folder

    @property
    def planned(self) -> int:
        """Trainings in all."""
        return self._w.source.planned

    def note_elapsed(self) -> None:
        """Have the time kept, which a killed sweep would forget."""
        self._noted = time.monotonic()
        self._w.note(self._noted - self._began)

    def remember(self, training: Training, state: TrainingState, reason: str) -> None:
        """A training that ended in an earlier session: it counts, and is shown."""
        live = self._live(training)
        live.history = {int(row["epoch"]): row for row in read_history(self._w.folder, training.key)}
        live.size, live.state, live.reason = live.store.size(), state, reason
        if state == "pruned" and live.size:  # killed before it could free them
            live.free_at = time.monotonic()
        self._remembered += 1
        live.row.status, live.row.note = state, reason
        if live.history:
            self._fill(live, max(live.history))

    def expect(self, training: Training) -> None:
        """A training that will begin now: what earlier processes did of it comes from its checkpoints."""
        (self._refusals / training.key).unlink(missing_ok=True)  # of an earlier session, for what may be mended
        live = self._live(training)
        self._open(live)
        self._catch_up(live)

    def resend(self, key: str) -> None:
        """To MLflow, what an earlier session could not send of a training that ended."""
        live = self.live[key]
        self._open(live)
        for epoch, row in sorted(live.history.items()):
            self._w.outbox.log(self._w.prefix + key, row, epoch)
        self._finish(live)

    def _open(self, live: Live) -> None:
        w, training = self._w, live.training
        job = job_of(w.assignment, training.key, training.settings, "")
        config = config_from(job.stage, job.config)
        w.outbox.start(
            w.prefix + training.key,
            w.experiment,
            training.name,
            kind=w.kind,
            parent=w.parent,
            params=as_parameters(config),
            tags={
                **w.tags,
                "crystalsweep.trial": training.key,
                "stage": job.stage,
                "backbone": config.backbone.name,
                "seed": str(training.seed),
                "control": str(training.control).lower(),
                STATE: "running",
            },
        )
        live.size = live.store.size()

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """An attempt begins."""
        del iteration, trials, info
        live = self.live[_key(trial)]
        if live.state:  # given up: it will be refused
            return
        if live.began is None:
            live.began = time.monotonic()
        live.heard = time.monotonic()
        live.row.status = "running"

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """An epoch, or the reason why there will be none."""
        del iteration, trials, info
        live = self.live[_key(trial)]
        if live.state:
            return
        live.heard = time.monotonic()
        with self._halting():
            if REFUSED in result:
                self._refused(live, str(result[REFUSED]))
                return
            epoch, mutating = int(result["epoch"]), self._w.assignment.mutating
            config = result["config"]  # the trial's own may be what it will go on with
            settings = {name: value for name, value in config.items() if name != TRAINING_KEY}
            taken_over = mutating and settings != live.settings
            if taken_over:
                live.settings = settings
                self._w.outbox.tag(
                    self._w.prefix + live.training.key, {"crystalsweep.mutated": f"before epoch {epoch}"}
                )
            elif epoch in live.history:  # trained again after a restart, or told again as the last
                return
            if taken_over or epoch != len(live.history) + 1:
                self._catch_up(live, before=epoch)
            self._epoch(live, epoch, {n: v for n, v in result.items() if _ours(n, v)})
            live.size = live.store.size()
            if taken_over:
                self._w.source.progress(live.training.key, live.seconds, settings)
            self._w.display.epoch(live.row)
            self.check_caps()

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A training reached its end, or the scheduler cut it."""
        del iteration, trials, info
        live = self.live[_key(trial)]
        if live.state or self.halted:
            return
        with self._halting():
            if (trial.last_result or {}).get(LAST) or len(live.history) >= self._config.epochs:
                self._close(live, "complete", "")
            elif self.cutting and live.history:
                self._close(live, "pruned", f"cut by the scheduler after epoch {len(live.history)}")
            else:
                self._close(live, "failed", f"ended after epoch {len(live.history)}, before its last")

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Its process died too often, or raised what nobody foresaw."""
        del iteration, trials, info
        live = self.live[_key(trial)]
        if not live.state:
            with self._halting():
                self._close(live, "failed", failure(trial))

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Now and then: show, give up what hangs, keep the budget."""
        del iteration, info
        with self._halting():
            for trial in trials:
                self._look_after(trial, self.live[_key(trial)], time.monotonic())
            self.check_caps()
            if time.monotonic() - self._noted > _NOTED:
                self.note_elapsed()
        self._w.display.show(self.picture())

    def _look_after(self, trial: Trial, live: Live, now: float) -> None:
        if live.free_at is not None and now > live.free_at:
            self._free(live)
        if live.state:
            return
        if trial.status != "RUNNING":
            if trial.status in ("PENDING", "PAUSED") and live.began is not None:  # then nothing is held
                live.spent, live.began = live.spent + now - live.began, None
            return
        if live.began is None:
            live.began = live.heard = now
        if now - live.noted > _NOTED:
            live.noted = now
            self._w.source.progress(live.training.key, live.seconds)
        if now - live.heard > self._w.timeout:
            self._give_up(trial, live)

    def settle(self) -> None:
        """After the last step: what has not ended is stopped, and can be resumed."""
        for live in self.live.values():
            with self._halting():
                if not live.state:
                    self._close(live, "stopped", self.halted or "the sweep was stopped")
                if live.free_at is not None:
                    self._free(live)

    def used(self) -> Usage:
        """By all trainings of all sessions."""
        w = self._w
        waiting = sum(seconds for key, seconds in self.waiting.items() if key not in self.live)
        held = waiting + sum(live.seconds for live in self.live.values())
        size = sum(live.size for live in self.live.values())
        used = w.used.plus(held, w.assignment.resources)
        return Usage(cpu_hours=used.cpu_hours, gpu_hours=used.gpu_hours, bytes=used.bytes + size)

    def picture(self) -> Snapshot:
        """The sweep at this moment."""
        w, now = self._w, time.monotonic()
        for live in self.live.values():
            live.row.minutes = live.seconds / 60
        rows = [replace(live.row) for live in self.live.values()]
        planned = max(w.source.planned, len(rows))
        done = sum(row.share for row in rows)
        elapsed = now - self._began
        now_done = done - self._remembered
        left = elapsed * (planned - done) / now_done if now_done > 0 else 0.0 if done >= planned else None
        valued = [row for row in rows if row.value is not None and row.status in ("complete", "running")]
        sign = 1 if w.objective.mode == "max" else -1
        best = max(valued, key=lambda row: sign * (row.value or 0.0), default=None)
        return Snapshot(
            title=w.title,
            stage=w.assignment.job.stage,
            objective=w.objective.title,
            rows=rows,
            planned=planned,
            best=best,
            elapsed=elapsed,
            left=left,
            used=told(self.used(), w.caps),
            behind=w.outbox.waiting,
        )

    def _live(self, training: Training) -> Live:
        job = self._w.assignment.job
        row = TrainingRow(
            key=training.key,
            shown=training.name.removeprefix(job.stage).strip(),
            status="waiting",
            epochs=self._config.epochs,
            budget_minutes=self._config.max_minutes,
        )
        store = CheckpointStore(child(job.checkpoints, training.key))
        live = Live(training=training, settings=dict(training.settings), store=store, row=row, before=training.seconds)
        self.live[training.key] = live
        return live

    def _epoch(self, live: Live, epoch: int, row: dict[str, float]) -> None:
        live.history[epoch] = row
        self._fill(live, epoch)
        self._w.outbox.log(self._w.prefix + live.training.key, row, epoch)

    def _fill(self, live: Live, epoch: int) -> None:
        """What is shown of a training, as of this epoch."""
        metric, shown, row = self._w.objective.metric, live.row, live.history[epoch]
        shown.epoch, shown.rate = epoch, row.get("time/structures_per_s")
        shown.value, shown.low, shown.high = (row.get(name) for name in (metric, f"{metric}/low", f"{metric}/high"))
        losses = [name for name in row if name == "loss" or name.startswith("loss/")]
        shown.losses = " ".join(f"{name.replace('loss/', 'L_')} {row[name]:.3f}" for name in losses)

    def _catch_up(self, live: Live, before: int | None = None) -> None:
        """Epochs that no process saw, or another's whose state was taken over, from the checkpoint."""
        rows = {int(row["epoch"]): row for row in live.store.history()}
        known = {epoch: row for epoch, row in rows.items() if before is None or epoch < before}
        new = [epoch for epoch in known if epoch not in live.history]
        live.history = known if known else live.history
        for epoch in sorted(new):
            self._epoch(live, epoch, known[epoch])

    def _refused(self, live: Live, reason: str) -> None:
        if reason.startswith(STORAGE):
            self.halted, self.broken = reason.removeprefix(STORAGE).strip(), True
            return
        self._close(live, "failed", reason)

    def _give_up(self, trial: Trial, live: Live) -> None:
        """Kill a training that hangs; Tune is not to begin it anew."""
        minutes = f"{self._w.timeout / 60:g} min"
        self._close(live, "failed", f"timed out: no report for {minutes} after epoch {live.row.epoch}")
        trial.max_failures = 0
        if trial.temporary_state.ray_actor is not None:
            ray.kill(trial.temporary_state.ray_actor)

    def _close(self, live: Live, state: TrainingState, reason: str) -> None:
        if live.began is not None:
            live.spent, live.began = live.seconds - live.before, None
        live.state, live.reason, live.row.status, live.row.note = state, reason, state, reason
        w, key = self._w, live.training.key
        self._finish(live)
        write_history(w.folder, key, live.rows)
        w.source.end(key, state, reason, live.rows, live.seconds)
        if state == "pruned":
            live.free_at = time.monotonic() + _WRITTEN
        live.size = live.store.size()

    def _finish(self, live: Live) -> None:
        """Close the run in MLflow."""
        outbox, key = self._w.outbox, self._w.prefix + live.training.key
        if live.state == "complete" and (latest := live.store.latest()) is not None:
            outbox.upload(key, live.store.fetch(latest), "checkpoint")
        outbox.tag(key, {STATE: str(live.state), NOTE: self._conclusion(live)})
        outbox.finish(key, STATUS[live.state or "stopped"], live.reason)

    def _conclusion(self, live: Live) -> str:
        """What became of a training, in a line; the report of a finished sweep says more of it."""
        if live.state != "complete":
            return f"{str(live.state).upper()}: {live.reason}"
        row, metric = live.rows[-1], self._w.objective.metric
        value, low, high = (row.get(name, math.nan) for name in (metric, f"{metric}/low", f"{metric}/high"))
        epochs = f"{len(live.history)} epochs" if len(live.history) > 1 else "1 epoch"
        if math.isnan(value):
            return f"complete after {epochs}"
        return f"{self._w.objective.title} {interval(value, low, high)} after {epochs}"

    def _free(self, live: Live) -> None:
        live.free_at = None
        with suppress(StorageError):
            live.store.keep_only([])
            live.size = live.store.size()

    def check_caps(self) -> None:
        """Halt where a cap is reached."""
        if not self.halted:
            self.halted = exceeded(self.used(), self._w.caps)

    @contextmanager
    def _halting(self) -> Iterator[None]:
        """A storage or a study that cannot be used halts the sweep, to be resumed."""
        try:
            yield
        except (OSError, StorageInternalError) as error:
            self.halted, self.broken = self.halted if self.broken else str(error), True


class Cap(Stopper):
    """Stops all trials once the watch says so."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Only a trial that was refused, or has reported its last epoch and must not be changed any more."""
        del trial_id
        changing = self._watch.assignment.mutating
        return REFUSED in result or (changing and bool(result.get(LAST)))

    def stop_all(self) -> bool:
        """Whether a cap is reached or the storage failed."""
        return bool(self._watch.halted)


def failure(trial: Trial) -> str:
    """Last line of the trial's error that says something."""
    if not trial.error_file or not Path(trial.error_file).exists():
        return "unknown error"
    lines = [line.strip() for line in Path(trial.error_file).read_text().splitlines() if line.strip()]
    named = [line for line in lines if "Error:" in line]
    return (named or lines or ["unknown error"])[-1]


def _key(trial: Trial) -> str:
    return str(trial.custom_trial_name)


def _ours(name: str, value: Any) -> bool:
    return isinstance(value, float) and ("/" in name or name in ("loss", "epoch", "step"))
