"""Split the champion's validation crystals for the question of sweeps/adversary.py: some choose, others are told once.

    python infra/adversary_data.py DATA/val.parquet DATA/heldout.parquet DATA/

`choose.parquet`: 876 crystals, on which weights and settings are chosen. `test.parquet`: the other 300, drawn by the
hash of their ids, and the 200 held-out ones, on which the answer is told.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pandas as pd

TOLD = 300


def split(val: Path, heldout: Path, into: Path) -> None:
    """Write the two files."""
    crystals = pd.read_parquet(val)
    drawn = crystals["material_id"].map(lambda name: hashlib.sha256(f"adversary test {name}".encode()).hexdigest())
    ordered = crystals.iloc[drawn.argsort(kind="stable")]
    parts = {
        "test": pd.concat([pd.read_parquet(heldout), ordered.iloc[:TOLD]], ignore_index=True),
        "choose": ordered.iloc[TOLD:].reset_index(drop=True),
    }
    for name, part in parts.items():
        part.to_parquet(into / f"{name}.parquet", index=False)
        print(f"{into / f'{name}.parquet'}: {len(part):,} crystals")


if __name__ == "__main__":
    split(*map(Path, sys.argv[1:4]))
