"""Which rows of two scored tables restore the same corrupted crystal (Liu et al., iScience 27, 110672 (2024), Fig. 4).

Two models are compared on the same corruptions, which takes the spread between crystals out of their difference.
doi:10.1016/j.isci.2024.110672
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from crystalsweep.metrics.scoring import KEYS


def pairing_keys(a: pd.DataFrame, b: pd.DataFrame) -> tuple[str, ...]:
    """`KEYS` where both tables have them, else `parent`: crystals from files do not say how they were corrupted."""
    keyed = all(key in table and table[key].notna().any() for key in KEYS for table in (a, b))
    return KEYS if keyed else ("parent",)


def paired_rows(
    a: pd.DataFrame, b: pd.DataFrame, names: tuple[str, str] = ("a", "b"), keys: Sequence[str] | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of two tables whose `keys` both hold, in the same order; `names` are for messages.

    Raises:
        ValueError: Keys repeat within a table, or no row of one has its keys in the other.
    """
    columns = list(keys or pairing_keys(a, b))
    left, right = (_numbered(table, columns, name) for table, name in zip((a, b), names, strict=True))
    both = left.merge(right, on=columns, suffixes=("_a", "_b"))
    if both.empty:
        raise ValueError(
            f"{names[0]!r} and {names[1]!r} have no {', '.join(columns)} in common: compare tables made from the same "
            "crystals with the same evaluation settings."
        )
    return a.iloc[both["row_a"].to_numpy()], b.iloc[both["row_b"].to_numpy()]


def _numbered(table: pd.DataFrame, columns: list[str], name: str) -> pd.DataFrame:
    """The keys of a table with the positions of their rows."""
    keys = table[columns].assign(row=np.arange(len(table)))
    if "sigma_noise" in columns:
        keys["sigma_noise"] = keys["sigma_noise"].astype(float).round(6)  # 0.1 may have passed through float32
    repeated = keys.duplicated(columns)
    if repeated.any():
        first = ", ".join(f"{key} {value}" for key, value in keys.loc[repeated, columns].iloc[0].items())
        raise ValueError(f"{name!r} has {int(repeated.sum())} rows whose keys are not unique, the first {first}.")
    return keys
