"""What a sweep costs beside its training: share of wall time, starts of trials, trials a minute, a call to MLflow.

Three real sweeps on this machine: demo trials of `--seconds`, one after the other, so that no lane waits for another
at the end (what of the wall time is no training or validation, once the cluster is up), trials that train on four
crystals for one epoch (how many a minute), and trials of two Ray Train workers (how long until their first step); and
what an epoch's metrics cost the sweep's process.

    python benchmarks/sweep_overhead.py --record             six minutes on two cores
    python benchmarks/sweep_overhead.py --seconds 20
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import optuna
from tabulate import tabulate

from crystalsweep.tracking.outbox import Outbox
from crystalsweep.tracking.tracker import Tracker

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "benchmarks" / "records" / "sweep_overhead.json"

TINY = ("epochs=1", "max_crystals=4", "evaluation.max_crystals=1", "evaluation.draws=1")


@dataclass(frozen=True, kw_only=True)
class Trained:
    """One training: seconds for which it held its resources, and of its epochs."""

    held: float
    worked: float


@dataclass(frozen=True, kw_only=True)
class Ran:
    """One sweep, from the moment the cluster was up."""

    wall: float
    """Seconds."""
    trainings: list[Trained]
    """In the order in which they began."""
    steps: int
    """Of the last training."""
    metrics: int
    """Names in its last epoch."""


def sweep(storage: Path, *options: str) -> Ran:
    """Run `w_pos.py`, which needs no prerequisites, and read what it left."""
    command = [sys.executable, str(ROOT / "sweeps" / "w_pos.py"), "--storage", str(storage), "--json", *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (folder,) = (storage / "sweeps").glob("w_pos-*")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.load_study(study_name=folder.name, storage=f"sqlite:///{folder / 'study.db'}")
    trainings, rows = [], []
    for trial in study.trials:
        path = folder / "histories" / f"{trial.number:04d}-s0.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        worked = sum(row["time/epoch_s"] for row in rows)
        trainings.append(Trained(held=trial.user_attrs["s0"]["seconds"], worked=worked))
    wall = json.loads((folder / "sweep.json").read_text())["seconds"]
    return Ran(wall=wall, trainings=trainings, steps=int(rows[-1]["step"]), metrics=len(rows[-1]))


def logging_seconds(storage: Path, metrics: int, calls: int = 200) -> float:
    """Return median seconds that the sweep's process spends on handing over an epoch's metrics."""
    tracker = Tracker(f"sqlite:///{storage / 'log.db'}")
    outbox = Outbox(tracker)
    outbox.start("run", tracker.experiment("overhead", storage / "artifacts"), "run", kind="trial")
    outbox.run_id("run")
    row = {f"val/metric_{i}": float(i) for i in range(metrics)}
    spent = []
    for step in range(calls):
        began = time.perf_counter()
        outbox.log("run", row, step)
        spent.append(time.perf_counter() - began)
        time.sleep(0.01)
    outbox.close()
    return median(spent)


def main() -> None:
    """Run the three sweeps and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="length of a trial [default: 60]")
    parser.add_argument("--trials", type=int, default=4, help="of that length [default: 4]")
    parser.add_argument("--short", type=int, default=40, help="trials that do next to nothing [default: 40]")
    parser.add_argument("--record", action="store_true", help=f"write {RECORD.parent.name}/{RECORD.name}")
    asked = parser.parse_args()
    load = os.getloadavg()
    with TemporaryDirectory() as folder:
        storage = Path(folder)
        ends = ["--set", "epochs=99999", "--set", f"max_minutes={asked.seconds / 60}", "--set", "schedule=constant"]
        trials = ["--num-samples", str(asked.trials), "--max-concurrent", "1"]
        long = sweep(storage / "long", "--preset", "demo", *trials, *ends)
        tiny = [option for setting in TINY for option in ("--set", setting)]
        many = ["--search", "random", "--num-samples", str(asked.short)]
        short = sweep(storage / "short", "--preset", "smoke", *many, *tiny)
        nested = sweep(storage / "nested", "--preset", "smoke", "--num-samples", "2", "--workers-per-trial", "2", *tiny)
        logged = logging_seconds(storage, long.metrics)
    worked = sum(training.worked for training in long.trainings)
    started = [training.held - training.worked for training in short.trainings]
    step = long.trainings[-1].worked / long.steps
    rows = [
        [
            f"no training or validation, of a sweep of {asked.seconds:g} s trials",
            f"{1 - worked / long.wall:.1%}",
            "3 %",
        ],
        ["  the same without the first trial's start", f"{1 - worked / (long.wall - _first(long)):.1%}", ""],
        ["start of the first trial, its process and imports", f"{_first(long):.1f} s", "5 s"],
        ["start of a later one, median", f"{median(started[2:]):.2f} s", "5 s"],
        ["start of a trial of two Ray Train workers, median", f"{_start(nested):.1f} s", "20 s"],
        ["trials a minute that do next to nothing", f"{60 * len(started) / short.wall:.0f}", ""],
        [f"logging {long.metrics} metrics to MLflow, of a step of {1000 * step:.0f} ms", f"{logged / step:.2%}", "1 %"],
    ]
    print(tabulate(rows, headers=["", "measured", "target, at most"], disable_numparse=True))
    if asked.record:
        about = {"date": str(date.today()), "cores": os.cpu_count(), "load_before": load}
        about |= {"python": platform.python_version(), "ray": version("ray"), "torch": version("torch")}
        found = {what.strip(): measured for what, measured, _ in rows}
        beside = {"trials": asked.trials, "seconds": asked.seconds, "s_of_training_and_validation": worked}
        RECORD.write_text(json.dumps(about | beside | {"s_of_the_sweep": long.wall} | found, indent=1) + "\n")


def _first(ran: Ran) -> float:
    """Return seconds of no training that are the first trial's, and those in which no trial held anything yet or any
    more."""
    held = sum(training.held for training in ran.trainings)
    return ran.wall - held + ran.trainings[0].held - ran.trainings[0].worked


def _start(ran: Ran) -> float:
    return median(training.held - training.worked for training in ran.trainings)


if __name__ == "__main__":
    main()
