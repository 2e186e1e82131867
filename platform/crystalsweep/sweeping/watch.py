"""What the sweep's own process does as trainings live and die: it hears Tune, and tells ledger, MLflow and display."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import ray
from ray.tune import Callback, Stopper
from ray.tune.experiment import Trial

from crystalsweep.artifacts.checkpoint_store import CheckpointStore, child
from crystalsweep.sweeping.folder import read_history, write_history
from crystalsweep.sweeping.live import NOTED, Live
from crystalsweep.sweeping.meter import Meter
from crystalsweep.sweeping.notes import TrainingNote, note_training
from crystalsweep.sweeping.runs import TrainingRuns
from crystalsweep.sweeping.screen import Screen
from crystalsweep.sweeping.space.outcome import TrainingState
from crystalsweep.sweeping.space.training import Training
from crystalsweep.sweeping.trial import REFUSED, TRAINING_KEY, Assignment
from crystalsweep.training.job import LAST, STORAGE


class Source(Protocol):
    """Where trainings come from, and who wants to know how they ended: the ledger, or a single prerequisite."""

    def next(self) -> Training | None:
        """Return the next training to begin; None where there is none."""
        ...

    @property
    def planned(self) -> int:
        """Trainings of all sessions."""
        ...

    def progress(self, key: str, seconds: float, settings: Mapping[str, Any] | None = None) -> None:
        """Note for how long a training has held its resources, and settings that it was given meanwhile."""
        ...

    def end(
        self, key: str, state: TrainingState, reason: str, history: Sequence[Mapping[str, float]], seconds: float
    ) -> None:
        """Note that a training is over.

        Args:
            key: The training's.
            state: How it ended.
            reason: Why it ended so; empty where it is complete.
            history: What it reported, by epoch in order.
            seconds: For which it held its resources, in all.
        """
        ...


class Watch(Callback):
    """Follows the trials of a stage; `Cap` asks it whether to stop them all."""

    def __init__(
        self,
        assignment: Assignment,
        source: Source,
        *,
        runs: TrainingRuns,
        meter: Meter,
        screen: Screen,
        epochs: int,
        folder: Path,
        timeout: float,
        note: Callable[[float], None],
    ) -> None:
        """Take what trials share, and who is told of them.

        Args:
            assignment: What all trials share.
            source: Where trainings come from; the first to hear how they end.
            runs: Their runs in MLflow.
            meter: What they use.
            screen: What is shown of them.
            epochs: Epochs of a training that is not cut.
            folder: The sweep's, local: keeps histories.
            timeout: Seconds without a report after which a training is given up.
            note: Takes, now and then, the seconds since this watch began.
        """
        self.assignment, self.folder = assignment, folder
        self.live: dict[str, Live] = {}
        """All trainings that this process knows, by key."""
        self.meter = meter
        self.halted = ""
        """Why all trials are to stop; empty while they are not."""
        self.broken = False
        """Whether that is an error, such as a full disk, and no cap."""
        self.cutting = False
        """Whether the scheduler cuts trainings: one that ends early without it has failed."""
        self._source, self._runs, self._screen = source, runs, screen
        self._epochs, self._timeout, self._note = epochs, timeout, note
        self._remembered = 0
        self._began = self._noted = time.monotonic()
        self._refusals = Path(assignment.folder) / "refusals"
        self._refusals.mkdir(parents=True, exist_ok=True)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle nothing: Tune pickles its callbacks into a folder from which nobody reads them."""
        return {}

    def setup(self, **info: Any) -> None:
        """Do nothing: Tune calls this first, and there is nothing to set up."""

    @property
    def planned(self) -> int:
        """Trainings in all."""
        return self._source.planned

    def note_elapsed(self) -> None:
        """Have the time kept, which a killed sweep would forget."""
        self._noted = time.monotonic()
        self._note(self._noted - self._began)

    def remember(self, training: Training, state: TrainingState, reason: str) -> None:
        """Take in a training that ended in an earlier session: it counts, and is shown."""
        live = self._known(training)
        live.history = {int(row["epoch"]): row for row in read_history(self.folder, training.key)}
        live.size, live.state, live.reason = live.store.size(), state, reason
        if state == "pruned" and live.size:  # killed before it could free them
            live.free_at = time.monotonic()
        self._remembered += 1
        live.row.status, live.row.note = state, reason
        if live.history:
            self._screen.fill(live, max(live.history))

    def expect(self, training: Training) -> None:
        """Take in a training that will begin now: what earlier processes did of it comes from its checkpoints."""
        (self._refusals / training.key).unlink(missing_ok=True)  # of an earlier session, for what may be mended
        live = self._known(training)
        with suppress(OSError):  # a full disk is told of what has no other place
            self._note_down(live, "stopped")
        self._runs.open(live)
        live.size = live.store.size()
        self._catch_up(live)

    def spare(self, keys: Set[str]) -> None:
        """Leave the runs of these trainings in MLflow as they are, whatever is heard of them: they are finished."""
        self._runs.spare(keys)

    def resend(self, key: str) -> None:
        """Send to MLflow what an earlier session could not send of a training that ended."""
        self._runs.resend(self.live[key])

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Note that an attempt begins."""
        del iteration, trials, info
        live = self.live[_key(trial)]
        if not live.state:  # one that was given up will be refused
            live.begin()

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Take an epoch, or the reason why there will be none."""
        del iteration, trials, info
        live = self.live[_key(trial)]
        if live.state:
            return
        live.heard = time.monotonic()
        with self._halting():
            if REFUSED in result:
                self._refused(live, str(result[REFUSED]))
            else:
                self._reported(live, result)

    def _reported(self, live: Live, result: dict[str, Any]) -> None:
        """Take an epoch's metrics, with the settings that population-based training gave it."""
        epoch, config = int(result["epoch"]), result["config"]  # the trial's own may be what it will go on with
        settings = {name: value for name, value in config.items() if name != TRAINING_KEY}
        taken_over = self.assignment.mutating and settings != live.settings
        if taken_over:
            live.settings = settings
            self._runs.mutated(live, epoch)
        elif epoch in live.history:  # trained again after a restart, or told again as the last
            return
        if taken_over or epoch != len(live.history) + 1:
            self._catch_up(live, before=epoch)
        self._epoch(live, epoch, {n: v for n, v in result.items() if _ours(n, v)})
        live.size = live.store.size()
        if taken_over:
            self._source.progress(live.training.key, live.seconds, settings)
        self._screen.display.epoch(live.row)
        self.check_caps()

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Note that a training reached its end, or that the scheduler cut it."""
        del iteration, trials, info
        live = self.live[_key(trial)]
        if live.state or self.halted:
            return
        with self._halting():
            if (trial.last_result or {}).get(LAST) or len(live.history) >= self._epochs:
                self._close(live, "complete", "")
            elif self.cutting and live.history:
                self._close(live, "pruned", f"cut by the scheduler after epoch {len(live.history)}")
            else:
                self._close(live, "failed", f"ended after epoch {len(live.history)}, before its last")

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Note that a training's process died too often, or raised what nobody foresaw."""
        del iteration, trials, info
        live = self.live[_key(trial)]
        if not live.state:
            with self._halting():
                self._close(live, "failed", failure(trial))

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Look after the trials now and then: show them, give up what hangs, keep the budget."""
        del iteration, info
        with self._halting():
            now = time.monotonic()
            for trial in trials:
                self._look_after(trial, self.live[_key(trial)], now)
            self.check_caps()
            if time.monotonic() - self._noted > NOTED:
                self.note_elapsed()
        self._screen.show(
            self.live,
            planned=self.planned,
            remembered=self._remembered,
            elapsed=time.monotonic() - self._began,
            used=self.meter.told(self.live),
            behind=self._runs.waiting,
        )

    def _look_after(self, trial: Trial, live: Live, now: float) -> None:
        if live.free_at is not None and now > live.free_at:
            live.free()
        if live.state:
            return
        if trial.status != "RUNNING":
            if trial.status in ("PENDING", "PAUSED"):  # then nothing is held
                live.pause()
            return
        if live.began is None:
            live.begin()
        if now - live.noted > NOTED:
            live.noted = now
            self._source.progress(live.training.key, live.seconds)
        if now - live.heard > self._timeout:
            self._give_up(trial, live)

    def settle(self) -> None:
        """Close what has not ended after the last step: it is stopped, and can be resumed."""
        for live in self.live.values():
            with self._halting():
                if not live.state:
                    self._close(live, "stopped", self.halted or "the sweep was stopped")
                if live.free_at is not None:
                    live.free()

    def _known(self, training: Training) -> Live:
        store = CheckpointStore(child(self.assignment.job.checkpoints, training.key))
        row = self._screen.row(training)
        live = Live(training=training, settings=dict(training.settings), store=store, row=row, before=training.seconds)
        self.live[training.key] = live
        return live

    def _epoch(self, live: Live, epoch: int, row: dict[str, float]) -> None:
        live.history[epoch] = row
        self._screen.fill(live, epoch)
        self._runs.log(live, epoch)

    def _catch_up(self, live: Live, before: int | None = None) -> None:
        """Take epochs that no process saw, or another's whose state was taken over, from the checkpoint."""
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
        minutes = f"{self._timeout / 60:g} min"
        self._close(live, "failed", f"timed out: no report for {minutes} after epoch {live.row.epoch}")
        trial.max_failures = 0
        if trial.temporary_state.ray_actor is not None:
            ray.kill(trial.temporary_state.ray_actor)

    def _close(self, live: Live, state: TrainingState, reason: str) -> None:
        live.end(state, reason)
        self._runs.close(live)
        write_history(self.folder, live.training.key, live.rows)
        self._note_down(live, state, reason)
        self._source.end(live.training.key, state, reason, live.rows, live.seconds)
        live.size = live.store.size()

    def _note_down(self, live: Live, state: TrainingState, reason: str = "") -> None:
        """Keep beside the ledger what this would need to be made anew."""
        note = TrainingNote(
            settings=live.settings, control=live.training.control, state=state, reason=reason, seconds=live.seconds
        )
        note_training(self.folder, live.training.key, note)

    def check_caps(self) -> None:
        """Halt where a cap is reached; Tune waits for the epochs under way, which may be long, so that is said."""
        if not self.halted and (reached := self.meter.exceeded(self.live)):
            self.halted = reached
            if any(live.began is not None for live in self.live.values()):
                self._screen.display.say(f"stopping: {reached}; epochs under way are trained to their end")

    @contextmanager
    def _halting(self) -> Iterator[None]:
        """Halt the sweep, to be resumed, where its storage or its study cannot be used."""
        try:
            yield
        except OSError as error:
            self.halted, self.broken = self.halted if self.broken else str(error), True


class Cap(Stopper):
    """Stops all trials once the watch says so."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return whether to stop a single trial: it was refused, or reported its last epoch and must not be changed."""
        del trial_id
        changing = self._watch.assignment.mutating
        return REFUSED in result or (changing and bool(result.get(LAST)))

    def stop_all(self) -> bool:
        """Return whether a cap is reached or the storage failed."""
        return bool(self._watch.halted)


def failure(trial: Trial) -> str:
    """Return the last line of a trial's error that says something."""
    if not trial.error_file or not Path(trial.error_file).exists():
        return "unknown error"
    lines = [line.strip() for line in Path(trial.error_file).read_text().splitlines() if line.strip()]
    named = [line for line in lines if "Error:" in line]
    return (named or lines or ["unknown error"])[-1]


def _key(trial: Trial) -> str:
    return str(trial.custom_trial_name)


def _ours(name: str, value: Any) -> bool:
    return isinstance(value, float) and ("/" in name or name in ("loss", "epoch", "step"))
