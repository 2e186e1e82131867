"""What goes to MLflow waits here: written in order and in the background, and kept while the server is away.

A training never waits for MLflow, and a server that restarts costs nothing: each write carries the time of its call
and is repeated until it passes. What a run already has is never written a second time, whether the writer's own process
died in between or an answer was lost on the way.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow.entities import Metric

from crystalsweep.artifacts.addresses import without_password
from crystalsweep.tracking.keyed_run import RUN_KEY as RUN_KEY
from crystalsweep.tracking.keyed_run import KeyedRun, Opening
from crystalsweep.tracking.tracker import METRICS_PER_BATCH, Tracker, is_away, metric_points, now_ms, root_reason

_LONGEST_PAUSE_S = 15.0


@dataclass(frozen=True)
class _Write:
    """One thing to send: metrics of a step, or what `send` does to the open run."""

    number: int
    what: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    step: int = 0
    at: int = 0
    """When the metrics were logged, in ms since 1970."""
    send: Callable[[KeyedRun], None] | None = None
    is_upload: bool = False

    @property
    def is_log(self) -> bool:
        return self.send is None

    def points(self) -> list[Metric]:
        """Return the metrics as MLflow takes them; made by the writer's thread, since it takes longer than queueing."""
        return metric_points(self.metrics, self.step, self.at)


class Outbox:
    """Writes to MLflow in order, in the background; what fails because the server is away is tried again until it is
    back.

    Runs are known by a key of the caller's. All calls but `run_id`, `flush` and `close` return at once. Writes that
    MLflow refuses (HTTP 4xx, a file that is not there) are told in a line, once per run and reason, and left out. So
    are those that keep failing (HTTP 5xx) for `patience` seconds while the server and its database answer.

    Args:
        tracker: The server, or SQLite file.
        tell: Takes a line when the server is lost, when it is back, and for what is refused; called in the writer's
            thread.
        patience: Seconds that `close` waits for a server that is away. Also how long a write is repeated to a server
            that answers and fails it, so that a broken artifact store does not hold up metrics for ever.
    """

    def __init__(self, tracker: Tracker, *, tell: Callable[[str], None] = print, patience: float = 600.0) -> None:
        self._tracker, self._patience, self._tell = tracker, patience, tell
        self._changed = threading.Condition()
        self._queues: dict[str, deque[_Write]] = {}
        self._runs: dict[str, KeyedRun] = {}
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._progress = time.monotonic()
        self._lost_at: float | None = None
        self._fails_since: dict[bool, float] = {}
        """Since when uploads (True) or other writes (False) fail while the server answers."""
        self._one_by_one_up_to = -1
        self._sending: Sequence[_Write] = ()
        self._told: set[tuple[str, str]] = set()

    def start(
        self,
        key: str,
        experiment: str,
        name: str,
        *,
        kind: str,
        parent: str | None = None,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Open the run of this key: a new one, or the one that an earlier process opened, which is RUNNING again.

        An earlier run is one of this experiment, and of this parent, whose tag `RUN_KEY` is `key`. It is given `tags`
        and the parameters that it lacks; one with another value keeps its own, which is told.

        Args:
            key: The caller's name for the run, unique below `parent`; without quotes.
            experiment: MLflow's id of the experiment.
            name: What MLflow's UI shows.
            kind: See `tracker.KIND`.
            parent: MLflow's id of the parent run.
            params: Settings, written once.
            tags: Tags.
        """
        opening = Opening(experiment, name, kind, parent, dict(params or {}), dict(tags or {}), now_ms())
        with self._changed:
            self._runs.setdefault(key, KeyedRun(key, self._tracker))
        self._put(key, "start", send=lambda run: run.open(opening, self._say_once))

    def attach(self, key: str, experiment: str, *, parent: str | None) -> None:
        """Find the run that an earlier process opened for this key, and leave its status, tags and parameters alone.

        It then takes metrics, tags and files, ended or not. Where there is none, none is made: that is told once, and
        what comes for this key is left out.

        Args:
            key: As given to `start`.
            experiment: MLflow's id of the experiment.
            parent: MLflow's id of the parent run.
        """
        with self._changed:
            self._runs.setdefault(key, KeyedRun(key, self._tracker))
        self._put(key, "attach", send=lambda run: run.attach(experiment, parent))

    def log(self, key: str, metrics: Mapping[str, float], step: int) -> None:
        """Log metrics of one step, with the time of this call; a metric that the run already has at this step is left
        out.

        Raises:
            KeyError: neither `start` nor `attach` was called for this key.
        """
        values = {name: float(value) for name, value in metrics.items()}
        self._put(key, f"metrics of step {step}", metrics=values, step=step, at=now_ms())

    def tag(self, key: str, tags: Mapping[str, str]) -> None:
        """Set tags."""
        kept = dict(tags)
        self._put(key, f"tags {', '.join(kept)}", send=lambda run: run.tracker.tag(run.opened, kept))

    def upload(self, key: str, path: Path, folder: str | None = None) -> None:
        """Upload a file or the contents of a folder, which must stay as it is until it is written: `flush` tells."""
        what = f"files {path.name}"
        self._put(key, what, send=lambda run: run.tracker.upload(run.opened, path, folder), is_upload=True)

    def finish(self, key: str, status: str, reason: str = "") -> None:
        """End a run as FINISHED, FAILED or KILLED, at the time of this call."""
        at = now_ms()
        self._put(key, f"status {status}", send=lambda run: run.tracker.finish(run.opened, status, reason, at))

    def run_id(self, key: str, timeout: float | None = None) -> str:
        """Return MLflow's id of the run, once it is open; waits for that, `timeout` seconds at most.

        Raises:
            TimeoutError: It is not open yet.
            RuntimeError: MLflow refused to open it, or has none to attach to.
            KeyError: neither `start` nor `attach` was called for this key.
        """
        run = self._known(key)
        with self._changed:
            self._changed.wait_for(lambda: run.id or run.refused or self._closed, timeout)
        if run.id:
            return run.id
        if run.refused:
            raise RuntimeError(run.refused)
        raise TimeoutError(f'run "{key}" is not open in MLflow: {self._tracker.uri} does not answer')

    @property
    def waiting(self) -> int:
        """Writes that are not yet in MLflow."""
        with self._changed:
            return sum(map(len, self._queues.values()))

    def flush(self, timeout: float | None = None) -> bool:
        """Wait, `timeout` seconds at most, until nothing is waiting; whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._queues, timeout)

    def close(self, patience: float | None = None) -> list[str]:
        """Wait until all is written, or nothing was for `patience` seconds; then take no more.

        An upload under way to a server that answers is waited for. An interrupt leaves the outbox open: call again.

        Returns:
            A line for each run with what is left unsent; empty where all is written.
        """
        began, patience = time.monotonic(), self._patience if patience is None else patience
        with self._changed:
            self._ensure_writer()
            while self._queues and not self._closed:
                left = max(began, self._progress) + patience - time.monotonic()
                uploading = self._lost_at is None and any(write.is_upload for write in self._sending)
                if left <= 0 and not uploading:
                    break
                self._changed.wait(min(max(left, 0.1), 1.0))
            self._closed = True
            self._changed.notify_all()
            return [f"{key}: {', '.join(_summary(queue))}" for key, queue in self._queues.items()]

    def _known(self, key: str) -> KeyedRun:
        if key not in self._runs:
            raise KeyError(f'run "{key}" was never started')
        return self._runs[key]

    def _put(self, key: str, what: str, **rest: Any) -> None:
        self._known(key)
        with self._changed:
            if self._closed:
                raise RuntimeError(f'the outbox is closed: {what} of run "{key}" came too late')
            write = _Write(next(self._numbers), what, **rest)
            if key in self._queues:
                self._queues[key].append(write)
            else:  # never an empty queue, even if an interrupt comes between two lines
                self._queues[key] = deque([write])
            self._ensure_writer()
            self._changed.notify_all()

    def _ensure_writer(self) -> None:
        if self._queues and not self._closed and not (self._thread and self._thread.is_alive()):
            self._thread = threading.Thread(target=self._work, name="mlflow-outbox", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        attempts = 0
        while (found := self._next()) is not None:
            key, self._sending = found
            attempts = 0 if self._sent(self._runs[key], self._sending) else attempts + 1
            self._sending = ()
            if attempts:
                pause = min(2.0 ** (attempts - 1), _LONGEST_PAUSE_S)
                with self._changed:
                    self._changed.wait_for(lambda: self._closed, pause)

    def _next(self) -> tuple[str, Sequence[_Write]] | None:
        """Return the oldest write, and where it is a log the logs of its run that follow; they stay queued. None:
        closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._queues or self._closed)
            if self._closed:
                return None
            key, queue = min(self._queues.items(), key=lambda item: item[1][0].number)
            first, size = queue[0], len(queue[0].metrics)
            if not first.is_log or first.number <= self._one_by_one_up_to:
                return key, [first]
            together = [first]
            for write in itertools.islice(queue, 1, None):
                size += len(write.metrics)
                if not write.is_log or size > METRICS_PER_BATCH:
                    break
                together.append(write)
            return key, together

    def _sent(self, run: KeyedRun, writes: Sequence[_Write]) -> bool:
        """Send them, or find that they never will be; False: to be tried again."""
        answers = False
        try:
            self._tracker.require_answer()
            answers = True
            if (send := writes[0].send) is not None:
                send(run)
            else:
                run.log(point for write in writes for point in write.points())
        except Exception as error:  # whatever it is, the queue must go on
            if is_away(error) and not self._gives_up(writes[0].is_upload, answers):
                self._lost(error)
                return False
            if len(writes) > 1:  # one of them is refused: find out which
                self._one_by_one_up_to = writes[-1].number
                return True
            self._refused(run, writes[0], error)
        else:
            if writes[-1].number > self._one_by_one_up_to:  # of a batch that failed, others may still fail
                self._fails_since.pop(writes[0].is_upload, None)
        self._found()
        self._done(run, writes)
        return True

    def _done(self, run: KeyedRun, writes: Sequence[_Write]) -> None:
        with self._changed:
            queue = self._queues[run.key]
            for _ in writes:
                queue.popleft()
            if not queue:
                del self._queues[run.key]
            self._progress = time.monotonic()
            self._changed.notify_all()

    def _gives_up(self, is_upload: bool, answers: bool) -> bool:
        """Return whether such a write failed for long enough at a server that answers."""
        if not (answers and self._tracker.reads()):
            self._fails_since.clear()
            return False
        since = self._fails_since.setdefault(is_upload, time.monotonic())
        return time.monotonic() - since >= self._patience

    def _lost(self, error: Exception) -> None:
        if self._lost_at is None:
            self._lost_at = time.monotonic()
            self._say(
                f"MLflow at {self._tracker.uri} cannot be written to ({without_password(root_reason(error))}); "
                "what is logged is kept and sent when it is back"
            )

    def _found(self) -> None:
        if self._lost_at is not None:
            away, self._lost_at = time.monotonic() - self._lost_at, None
            self._say(f"MLflow is back after {away:.0f} s; sending what was kept")

    def _refused(self, run: KeyedRun, write: _Write, error: Exception) -> None:
        why = without_password(str(error).strip() or type(error).__name__).splitlines()[0][:300]
        if run.id is None:
            if run.refused is None:
                run.refused = f'run "{run.key}" could not be opened in MLflow, which loses what it logs: {why}'
                self._say(run.refused)
            return
        self._say_once(run.key, why, f'MLflow refused {write.what} of run "{run.key}": {why}')

    def _say_once(self, key: str, why: str, line: str) -> None:
        if (key, why) not in self._told:
            self._told.add((key, why))
            self._say(line)

    def _say(self, line: str) -> None:
        with contextlib.suppress(Exception):  # a terminal that is gone must not end the writer
            self._tell(line)


def _summary(writes: Sequence[_Write]) -> list[str]:
    """Return what is in a queue, logs in one phrase."""
    steps = [write.step for write in writes if write.is_log]
    logs = [f"metrics of {len(steps)} steps, {min(steps)} to {max(steps)}"] if steps else []
    return logs + [write.what for write in writes if not write.is_log]
