"""What a trial's process spends before its first step, in CPU seconds, and what it then holds in memory.

The first training of a process waits for this. Ray gave no trial, which is an actor, a process in which a task had run,
so that tasks cannot do it beforehand; other ways to warm a process were not tried. CPU seconds, since these say the
same on a busy machine; Ray's own start of a process comes on top.

    python benchmarks/trial_start.py --record
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from tabulate import tabulate

RECORD = Path(__file__).parent / "records" / "trial_start.json"


def pieces(stage: str) -> dict[str, float]:
    """Do in this process what a trial's does before its first step; returns CPU seconds by piece, and megabytes."""
    spent = {"Python": time.process_time()}

    def timed(name: str, of: Callable[[], object]) -> None:
        began = time.process_time()
        of()
        spent[name] = time.process_time() - began

    timed("import Ray and Tune", lambda: import_module("ray.tune"))
    timed("import torch", lambda: import_module("torch"))
    timed("import what trains", lambda: import_module("crystalsweep.sweeping.trial"))
    timed("import torch._dynamo, which torch's optimizers ask for", lambda: import_module("torch._dynamo"))
    with TemporaryDirectory() as folder:
        timed("crystals, networks and optimizers", lambda: _built(stage, folder))
    rolled = (line.split() for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
    own = next(float(size) / 1e3 for name, size, *_ in rolled if name == "Anonymous:")
    return spent | {"own memory, MB": own}


def _built(stage: str, folder: str) -> object:
    import torch

    from crystalsweep.artifacts.checkpoint_store import CheckpointStore
    from crystalsweep.data import load_data
    from crystalsweep.training.catalogue import preset, stage_builder
    from crystalsweep.training.stored import StoredSession

    session = StoredSession(CheckpointStore(folder), torch.device("cpu"), lambda *_: None)
    return stage_builder(stage)(preset(stage, "demo"), load_data("bundled"), session, {})


def in_a_process(stage: str) -> dict[str, float]:
    """Return the same of a process of its own."""
    command = [sys.executable, __file__, "--stage", stage, "--child"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Print the median of each piece over some processes, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", default="pretrain")
    parser.add_argument("--repeats", type=int, default=3, help="processes [default: 3]")
    parser.add_argument("--record", action="store_true", help=f"write {RECORD.parent.name}/{RECORD.name}")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        print(json.dumps(pieces(asked.stage)))
        return
    runs = [in_a_process(asked.stage) for _ in range(asked.repeats)]
    memory = [run.pop("own memory, MB") for run in runs]
    medians = {name: median(run[name] for run in runs) for name in runs[0]}
    whole = sorted(sum(run.values()) for run in runs)
    print(tabulate([*medians.items(), ("all", median(whole))], headers=["CPU seconds", "median"], floatfmt=".2f"))
    print(f"from {whole[0]:.2f} to {whole[-1]:.2f} s; {median(memory):.0f} MB of its own")
    if asked.record:
        about = {"date": str(date.today()), "cores": os.cpu_count(), "load": os.getloadavg()}
        versions = {name: version(name) for name in ("ray", "torch", "pandas")}
        found = {"cpu_s": medians, "whole_cpu_s": whole, "own_mb": memory}
        record = {**about, "python": platform.python_version(), "versions": versions, asked.stage: found}
        RECORD.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
