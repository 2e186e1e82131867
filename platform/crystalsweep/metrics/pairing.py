"""Which rows of two scored tables restore the same corrupted crystal (Liu et al., iScience 27, 110672 (2024), Fig. 4).

Two models are compared on the same corruptions, which takes the spread between crystals out of their difference.
doi:10.1016/j.isci.2024.110672
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalsweep.metrics.scoring import KEYS

INPUT = {
    "species_before": (0.0, False),
    "species_corrupted": (0.0, False),
    "lattice_before": (1e-3, False),
    "frac_corrupted": (1e-4, True),
}
"""Columns that say what a row was restored from, with the difference that is none and whether whole numbers are.

Noise displaces by tenths of an Å, which is far above the tolerances (Å and fractions of a cell)."""


def pairing_keys(a: pd.DataFrame, b: pd.DataFrame) -> tuple[str, ...]:
    """Return `KEYS` where both tables have them, else `parent`: crystals from files do not say how they were
    corrupted."""
    keyed = all(key in table and table[key].notna().any() for key in KEYS for table in (a, b))
    return KEYS if keyed else ("parent",)


def paired_rows(
    a: pd.DataFrame, b: pd.DataFrame, names: tuple[str, str] = ("a", "b"), keys: Sequence[str] | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of two tables whose `keys` both hold, in the same order; `names` are for messages.

    Without `keys`, they are those of `pairing_keys`, and rows with other inputs are left out where tables hold inputs.

    Raises:
        ValueError: Keys repeat within a table, or no row of one has its keys, or its input, in the other.
    """
    left, right = _with_keys(a, b, names, keys or pairing_keys(a, b))
    if keys is not None:
        return left, right
    same = same_inputs(left, right)
    if not same.any():
        raise ValueError(
            f"{names[0]!r} and {names[1]!r} have {len(same):,} rows of the same crystal, mask and noise, but none of "
            "the same corrupted crystal: random masks and displacements depend on all crystals that are evaluated. "
            "Evaluate both on the same crystals with the same protocol settings."
        )
    return left[same], right[same]


def other_inputs(a: pd.DataFrame, b: pd.DataFrame, names: tuple[str, str] = ("a", "b")) -> int:
    """Count the rows that have the same keys in both tables, but other inputs; raises as `paired_rows` for the
    keys."""
    return int((~same_inputs(*_with_keys(a, b, names, pairing_keys(a, b)))).sum())


def same_inputs(a: pd.DataFrame, b: pd.DataFrame) -> NDArray[np.bool_]:
    """Return (n,) whether rows of equal position restore the same corrupted crystal, by those of `INPUT` that both
    have.

    Compared as numbers, since the same draws differ in their last digits between machines.
    """
    same = np.ones(len(a), dtype=bool)
    for column, (tolerance, periodic) in INPUT.items():
        if len(a) and column in a and column in b:
            same &= _same(a[column].to_numpy(), b[column].to_numpy(), tolerance, periodic=periodic)
    return same


def _same(a: NDArray[np.object_], b: NDArray[np.object_], tolerance: float, *, periodic: bool) -> NDArray[np.bool_]:
    """Return (n,) whether arrays agree in length and, within `tolerance`, in every number."""
    left, right = ([np.ravel(np.asarray(row, dtype=float)) for row in rows] for rows in (a, b))
    lengths, others = (np.array([len(row) for row in rows]) for rows in (left, right))
    same = lengths == others
    compared = np.flatnonzero(same & (lengths > 0))
    if not len(compared):
        return same
    difference = np.concatenate([left[i] for i in compared]) - np.concatenate([right[i] for i in compared])
    if periodic:
        difference -= np.round(difference)
    starts = np.r_[0, np.cumsum(lengths[compared])[:-1]]
    same[compared] = np.logical_and.reduceat(np.abs(difference) <= tolerance, starts)
    return same


def _with_keys(
    a: pd.DataFrame, b: pd.DataFrame, names: tuple[str, str], keys: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows whose keys both tables hold, in the order of `a`."""
    columns = list(keys)
    left, right = (_numbered(table, columns, name) for table, name in zip((a, b), names, strict=True))
    both = left.merge(right, on=columns, suffixes=("_a", "_b"))
    if both.empty:
        raise ValueError(
            f"{names[0]!r} and {names[1]!r} have no {', '.join(columns)} in common: compare tables made from the same "
            "crystals with the same evaluation settings."
        )
    return a.iloc[both["row_a"].to_numpy()], b.iloc[both["row_b"].to_numpy()]


def _numbered(table: pd.DataFrame, columns: list[str], name: str) -> pd.DataFrame:
    """Return the keys of a table with the positions of their rows."""
    keys = table[columns].assign(row=np.arange(len(table)))
    if "sigma_noise" in columns:
        keys["sigma_noise"] = keys["sigma_noise"].astype(float).round(6)  # 0.1 may have passed through float32
    repeated = keys.duplicated(columns)
    if repeated.any():
        first = ", ".join(f"{key} {value}" for key, value in keys.loc[repeated, columns].iloc[0].items())
        raise ValueError(f"{name!r} has {int(repeated.sum())} rows whose keys are not unique, the first {first}.")
    return keys
