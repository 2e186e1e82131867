"""Metrics by kind of crystal: its size, its masked element, its crystal system (Liu et al., 2024, Fig. 4D and 4E).

Bins are fixed, so that tables of different models and data sets compare. doi:10.1016/j.isci.2024.110672
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from crystalsweep.metrics.distributions import CRYSTAL_SYSTEMS
from crystalsweep.metrics.summary import summarise
from crystalsweep.metrics.table import SHOWN

ATOMS = (1, 5, 9, 13, 21, 41)
"""Least number of atoms of each bin."""

FREQUENCIES = (0.0, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
"""Least share of the training atoms of each bin of element frequency; half decades."""


@dataclass(frozen=True, kw_only=True)
class Stratum:
    """One way to divide a table of scores."""

    name: str
    title: str
    label: str
    """Of the axis, with its unit."""
    columns: tuple[str, ...]
    """That the table must have."""
    bins: Callable[[pd.DataFrame], pd.Series]
    """(n,) ordered categorical from a table of scores, missing where a row belongs to no bin."""


def strata_table(table: pd.DataFrame, by: str, *, n_resamples: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Summarise a table in long form: a row per metric and bin, with the columns stratum, bin, metric, mean, low,
    high, n, clusters.

    The headline metrics and the masked accuracy, over all mask types and noise levels of the table: choose rows first
    to have one condition. Bins come in their order, those without a row are left out.

    Args:
        table: Scores, a row per generated crystal.
        by: A name of `STRATA`.
        n_resamples: Of the bootstrap over parents.
        seed: Of the bootstrap.

    Raises:
        ValueError: There is no such stratum, or the table lacks its column.
    """
    named = table.assign(bin=binned(table, by))
    long = summarise(named, by=("bin",), metrics=SHOWN, n_resamples=n_resamples, seed=seed)
    long.insert(0, "stratum", by)
    return long[["stratum", "bin", "metric", "mean", "low", "high", "n", "clusters"]]


def binned(table: pd.DataFrame, by: str) -> pd.Series:
    """Return (n,) ordered categorical: the bin of each row, missing where it belongs to none.

    Raises:
        ValueError: There is no such stratum, or the table lacks its column.
    """
    if by not in STRATA:
        raise ValueError(f"There is no stratum {by!r}: choose one of {', '.join(STRATA)}.")
    if missing := [name for name in STRATA[by].columns if name not in table]:
        raise ValueError(f"The table has no column {', '.join(missing)}, which the stratum {by} reads.")
    return STRATA[by].bins(table)


def _atoms(table: pd.DataFrame) -> pd.Series:
    labels = [f"{low}–{high - 1}" for low, high in pairwise(ATOMS)] + [f"{ATOMS[-1]}+"]
    return pd.cut(table["n_atoms"].astype(float), [*ATOMS, np.inf], right=False, labels=labels)


def _frequencies(table: pd.DataFrame) -> pd.Series:
    shares = [f"{100 * share:g}" for share in FREQUENCIES]
    middle = [f"{low}–{high}" for low, high in pairwise(shares[1:])]
    labels = [f"< {shares[1]}", *middle, f"> {shares[-1]}"]
    return pd.cut(table["masked_frequency"].astype(float), [*FREQUENCIES, np.inf], right=False, labels=labels)


def _systems(table: pd.DataFrame) -> pd.Series:
    known = table["crystal_system"].where(table["crystal_system"].isin(CRYSTAL_SYSTEMS))
    return pd.Series(pd.Categorical(known, categories=CRYSTAL_SYSTEMS, ordered=True), table.index)


def _elements(table: pd.DataFrame) -> pd.Series:
    """Return elements by falling share of the training atoms, then by symbol; elements of unknown share come last."""
    masked = table["masked_element"].where(table["masked_element"] != "")
    share = table["masked_frequency"].astype(float).fillna(0.0).groupby(masked).max()
    order = sorted(share.index, key=lambda symbol: (-share[symbol], symbol))
    return pd.Series(pd.Categorical(masked, categories=order, ordered=True), table.index)


STRATA = {
    stratum.name: stratum
    for stratum in (
        Stratum(
            name="n_atoms",
            title="Similarity by size",
            label="atoms in the cell",
            columns=("n_atoms",),
            bins=_atoms,
        ),
        Stratum(
            name="masked_element",
            title="Similarity by masked element",
            label="masked element, from the most to the least frequent in training",
            columns=("masked_element", "masked_frequency"),
            bins=_elements,
        ),
        Stratum(
            name="crystal_system",
            title="Similarity by crystal system",
            label="crystal system of the parent",
            columns=("crystal_system",),
            bins=_systems,
        ),
        Stratum(
            name="masked_frequency",
            title="Similarity by frequency of the masked element",
            label="share of the training atoms that are of the masked element (%)",
            columns=("masked_frequency",),
            bins=_frequencies,
        ),
    )
}
"""By name: size (Fig. 4D), masked element (Fig. 4E), crystal system and element frequency."""
