"""How much processor time does an evaluation take beside another commit's, and are the figures the same?

Both evaluate one checkpoint under the same settings, each in a process of its own from its own working tree, in turn.
Every process samples itself at each 5 ms of processor time and sums by phase. Compared are metrics.json (but for the
hashes of the code that measured) and every column of both tables, exactly.

python benchmarks/evaluation.py --against cc57e53
python benchmarks/evaluation.py --against cc57e53 --checkpoint runs/pretrain --max-crystals 200 --repeats 1

With `--workers`, how much of several workers' time is used, beside one process.

python benchmarks/evaluation.py --checkpoint shipped --workers 2
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from types import FrameType
from typing import Any

import pandas as pd
import psutil
from tabulate import tabulate
from worktrees import ROOT, worktree

RECORDS = ROOT / "benchmarks" / "records"
RECORD = RECORDS / "evaluation.json"
PERIOD_S = 0.005
PERIOD_OF_WORKERS_S = 0.5

PHASES = (
    ("uniqueness", ("metrics/uniqueness.py",)),
    ("matching", ("metrics/matching.py",)),
    ("pictures", ("evaluation/pictures.py",)),
    ("reading", ("crystalsweep/data/",)),
    ("restoring", ("networks/", "structures/graph.py")),
    ("symmetry", ("spglib/",)),
    ("scores", ("metrics/scoring.py", "metrics/novelty.py", "metrics/distributions.py", "metrics/substitution.py")),
    ("intervals", ("metrics/bootstrap.py", "metrics/summary.py", "evaluation/outcome.py")),
    ("tables and flags", ("evaluation/", "metrics/")),
)
"""A sample belongs to the first phase one of whose files is on the stack; to imports where one is under way."""


class Sampler:
    """Counts samples of this process's stack by phase."""

    def __init__(self) -> None:
        self.found: Counter[str] = Counter()

    def __call__(self, _: int, frame: FrameType | None) -> None:
        """Take one sample."""
        files, names = [], []
        while frame is not None:
            files.append(frame.f_code.co_filename)
            names.append(frame.f_code.co_name)
            frame = frame.f_back
        self.found[_phase(files, names)] += 1


def _phase(files: Sequence[str], names: Sequence[str]) -> str:
    callers = zip(names, files[1:], strict=False)
    if any(name == "<module>" and "importlib" in caller for name, caller in callers):
        return "imports"
    for phase, parts in PHASES:
        if any(part in file for file in files for part in parts):
            return phase
    return "other"


def child(arguments: Sequence[str], out: Path) -> None:
    """Run the command in this process, sampled, and write what it took."""
    sampler = Sampler()
    signal.signal(signal.SIGPROF, sampler)
    signal.setitimer(signal.ITIMER_PROF, PERIOD_S, PERIOD_S)
    from crystalsweep.cli.main import main as crystalsweep

    try:
        crystalsweep(list(arguments), standalone_mode=False)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    used = resource.getrusage(resource.RUSAGE_SELF)
    total = max(sampler.found.total(), 1)
    told = {
        "cpu_s": used.ru_utime + used.ru_stime,
        "peak_mb": used.ru_maxrss / 1024,
        "phases": {phase: n / total for phase, n in sampler.found.most_common()},
    }
    out.write_text(json.dumps(told))


def _environment_of(tree: Path) -> dict[str, str]:
    """Return the environment of a process that runs the code in `tree` on one thread."""
    return os.environ | {"PYTHONPATH": f"{tree}{os.pathsep}{tree / 'platform'}", "OMP_NUM_THREADS": "1"}


def evaluated(tree: Path, checkpoint: str, target: Path, options: Sequence[str], *, workers: int = 1) -> dict[str, Any]:
    """Evaluate from a working tree in a process of its own, and return what it took."""
    told = target.with_suffix(".json")
    asked = ["evaluate", "--checkpoint", checkpoint, "--workers", str(workers), "--out", str(target), *options]
    command = [sys.executable, str(Path(__file__).resolve()), "--child", str(told), *asked]
    began = time.perf_counter()
    with target.with_suffix(".log").open("w+") as log:
        running = subprocess.Popen(command, env=_environment_of(tree), cwd=target.parent, stdout=log, stderr=log)
        by_workers = _watched(running)
        if running.returncode:
            log.seek(0)
            raise SystemExit(f"the evaluation from {tree} failed:\n{log.read()[-3000:]}")
    found: dict[str, Any] = json.loads(told.read_text())
    return found | {"wall_s": time.perf_counter() - began} | by_workers


def _watched(running: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Wait for a process; returns of Ray's workers below it the CPU seconds and the peak memory of each, MB."""
    peaks: dict[int, float] = {}
    spent: dict[int, float] = {}
    while running.poll() is None:
        for each in _below(running.pid):
            with suppress(psutil.Error):
                if " ".join(each.cmdline()).startswith("ray::Worker"):
                    peaks[each.pid] = max(peaks.get(each.pid, 0), each.memory_info().rss / 2**20)
                    spent[each.pid] = sum(each.cpu_times()[:2])
        time.sleep(PERIOD_OF_WORKERS_S)
    return {"workers_peak_mb": sorted(peaks.values()), "workers_cpu_s": sorted(spent.values())}


def _below(pid: int) -> list[psutil.Process]:
    """Return the processes that a process started; none where it has ended."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def trained(folder: Path, tree: Path) -> Path:
    """Return a generator trained on the bundled crystals for some epochs: it restores enough for all to be asked.

    It is trained by the code in `tree`, whose settings both sides must know.
    """
    asked = ["train", "pretrain", "--preset", "demo", "--set", "epochs=10", "--out", str(folder)]
    command = [sys.executable, "-m", "crystalsweep", *asked]
    subprocess.run(command, env=_environment_of(tree), cwd=tree, check=True, capture_output=True)
    return folder


def differences(a: Path, b: Path) -> list[str]:
    """Return what differs between the figures and the rows of two evaluations; nothing but the code's hash may."""
    found = []
    left, right = (json.loads((folder / "metrics.json").read_text()) for folder in (a, b))
    for each in (left, right):
        each.pop("versions"), each.pop("metrics_lock")
    found += [f"metrics.json: {key}" for key in left.keys() | right.keys() if left.get(key) != right.get(key)]
    for name in ("structures.parquet", "references.parquet"):
        one, other = pd.read_parquet(a / name), pd.read_parquet(b / name)
        if list(one.columns) != list(other.columns) or len(one) != len(other):
            found.append(f"{name}: columns or rows")
            continue
        found += [f"{name}: {column}" for column in one if not _equal(one[column], other[column])]
    return found


def _equal(a: pd.Series, b: pd.Series) -> bool:
    try:
        pd.testing.assert_series_equal(a, b, check_exact=True)
    except AssertionError:
        return False
    return True


def _generator(checkpoint: str | None, folder: Path, tree: Path) -> str:
    if checkpoint is None:
        return str(trained(folder / "generator", tree))
    return str(Path(checkpoint).resolve()) if Path(checkpoint).exists() else checkpoint


def _called(checkpoint: str | None) -> str:
    return Path(checkpoint).name if checkpoint else "pretrain, preset demo, 10 epochs"


def _public(options: Sequence[str]) -> list[str]:
    """Return options without the folders of this machine."""
    return [Path(option).name if Path(option).is_absolute() else option for option in options]


def efficiency(checkpoint: str | None, options: Sequence[str], workers: int) -> dict[str, Any]:
    """Return what one process and what several workers took for the same evaluation.

    On a machine that is busy otherwise, wall time says little: `cpu_efficiency` is the processor time of one process by
    that of driver and workers together, which is what spreading costs in work.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generator = _generator(checkpoint, folder, ROOT)
        alone = evaluated(ROOT, generator, folder / "alone", options)
        spread = evaluated(ROOT, generator, folder / "spread", options, workers=workers)
        differing = differences(folder / "alone", folder / "spread")
        rows = len(pd.read_parquet(folder / "alone" / "structures.parquet", columns=["parent"]))
    wanted = ("cpu_s", "wall_s", "workers_cpu_s", "workers_peak_mb")
    told = {side: {key: ran[key] for key in wanted} for side, ran in (("alone", alone), ("spread", spread))}
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit("HEAD"),
        "uncommitted_changes": _changed(),
        "checkpoint": _called(checkpoint),
        "options": _public(options),
        "machine": _machine(),
        "workers": workers,
        "rows": rows,
        **told,
        "speedup": alone["wall_s"] / spread["wall_s"],
        "efficiency": alone["wall_s"] / spread["wall_s"] / workers,
        "cpu_efficiency": alone["cpu_s"] / (spread["cpu_s"] + sum(spread["workers_cpu_s"])),
        "differences": differing,
    }


def _commit(ref: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), "rev-parse", ref], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _changed() -> bool:
    command = ["git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no"]
    return bool(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())


def _machine() -> dict[str, Any]:
    from importlib.metadata import version

    cpus = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    libraries = ("torch", "numpy", "pandas", "pymatgen", "spglib", "matplotlib")
    return {
        "processor": cpus[0].split(":")[1].strip() if cpus else platform.processor(),
        "cores": os.cpu_count(),
        "load": list(os.getloadavg()),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in libraries},
    }


def _summary(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return medians over the runs of a side, every single time beside them."""
    phases = runs[0]["phases"]
    return {
        "cpu_s": median(run["cpu_s"] for run in runs),
        "every_cpu_s": [round(run["cpu_s"], 2) for run in runs],
        "peak_mb": max(run["peak_mb"] for run in runs),
        "phases": {phase: median(run["phases"].get(phase, 0.0) for run in runs) for phase in phases},
    }


def compare(against: str, checkpoint: str | None, options: Sequence[str], repeats: int) -> dict[str, Any]:
    """Return the record of both sides: this tree, and the commit it is held against."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sides: dict[str, list[dict[str, Any]]] = {"before": [], "now": []}
        with worktree(against, folder / "tree") as before:
            generator = _generator(checkpoint, folder, before)
            for repeat in range(repeats):
                for side, tree in (("before", before), ("now", ROOT)):
                    sides[side].append(evaluated(tree, generator, folder / f"{side}{repeat}", options))
        differing = differences(folder / "before0", folder / "now0")
        rows = len(pd.read_parquet(folder / "now0" / "structures.parquet", columns=["parent"]))
    told = {side: _summary(runs) for side, runs in sides.items()}
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit("HEAD"),
        "uncommitted_changes": _changed(),
        "against": _commit(against),
        "checkpoint": _called(checkpoint),
        "options": _public(options),
        "rows": rows,
        "repeats": repeats,
        **told,
        "ratio": told["before"]["cpu_s"] / told["now"]["cpu_s"],
        "differences": differing,
        "machine": _machine(),
    }


def shown(record: Mapping[str, Any]) -> str:
    """Return the record as tables to read."""
    before, now = record["before"], record["now"]
    phases = sorted(before["phases"].keys() | now["phases"].keys(), key=lambda p: -before["phases"].get(p, 0))
    seconds = [[phase, *(side["cpu_s"] * side["phases"].get(phase, 0) for side in (before, now))] for phase in phases]
    seconds.append(["all", before["cpu_s"], now["cpu_s"]])
    table = tabulate(seconds, headers=["CPU seconds", record["against"][:7], "this tree"], floatfmt=".2f")
    same = "the same" if not record["differences"] else "DIFFERENT: " + ", ".join(record["differences"])
    return (
        f"{record['rows']:,} rows, median of {record['repeats']}\n{table}\n"
        f"ratio {record['ratio']:.2f}; peak memory {before['peak_mb']:.0f} and {now['peak_mb']:.0f} MB\n"
        f"figures and tables: {same}"
    )


def main() -> None:
    """Compare, print and write the record."""
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[3:], Path(sys.argv[2]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", default="cc57e53", help="commit, branch or tag")
    parser.add_argument("--checkpoint", help="a run folder or name; by default one is trained, in a minute or two")
    parser.add_argument("--data", help="crystals to evaluate [default: bundled]")
    parser.add_argument("--set", action="append", default=[], help="a setting of the evaluation")
    parser.add_argument("--workers", type=int, default=1, help="beside one")
    parser.add_argument("--max-crystals", type=int, default=60)
    parser.add_argument("--calculator", default="none")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--record", type=Path, help=f"file [default: {RECORDS.name}/evaluation….json]")
    args = parser.parse_args()
    options = ["--calculator", args.calculator, *(word for each in args.set for word in ("--set", each))]
    options += ["--data", str(Path(args.data).resolve())] if args.data else []
    counted = ["--max-crystals", str(args.max_crystals), *options]
    if args.workers > 1:
        record = efficiency(args.checkpoint, counted, args.workers)
        print(json.dumps({key: record[key] for key in ("speedup", "efficiency", "cpu_efficiency", "differences")}))
        target = RECORDS / "evaluation_workers.json"
    else:
        record = compare(args.against, args.checkpoint, counted, args.repeats)
        print(shown(record))
        target = RECORD
    target = args.record or target
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
