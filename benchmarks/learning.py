"""How much CPU does a generator take to become as good as today's recipe made it, and what does the new one reach?

    python benchmarks/learning.py --data TRAIN.parquet,VAL.parquet --out benchmarks/records/learning.json

Each side pre-trains preset `small` on the same crystals with the same seeds, by the command that users type: `before`
with the code of a commit, in a worktree of its own, `now` with this tree; both at once with a core each, so that
whatever else the machine does hits both alike. After each epoch it reads the CPU seconds that the process has spent,
reading and compilation included, and what the training reports: masked accuracy over all masks of validation at
σ = 0.1, and the share of the noise that is left in the positions of training batches (the root of the position loss
over what it is where nothing is moved). The target is what `before` has at its end.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

from tabulate import tabulate
from worktrees import ROOT, worktree

BEFORE = "cc57e53"
"""The last commit before the engine of November 2026."""
SIGMA_NOISE = 0.1
"""Of training and of validation, in units of the shortest distance."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """What is compared: a tree, and settings of preset `small`."""

    name: str
    tree: Path
    settings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """What a training had after an epoch."""

    epoch: int
    cpu_s: float
    masked_accuracy: float
    left: float
    """Share of the noise left in the positions of the epoch's training batches."""


def run(side: Side, source: str, seed: int, folder: Path) -> list[Epoch]:
    """Train one side with a seed, and watch it."""
    settings = [part for setting in (*side.settings, f"seed={seed}") for part in ("--set", setting)]
    command = [sys.executable, "-m", "crystalsweep", "train", "pretrain", "--preset", "small", "--data", source]
    paths = os.pathsep.join([str(side.tree), str(side.tree / "platform")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths, "CRYSTALSWEEP_CACHE": "off"}
    with (folder.parent / f"{folder.name}.log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--device", "cpu", *settings, "--out", str(folder)],
            cwd=side.tree,  # which `python -m` puts first on the path
            env=environment,
            stdout=log,
            stderr=log,
        )
        epochs: list[Epoch] = []
        while process.poll() is None:
            spent = cpu_seconds(process.pid)
            rows = _rows(folder / "metrics.jsonl")
            epochs += [_epoch(row, spent) for row in rows[len(epochs) :]]
            time.sleep(0.2)
    if process.returncode:
        raise SystemExit(f"{side.name}: the training ended with {process.returncode}; see {log.name}")
    return epochs


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds of a process and its ended children; Linux."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _rows(path: Path) -> list[dict[str, float]]:
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _epoch(row: dict[str, float], spent: float) -> Epoch:
    left = math.sqrt(row["loss/position"] / (3 * SIGMA_NOISE**2))
    return Epoch(epoch=int(row["epoch"]), cpu_s=spent, masked_accuracy=row["val/masked_accuracy"], left=left)


def seconds_to(target: float, epochs: list[Epoch]) -> float | None:
    """Return CPU seconds until a training first has a masked accuracy; straight between epochs, None if never."""
    before = Epoch(epoch=0, cpu_s=0.0, masked_accuracy=0.0, left=1.0)
    for epoch in epochs:
        if epoch.masked_accuracy >= target:
            gained = epoch.masked_accuracy - before.masked_accuracy
            share = (target - before.masked_accuracy) / gained if gained > 0 else 1.0
            return before.cpu_s + share * (epoch.cpu_s - before.cpu_s)
        before = epoch
    return None


def show(runs: dict[str, list[list[Epoch]]], target: float) -> None:
    """Print the end of each training, and how long it took to the target."""
    rows = []
    for name, trainings in runs.items():
        for seed, epochs in enumerate(trainings):
            reached, end = seconds_to(target, epochs), epochs[-1]
            took = "not reached" if reached is None else f"{reached / 60:.1f}"
            rows.append([name, seed, end.epoch, f"{end.cpu_s / 60:.1f}", f"{end.masked_accuracy:.3f}", end.left, took])
    headers = ["side", "seed", "epochs", "CPU, min", "masked accuracy", "noise left", f"min to {target:.3f}"]
    print(tabulate(rows, headers=headers, floatfmt=".3f"))
    if ratio := ratio_of(runs, target):
        print(f"before ÷ now, CPU to masked accuracy {target:.3f}: {ratio:.2f}")


def ratio_of(runs: dict[str, list[list[Epoch]]], target: float) -> float | None:
    """Return CPU to the target before, over now: medians over seeds; None where a training never reached it."""
    taken = {name: [seconds_to(target, epochs) for epochs in trainings] for name, trainings in runs.items()}
    if any(seconds is None for all_seeds in taken.values() for seconds in all_seeds):
        return None
    before, now = (median(float(s or 0) for s in taken[name]) for name in ("before", "now"))
    return before / now


def draw(runs: dict[str, list[list[Epoch]]], path: Path) -> None:
    """Draw both quantities over CPU minutes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    accuracy, left = figure.subplots(1, 2)
    for colour, (name, trainings) in zip(("#888888", "#0b6e99"), runs.items(), strict=False):
        for seed, epochs in enumerate(trainings):
            minutes = [epoch.cpu_s / 60 for epoch in epochs]
            label = name if seed == 0 else None
            accuracy.plot(minutes, [e.masked_accuracy for e in epochs], color=colour, marker=".", label=label)
            left.plot(minutes, [e.left for e in epochs], color=colour, marker=".", label=label)
    accuracy.set(xlabel="CPU minutes of one core", ylabel="masked accuracy, validation")
    left.set(xlabel="CPU minutes of one core", ylabel="noise left in positions, training")
    accuracy.legend(frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Train both sides at once, seed by seed, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="TRAIN,VAL, as crystalsweep train takes them")
    parser.add_argument("--before", default=BEFORE, help="commit of the other side")
    parser.add_argument("--before-set", action="append", default=[], metavar="KEY=VALUE", help="settings of that side")
    parser.add_argument("--now-set", action="append", default=[], metavar="KEY=VALUE", help="settings of this tree")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each side")
    parser.add_argument("--target", type=float, help="masked accuracy; what `before` ends with")
    parser.add_argument("--out", type=Path, default=Path("learning.json"))
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    source = ",".join(str(Path(part).resolve()) for part in given.data.split(","))
    runs: dict[str, list[list[Epoch]]] = {"before": [], "now": []}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sides = [
            Side(
                name="before",
                tree=stack.enter_context(worktree(given.before, folder / "tree")),
                settings=tuple(given.before_set),
            ),
            Side(name="now", tree=ROOT, settings=tuple(given.now_set)),
        ]
        for seed in range(given.seeds):
            with ThreadPoolExecutor(len(sides)) as pool:
                found = [pool.submit(run, s, source, seed, folder / f"{s.name}-{seed}") for s in sides]
            for side, future in zip(sides, found, strict=True):
                runs[side.name].append(future.result())
                print(f"{side.name}, seed {seed}: {runs[side.name][-1][-1]}", flush=True)
    target = given.target or median(trainings[-1].masked_accuracy for trainings in runs["before"])
    show(runs, target)
    machine = {"system": platform.platform(), "cores": os.cpu_count(), "torch": version("torch")}
    record = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine,
        "data": Path(given.data.split(",")[0]).name,
        "before": {"commit": given.before, "settings": given.before_set},
        "now": {"settings": given.now_set},
        "target_masked_accuracy": target,
        "ratio": ratio_of(runs, target),
        "runs": {name: [[asdict(epoch) for epoch in epochs] for epochs in all_] for name, all_ in runs.items()},
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    if given.plot:
        draw(runs, given.plot)


if __name__ == "__main__":
    main()
