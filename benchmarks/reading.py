"""What reading costs: one crystal at a time beside packed, first and second time, and a synthetic million.

Run from the repository: `python benchmarks/reading.py --data FILE.parquet [--rows 1000000]`. Each side runs in a
process of its own, timed by CPU seconds. The synthetic set repeats the crystals of FILE with every atom moved by a
deterministic hundredth of an ångström, and is written to a temporary folder.
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
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from crystalsweep.data import DataSet, load_data, read
from crystalsweep.data.packed import Crystals, Pack
from crystalsweep.data.packing import pack_of
from crystalsweep.structures.crystal import Crystal

RECORD = Path(__file__).parent / "records" / "reading.json"
MOVED = 0.01
"""Å."""


def one_by_one(path: Path) -> Sequence[Crystal]:
    """Read as before: each row's own checks, a list of objects, then split and fingerprint."""
    from crystalsweep.data.fingerprint import fingerprint
    from crystalsweep.data.readers import parquet
    from crystalsweep.data.splitting import grouped_split

    def none(batch: object, ids: list[str], labels: object) -> list[Crystal | None]:
        del batch, labels
        return [None] * len(ids)

    parquet._plain = none  # nothing is plainly a crystal, so that every row is checked by itself
    crystals = [row.outcome for row in parquet.ParquetReader().rows(path) if isinstance(row.outcome, Crystal)]
    fingerprint(crystals)
    grouped_split(crystals)
    return crystals


def opened(path: Path) -> DataSet:
    """Open a data set as a trial's worker does."""
    return load_data(str(path))


def looked_at(path: Path) -> DataSet:
    """Open a data set, then make 50,000 of its crystals in an order drawn by chance."""
    data = load_data(str(path))
    for row in np.random.default_rng(0).permutation(len(data.train))[:50_000]:
        data.train[int(row)]
    return data


SIDES = {"one by one": one_by_one, "packed": opened, "packed, 50,000 made": looked_at}


def memory() -> dict[str, float]:
    """Return megabytes of this process: its own (USS), its share (PSS), and the most it ever held (RSS).

    Its own are pages of no file. Private pages would not do: they count those of a mapped file, too, as long as no
    other process has mapped it and the machine has not yet written it to the disk.
    """
    found = {"peak_rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3}
    rolled = (line.split() for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
    kilobytes = {name: float(size) for name, size, *_ in rolled}
    return found | {"uss": kilobytes["Anonymous:"] / 1e3, "pss": kilobytes["Pss:"] / 1e3}


def side(name: str, path: Path) -> dict[str, float]:
    """Time one side in this process."""
    before, began, walled = memory(), time.process_time(), time.perf_counter()
    held = SIDES[name](path)
    spent, waited = time.process_time() - began, time.perf_counter() - walled
    after = memory()
    rows = len(held.crystals if isinstance(held, DataSet) else held)
    own = {f"{kind}_mb": after[kind] - before[kind] for kind in ("uss", "pss")}
    return {"rows": rows, "cpu_s": spent, "wall_s": waited, **own, "peak_rss_mb": after["peak_rss"]}


def in_a_process(name: str, path: Path, cache: str) -> dict[str, float]:
    """Time one side in a process of its own."""
    command = [sys.executable, __file__, "--side", name, "--data", str(path)]
    ran = subprocess.run(
        command, env={**os.environ, "CRYSTALSWEEP_CACHE": cache}, capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return found


def synthesise(source: Path, rows: int, target: Path) -> None:
    """Write `rows` crystals: those of `source` again and again, every atom moved."""
    pack = pack_of(read(source).crystals)
    with pq.ParquetWriter(target, _table(pack, 0, 1).schema, compression="zstd") as file:
        for copy, first in enumerate(range(0, rows, len(pack))):
            file.write_table(_table(pack, copy, min(len(pack), rows - first)), row_group_size=10_000)


def _table(pack: Pack, copy: int, rows: int) -> pa.Table:
    chosen = pack_of(Crystals(pack)[:rows])
    rng = np.random.default_rng(copy)
    edges = np.linalg.norm(chosen.lattice, axis=2).repeat(np.diff(chosen.start), axis=0)
    moved = chosen.frac + rng.uniform(-MOVED, MOVED, chosen.frac.shape) / edges
    frac = (moved % 1.0).astype(np.float32) % np.float32(1.0)
    start = pa.array(chosen.start.astype(np.int32))
    return pa.table(
        {
            "material_id": pa.array([f"{name}-{copy}" for name in chosen.ids()]),
            "atomic_numbers": pa.ListArray.from_arrays(start, pa.array(chosen.species)),
            "lattice": pa.array(list(chosen.lattice.astype(np.float32).reshape(rows, 9))),
            "frac_coords": pa.ListArray.from_arrays(pa.array(chosen.start.astype(np.int32) * 3), frac.reshape(-1)),
            **{name: pa.array(column, from_pandas=True) for name, column in chosen.labels.items()},
        }
    )


def measured(path: Path, *, one_at_a_time: bool) -> dict[str, dict[str, float]]:
    """Time all sides on one file: as before, packed the first time, and from the cache."""
    with tempfile.TemporaryDirectory() as cache:
        before = {"one by one": in_a_process("one by one", path, "off")} if one_at_a_time else {}
        first = {"first time": in_a_process("packed", path, cache)}
        again = {"from the cache": in_a_process("packed", path, cache)}
        made = {"from the cache, 50,000 made": in_a_process("packed, 50,000 made", path, cache)}
        size = sum(file.stat().st_size for file in Path(cache).iterdir()) / 1e6
    return before | first | again | made | {"entry": {"mb": size}}


def main() -> None:
    """Print both sides, their ratio and memory, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the synthetic set; 0 for none")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        print(json.dumps(side(args.side, args.data)))
        return
    results = {args.data.name: measured(args.data, one_at_a_time=True)}
    if args.rows:
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "synthetic.parquet"
            synthesise(args.data, args.rows, target)
            results[f"synthetic {args.rows:,}"] = measured(target, one_at_a_time=False)
    for source, sides in results.items():
        print(f"\n{source} (cache entry: {sides['entry']['mb']:,.0f} MB)")
        for name, found in sides.items():
            if name != "entry":
                print(f"  {name:28} " + "  ".join(f"{key} {value:,.2f}" for key, value in found.items()))
        if "one by one" in sides:
            slow = sides["one by one"]["cpu_s"]
            ratios = {name: slow / sides[name]["cpu_s"] for name in ("first time", "from the cache")}
            print("  one by one takes " + ", ".join(f"{ratio:.1f} × {name}" for name, ratio in ratios.items()))
    about = {"date": datetime.now(UTC).date().isoformat(), "machine": platform.machine(), "cores": os.cpu_count()}
    about |= {"threads": os.environ.get("OMP_NUM_THREADS", "")}
    versions = {name: version(name) for name in ("numpy", "pyarrow", "pymatgen", "safetensors")}
    RECORD.parent.mkdir(exist_ok=True)
    record = {**about, "python": platform.python_version(), "versions": versions, "results": results}
    RECORD.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
