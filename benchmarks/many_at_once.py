"""Do all trials of a sweep get on when many of them run on many nodes at once?

A cluster of simulated nodes on this machine (Ray's `cluster_utils`), one real sweep on it, with as many trials at once
as the nodes have CPUs and twice as many in all. Told are how many ran at once, how long after the first of them the
last reported, how long a trial waited at most between two of its epochs beside the median of the trials, and what the
sweep's own process took. All share this machine's cores, so times say how evenly, not how fast a cluster is.

    python benchmarks/many_at_once.py --record                          32 at once: five minutes and 14 GB on two cores
    python benchmarks/many_at_once.py --nodes 16 --cpus 4               64, where there is memory: 0.4 GB a trial
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections import defaultdict
from datetime import date
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import psutil
from ray.cluster_utils import Cluster
from tabulate import tabulate

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "benchmarks" / "records" / "many_at_once.json"


def sweep(address: str, storage: Path, *, at_once: int, epochs: int) -> dict[str, Any]:
    """Run the sweep on the cluster at `address`; returns what was measured of it."""
    tiny = [f"epochs={epochs}", "max_crystals=32", "evaluation.max_crystals=8", "evaluation.draws=1"]
    command = [sys.executable, str(ROOT / "sweeps" / "w_pos.py"), "--preset", "smoke", "--json", "--search", "random"]
    command += ["--storage", str(storage), "--num-samples", str(2 * at_once), "--max-concurrent", str(at_once)]
    command += [option for setting in tiny for option in ("--set", setting)]
    environment = os.environ | {"RAY_ADDRESS": address}
    began, most = time.monotonic(), 0
    status: dict[str, str] = {}
    epochs_at: dict[str, list[float]] = defaultdict(list)
    peak, cpu = 0, 0.0
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        own = psutil.Process(process.pid)
        for line in process.stdout or ():
            event, now = json.loads(line), time.monotonic() - began
            used = own.cpu_times()
            peak, cpu = max(peak, own.memory_info().rss), used.user + used.system
            if event["event"] == "state":
                most = max(most, event["counts"].get("running", 0))
                status |= {row["key"]: row["status"] for row in event["changed"]}
            elif event["event"] == "epoch":
                epochs_at[event["key"]].append(now)
    gaps = [max(after - before for before, after in pairwise(times)) for times in epochs_at.values() if len(times) > 1]
    firsts = sorted(times[0] for times in epochs_at.values())
    return {
        "trials": 2 * at_once,
        "complete": list(status.values()).count("complete"),
        "most_running": most,
        "s_until_all_of_the_first_report": firsts[at_once - 1] - firsts[0] if len(firsts) >= at_once else None,
        "s_longest_between_two_epochs": max(gaps),
        "s_median_of_the_longest": median(gaps),
        "s_from_first_to_last_epoch": max(max(times) for times in epochs_at.values()) - firsts[0],
        "driver_cpu_s": cpu,
        "driver_peak_mb": peak / 1e6,
    }


def main() -> None:
    """Run the sweep, print a table and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=8, help="beside the head, which runs no trial [default: 8]")
    parser.add_argument("--cpus", type=int, default=4, help="of each node [default: 4]")
    parser.add_argument("--epochs", type=int, default=10, help="of a trial [default: 10]")
    parser.add_argument("--record", action="store_true", help=f"write {RECORD.parent.name}/{RECORD.name}")
    asked = parser.parse_args()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": True})
    try:
        for _ in range(asked.nodes):
            cluster.add_node(num_cpus=asked.cpus)
        with TemporaryDirectory() as folder:
            found = sweep(cluster.address, Path(folder), at_once=asked.nodes * asked.cpus, epochs=asked.epochs)
    finally:
        cluster.shutdown()
    print(tabulate(found.items(), floatfmt=".1f"))
    if asked.record:
        about = {"date": str(date.today()), "cores": os.cpu_count(), "python": platform.python_version()}
        about |= {"ray": version("ray"), "nodes": asked.nodes, "cpus_of_a_node": asked.cpus, "epochs": asked.epochs}
        RECORD.write_text(json.dumps(about | found, indent=1) + "\n")


if __name__ == "__main__":
    main()
