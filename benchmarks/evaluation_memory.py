"""How much memory does an evaluation's own process take for each row, from scored parts to written tables?

Parts of 256 rows are scored once, of real crystals and a reference row as the model, and copied under new names, with
their positions moved a little: as many as an evaluation of more crystals leaves. Then a process of its own reads them,
looks for copies and writes the tables; its peak is taken after each step. Scoring itself holds one part at a time. With
`--against`, another commit does the same, and what both wrote is compared, exactly.

python benchmarks/evaluation_memory.py --against 1888ed8
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tabulate import tabulate
from worktrees import ROOT, worktree

from crystalsweep.data import load_bundled
from crystalsweep.evaluation.models import reference_rows
from crystalsweep.evaluation.protocol import blocks
from crystalsweep.evaluation.run import ROWS, open_folder, write_parquet
from crystalsweep.evaluation.scoring import MODEL, Protocol
from crystalsweep.evaluation.settings import EvaluationSettings

RECORD = ROOT / "benchmarks" / "records" / "evaluation_memory.json"
CRYSTALS = 24
SIGMA = 0.02
"""Å by which copies move."""

WHOLE = {"crystals": 5114, "rows_per_crystal": 38}
"""mp2018_val under the protocol: what the growth is told for."""


def scored(crystals: int) -> list[dict[str, pd.DataFrame]]:
    """Return whole parts of the protocol on real crystals."""
    chosen = [crystal for crystal in load_bundled()[::11] if 2 <= len(crystal) <= 40][:crystals]
    counts = Counter(int(z) for crystal in chosen for z in crystal.species)
    rows, settings = reference_rows(counts), EvaluationSettings()
    task = Protocol(restorer=rows["most common"], references=rows, settings=settings, train_counts=counts)
    return [task.score(part) for part in blocks(chosen, settings.protocol)[:-1]]


def copied(parts: list[dict[str, pd.DataFrame]], folder: Path, n: int) -> None:
    """Write n parts, copies of these in turn under names of their own."""
    for number in range(n):
        target, generator = folder / ROWS / f"{number:05d}", np.random.default_rng(number)
        target.mkdir(parents=True)
        for name, table in parts[number % len(parts)].items():
            copy = table.assign(parent=[f"{parent}-{number // len(parts)}" for parent in table["parent"]])
            if name == MODEL:
                moved = [f + generator.normal(scale=SIGMA / 5, size=f.shape) for f in table["frac_after"]]
                copy["frac_after"] = pd.Series(moved, dtype=object)
            write_parquet(target / f"{name}.parquet", copy)


def child(folder: Path, out: Path) -> None:
    """Read, compare and write in this process, and note its peak after each step."""
    from crystalsweep.evaluation import run
    from crystalsweep.evaluation.structures import crystals_of
    from crystalsweep.metrics.settings import MetricConfig

    n = len(list((folder / ROWS).iterdir()))
    peaks = {"imports": _peak_mb()}
    parents: dict[str, Any] = {}
    for part in sorted((folder / ROWS).iterdir()):
        rows = pd.read_parquet(part / f"{MODEL}.parquet", columns=_BEFORE).drop_duplicates("parent")
        parents |= {crystal.id: crystal for crystal in crystals_of(rows, "before")}
    peaks["true crystals"] = _peak_mb()
    open_folder(folder.parent / "opened", {"what": "memory"})
    streams = hasattr(run, "write_results")
    if streams:
        from crystalsweep.evaluation.spread import Workers
        from crystalsweep.evaluation.whole_table import added_columns, whole_table_columns

        tables = run.run_evaluation(None, range(n), [256] * n, folder, Workers())  # type: ignore[arg-type]
    else:
        from crystalsweep.evaluation.results import whole_table_columns  # type: ignore[no-redef, attr-defined]

        tables = run.run_evaluation(None, range(n), [256] * n, folder, workers=1)  # type: ignore[arg-type, call-arg]
    peaks["read"] = _peak_mb()
    tables = whole_table_columns(tables, MetricConfig(), list(parents.values()))
    peaks["copies found"] = _peak_mb()
    if streams:
        run.write_results(folder, MODEL, {name: added_columns(table) for name, table in tables.items()})
    else:
        run.write_tables(folder, tables[MODEL], {name: table for name, table in tables.items() if name != MODEL})
    peaks["written"] = _peak_mb()
    used = resource.getrusage(resource.RUSAGE_SELF)
    out.write_text(json.dumps({"peak_mb": peaks, "cpu_s": used.ru_utime + used.ru_stime}))


_BEFORE = ["parent", "species_before", "lattice_before", "frac_before"]


def _peak_mb() -> float:
    """Return the peak of this process; `ru_maxrss` would begin with that of the process that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024


def ran(tree: Path, folder: Path) -> dict[str, Any]:
    """Return what a process from a working tree took."""
    out = folder / "told.json"
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, (tree, tree / "platform", Path(__file__).parent))),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, str(Path(__file__).resolve()), "--child", str(folder), str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the process from {tree} failed:\n{done.stderr[-3000:]}")
    told: dict[str, Any] = json.loads(out.read_text())
    return told


def same(one: Path, other: Path) -> bool:
    """Return whether two folders hold the same tables, value for value."""
    for name in ("structures.parquet", "references.parquet"):
        tables = [pd.read_parquet(folder / name) for folder in (one, other)]
        try:
            pd.testing.assert_frame_equal(*tables, check_exact=True)
        except AssertionError as difference:
            print(name, str(difference)[:500])
            return False
    return True


def growth(runs: list[dict[str, Any]], side: str) -> float:
    """Return kB by which the peak grows with each row of the model."""
    first, *_, last = (run for run in runs if run["side"] == side)
    return 1024 * (last["peak_mb"]["written"] - first["peak_mb"]["written"]) / (last["rows"] - first["rows"])


def measure(against: str | None, sizes: list[int]) -> dict[str, Any]:
    """Return the record: each side at each number of parts."""
    parts, runs, equal = scored(CRYSTALS), list[dict[str, Any]](), True
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        before = {"before": stack.enter_context(worktree(against, folder / "tree"))} if against else {}
        trees = {**before, "now": ROOT}
        for n in sizes:
            for side, tree in trees.items():
                copied(parts, folder / f"{side}{n}", n)
                rows = n * len(parts[0][MODEL])
                runs.append({"side": side, "parts": n, "rows": rows} | ran(tree, folder / f"{side}{n}"))
                print(json.dumps(runs[-1]), flush=True)
            equal = equal and (not against or same(folder / f"before{n}", folder / f"now{n}"))
    per_row = {side: growth(runs, side) for side in trees}
    whole = WHOLE["crystals"] * WHOLE["rows_per_crystal"]
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit("HEAD"),
        "against": _commit(against) if against else None,
        "machine": _machine(),
        "mean_atoms": float(np.mean([len(s) for part in parts for s in part[MODEL]["species_after"]])),
        "runs": runs,
        "kb_per_row": per_row,
        "mb_for_mp2018_val": {side: kb * whole / 1024 for side, kb in per_row.items()},
        "same_tables": equal if against else None,
    }


def _commit(ref: str) -> str:
    command = ["git", "-C", str(ROOT), "rev-parse", ref]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _machine() -> dict[str, Any]:
    cpus = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "processor": cpus[0].split(":")[1].strip() if cpus else platform.processor(),
        "cores": os.cpu_count(),
        "load": list(os.getloadavg()),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("numpy", "pandas", "pyarrow", "pymatgen")},
    }


def main() -> None:
    """Measure, print and write the record."""
    if sys.argv[1:2] == ["--child"]:
        child(Path(sys.argv[2]), Path(sys.argv[3]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", help="a commit to do the same")
    parser.add_argument("--parts", type=int, nargs="+", default=[10, 40], help="numbers of parts of 256 rows")
    parser.add_argument("--record", type=Path, default=RECORD)
    asked = parser.parse_args()
    record = measure(asked.against, asked.parts)
    rows = [[run["side"], run["rows"], *run["peak_mb"].values(), run["cpu_s"]] for run in record["runs"]]
    print(tabulate(rows, headers=["", "rows", *record["runs"][0]["peak_mb"], "CPU s"], floatfmt=".1f"))
    print("kB a row:", record["kb_per_row"], "MB for mp2018_val:", record["mb_for_mp2018_val"])
    print("same tables:", record["same_tables"])
    asked.record.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
