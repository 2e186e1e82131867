"""Make what the shipped champion was validated on, and the held-out crystals that it is judged by, of a 90/10 split.

Of the validation part the stable crystals of at most 60 atoms are taken whose reduced composition is neither among the
training crystals nor among the bundled ones: 200 of them, drawn with a seed, are the package's `mp2018-heldout`, the
others are written for validation.

    python infra/champion_data.py mp2018_train.parquet mp2018_val.parquet OUT/
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from crystalsweep.data import load_bundled, read
from crystalsweep.structures.batch import is_stable

HELD_OUT, SEED, MAX_ATOMS = 200, 2018, 60


def main(train: Path, val: Path, out: Path) -> None:
    """Write `val.parquet` and `heldout.parquet` into `out`."""
    known = {crystal.reduced_formula for part in (read(train).crystals, load_bundled()) for crystal in part}
    new = sorted(
        crystal.id
        for crystal in read(val).crystals
        if is_stable(crystal) and len(crystal) <= MAX_ATOMS and crystal.reduced_formula not in known
    )
    held_out = set(np.random.default_rng(SEED).choice(new, HELD_OUT, replace=False))
    table = pd.read_parquet(val).sort_values("material_id").reset_index(drop=True)
    out.mkdir(parents=True, exist_ok=True)
    for name, ids in (("val", set(new) - held_out), ("heldout", held_out)):
        chosen = table[table["material_id"].isin(ids)].reset_index(drop=True)
        chosen.to_parquet(out / f"{name}.parquet", index=False, compression="zstd")
        print(f"{out / name}.parquet: {len(chosen):,} crystals")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
