"""Crystals as columns of `structures.parquet`, so that every figure can be computed again from what was generated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from crystalsweep.structures.crystal import Crystal

State = Literal["before", "corrupted", "after", "predicted"]
"""The parent, the input, the generated crystal, and the same with visible species predicted too."""

LATTICES: dict[State, str] = {
    "before": "lattice_before",
    "corrupted": "lattice_before",
    "after": "lattice_after",
    "predicted": "lattice_after",
}
POSITIONS: dict[State, str] = {
    "before": "frac_before",
    "corrupted": "frac_corrupted",
    "after": "frac_after",
    "predicted": "frac_after",
}

SCORED = ("frac_before", "frac_corrupted")
"""Columns that nothing reads once a row is scored, and the largest of them; they stay on the disk."""


def structure_columns(
    originals: Sequence[Crystal],
    corrupted: Sequence[Crystal],
    generated: Sequence[Crystal],
    predicted: Sequence[Crystal] | None = None,
) -> pd.DataFrame:
    """Return one row per crystal: species (N,), lattices (9,) Å, fractional coordinates (3N,), as lists."""
    columns = {
        "species_before": [crystal.species for crystal in originals],
        "species_corrupted": [crystal.species for crystal in corrupted],
        "species_after": [crystal.species for crystal in generated],
        "lattice_before": [crystal.lattice.ravel() for crystal in originals],
        "lattice_after": [crystal.lattice.ravel() for crystal in generated],
        "frac_before": [crystal.frac.ravel() for crystal in originals],
        "frac_corrupted": [crystal.frac.ravel() for crystal in corrupted],
        "frac_after": [crystal.frac.ravel() for crystal in generated],
    }
    if predicted is not None:
        columns["species_predicted"] = [crystal.species for crystal in predicted]
    return pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()})


def crystals_of(table: pd.DataFrame, state: State) -> list[Crystal]:
    """Return the crystals of a table, named after their parents; coordinates exactly as stored."""
    columns = (table["parent"], table[f"species_{state}"], table[LATTICES[state]], table[POSITIONS[state]])
    return [
        Crystal(
            id=str(name),
            species=np.asarray(species, dtype=np.int64),
            lattice=np.asarray(lattice, dtype=np.float64).reshape(3, 3),
            frac=np.asarray(frac, dtype=np.float64).reshape(-1, 3),
        )
        for name, species, lattice, frac in zip(*columns, strict=True)
    ]
