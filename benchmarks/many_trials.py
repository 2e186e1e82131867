"""What a sweep's own process spends on many trials: time per proposal and per training, memory, `study.db`, MLflow.

The trainings are trivial: what Ray Tune would tell of them is told to the sweep's own watch, which does with it all
that it does in a sweep: Optuna's study on disk and its copy, notes and histories, runs in a real MLflow store, display.
Ray itself is left out. Growth is the ratio of what a training costs among the last trials to the first ones', and the
power of the number of trials with which the whole grows: 1 is linear.

    python benchmarks/many_trials.py                        ten minutes
    python benchmarks/many_trials.py --trials 300 --search grid
    python benchmarks/many_trials.py --trials 300 --at-once 64
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import resource
import time
from collections import deque
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

from tabulate import tabulate

from crystalsweep.sweeping.display.display import display
from crystalsweep.sweeping.meter import Meter
from crystalsweep.sweeping.plan.budget import Caps, Usage
from crystalsweep.sweeping.runs import TrainingRuns
from crystalsweep.sweeping.screen import Screen
from crystalsweep.sweeping.space.objectives import OBJECTIVES
from crystalsweep.sweeping.space.training import Training
from crystalsweep.sweeping.study import Ledger
from crystalsweep.sweeping.trial import TRAINING_KEY, Assignment
from crystalsweep.sweeping.watch import Watch
from crystalsweep.tracking.outbox import Outbox
from crystalsweep.tracking.tracker import Tracker
from crystalsweep.training.catalogue import preset
from crystalsweep.training.job import LAST, Resources, job_for
from sweeps.axes import sigma_noise, w_wasserstein

RECORD = Path(__file__).parent / "records" / "many_trials.json"
SCORE = OBJECTIVES["score"]
CONFIG = preset("gan", "smoke").model_copy(update={"epochs": 2})
PARAMETERS = (sigma_noise((0.1, 0.2)), w_wasserstein((0.1, 1.0, 10.0), 0.01, 100.0))
METRICS = 60
"""Names in an epoch, as a demo sweep has."""


class Many:
    """A sweep's own process without its trainings."""

    def __init__(self, folder: Path, *, trials: int, search: Any) -> None:
        self.folder = folder
        self.tracker = Tracker(f"sqlite:///{folder / 'mlflow.db'}")
        experiment = self.tracker.experiment("many", folder / "artifacts")
        self.outbox = Outbox(self.tracker)
        self.ledger = Ledger(
            folder,
            "many",
            parameters=PARAMETERS,
            objectives=[SCORE],
            search=search,
            num_samples=trials,
            seeds=1,
            stage="gan",
        )
        if search == "grid":
            self.ledger.enqueue([{p.key: 0.1 + 0.001 * i for p in PARAMETERS} for i in range(trials)], 0)
        job = job_for("gan", CONFIG, "bundled")
        job = type(job)(**vars(job) | {"checkpoints": str(folder / "checkpoints")})
        resources = Resources()
        assignment = Assignment(job=job, choices={}, resources=resources, folder=str(folder), mutating=False)
        self.watch = Watch(
            assignment,
            self.ledger,
            runs=TrainingRuns(self.outbox, assignment, SCORE, experiment=experiment, kind="trial"),
            meter=Meter(Caps(), Usage(), resources),
            screen=Screen(display(json=True), title="many", stage="gan", config=CONFIG, objective=SCORE),
            epochs=CONFIG.epochs,
            folder=folder,
            timeout=600.0,
            note=lambda _: None,
        )
        self.trials: list[Any] = []
        self.proposals: list[float] = []
        self.reports: list[float] = []
        self.costs: list[float] = []
        """CPU seconds of this thread for each training that ended, in the order of their ends: since the one before."""
        self._counted = time.thread_time()
        self._running: deque[tuple[Training, Any, int]] = deque()
        """With the trial as Tune has it, and the epochs that it reported."""

    def one(self, at_once: int) -> bool:
        """Begin trainings until `at_once` run, and let them report in turn until one has ended; False where none is
        left."""
        while len(self._running) < at_once and self._begin():
            pass
        while self._running:
            training, trial, epochs = self._running.popleft()
            if epochs == CONFIG.epochs:
                self._end(trial)
                return True
            self._report(training, trial, epochs + 1)
            self._running.append((training, trial, epochs + 1))
        return False

    def _begin(self) -> bool:
        began = time.thread_time()
        training = self.ledger.next()
        if training is None:
            return False
        self.proposals.append(time.thread_time() - began)
        trial = SimpleNamespace(
            custom_trial_name=training.key, status="RUNNING", last_result={}, temporary_state=SimpleNamespace()
        )
        self.trials.append(trial)
        self.watch.expect(training)
        self.watch.on_trial_start(0, trials=self.trials, trial=trial)
        self._running.append((training, trial, 0))
        return True

    def _report(self, training: Training, trial: Any, epoch: int) -> None:
        began = time.thread_time()
        self.watch.on_trial_result(0, trials=self.trials, trial=trial, result=_result(training, epoch))
        self.watch.on_step_end(0, self.trials)
        self.reports.append(time.thread_time() - began)

    def _end(self, trial: Any) -> None:
        trial.status, trial.last_result = "TERMINATED", {LAST: 1.0}
        self.watch.on_trial_complete(0, trials=self.trials, trial=trial)
        self.watch.on_step_end(0, self.trials)
        now = time.thread_time()
        self.costs.append(now - self._counted)
        self._counted = now


def _result(training: Training, epoch: int) -> dict[str, Any]:
    settings = [float(value) for value in training.settings.values()]
    values = {f"val/metric_{i}": math.sin(i + sum(settings)) for i in range(METRICS)}
    config = {TRAINING_KEY: training.key, **training.settings}
    row = {"epoch": float(epoch), "step": 10.0 * epoch, SCORE.metric: math.cos(sum(settings)), **values}
    return row | {"config": config, LAST: float(epoch == CONFIG.epochs)}


def _bytes(*files: Path) -> int:
    return sum(file.stat().st_size for file in files if file.exists())


def run(folder: Path, *, trials: int, search: Any, at: list[int], at_once: int) -> list[dict[str, float]]:
    """Run so many trials, `at_once` beside each other; returns what was measured after each number in `at`."""
    many, found = Many(folder, trials=trials, search=search), []
    began = time.process_time()
    while many.one(at_once):
        n = len(many.costs)
        if n not in at:
            continue
        while many.outbox.waiting:
            time.sleep(0.5)
        last = max(20, n // 10)
        row = {
            "trials": n,
            "proposal_ms": 1000 * median(many.proposals[-last:]),
            "report_ms": 1000 * median(many.reports[-last:]),
            "training_ms": 1000 * sum(many.costs[-last:]) / last,
            "own_thread_cpu_s": sum(many.costs),
            "process_cpu_s": time.process_time() - began,
            "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "study_mb": _bytes(folder / "study.db") / 1e6,
            "mlflow_mb": _bytes(folder / "mlflow.db", folder / "mlflow.db-wal") / 1e6,
        }
        found.append(row)
        print(json.dumps({name: round(value, 2) for name, value in row.items()}), flush=True)
    many.outbox.close(600.0)
    return found


def growth(rows: list[dict[str, float]], name: str) -> float:
    """Return the power of the number of trials with which a total grew between the first and the last row."""
    first, last = rows[0], rows[-1]
    return math.log(last[name] / first[name]) / math.log(last["trials"] / first["trials"])


def _processor() -> str:
    cpus = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return cpus[0].split(":")[1].strip() if cpus else platform.machine()


def main() -> None:
    """Run the trials, print a table and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--search", choices=("random", "optuna", "grid"), default="optuna")
    parser.add_argument("--at-once", type=int, default=1, help="trials that run beside each other [default: 1]")
    parser.add_argument("--record", action="store_true", help=f"write {RECORD.parent.name}/{RECORD.name}")
    asked = parser.parse_args()
    at = sorted({n for n in (30, 100, 300, 1000) if n < asked.trials} | {asked.trials})
    with TemporaryDirectory() as folder:
        rows = run(Path(folder), trials=asked.trials, search=asked.search, at=at, at_once=asked.at_once)
    print(tabulate(rows, headers="keys", floatfmt=".1f"))
    totals = ("own_thread_cpu_s", "process_cpu_s", "study_mb", "mlflow_mb") if len(rows) > 1 else ()
    powers = {name: growth(rows, name) for name in totals}
    print(
        *(f"{name} grows with the number of trials to the power {power:.2f}" for name, power in powers.items()),
        sep="\n",
    )
    if asked.record:
        RECORD.parent.mkdir(exist_ok=True)
        versions = {name: version(name) for name in ("optuna", "mlflow", "sqlalchemy")}
        about = {
            "date": str(date.today()),
            "machine": _processor(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            **versions,
        }
        known = json.loads(RECORD.read_text()) if RECORD.exists() else {}
        beside = f", {asked.at_once} at once" if asked.at_once > 1 else ""
        known[f"{asked.search}{beside}"] = {"about": about, "rows": rows, "powers": powers}
        RECORD.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
