"""Which elements a model puts in the place of which (Liu et al., iScience 27, 110672 (2024), Figs. 5, S16, S17, Eq. 7).

Only novel crystals count: valid in structure and composition, and of another composition than their parent. In them,
A is replaced by B where a masked site held A and now holds B. doi:10.1016/j.isci.2024.110672
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalsweep.metrics.bootstrap import clustered_shares
from crystalsweep.metrics.families import by_family
from crystalsweep.structures.crystal import MASK
from crystalsweep.structures.elements import element_symbol

MIN_N = 10
"""Crystals below which a row or cell of the matrix is not shown or tested."""

_SPECIES = ["species_before", "species_corrupted", "species_after"]


@dataclass(frozen=True, eq=False)
class Replacement:
    """P(A→B) of one model; rows are the replaced elements, columns the replacing ones, by symbol in family order."""

    probability: pd.DataFrame
    """P(A→B | A is replaced), averaged over novel crystals; rows sum to 1."""
    n: pd.DataFrame
    """Novel crystals with at least one site A→B."""
    n_row: pd.Series
    """Novel crystals in which A is replaced."""
    n_novel: int
    """Novel crystals."""


def novel_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Return rows of a scored table that are valid both ways and of another composition than their parent.

    Taken from the column `novel_vs_input` if there is one, from the scores otherwise.
    """
    if "novel_vs_input" in table:
        novel = table["novel_vs_input"].astype(float) == 1
    else:  # as many atoms as the parent: another composition is another reduced one
        valid = table["structural_validity"].astype(bool) & table["compositional_validity"].astype(bool)
        novel = valid & ~table["compositional_similarity_permuted"].astype(bool)
    rows = table[novel].reset_index(drop=True)
    sizes = rows[_SPECIES].map(len)
    return rows[sizes.nunique(axis=1) == 1].reset_index(drop=True)


def replacements(table: pd.DataFrame) -> pd.DataFrame:
    """Return one row per novel crystal and pair A→B at its masked sites.

    Columns: crystal (row of `novel_rows`), replaced, replacing (atomic numbers), share (of the crystal's replaced
    sites of A, those that hold B). A novel crystal may have none, if its visible species changed.
    """
    rows = novel_rows(table)
    before, corrupted, after = (_flat(rows[name]) for name in _SPECIES)
    crystal = np.repeat(np.arange(len(rows)), rows["species_before"].map(len).to_numpy(dtype=int))
    changed = (corrupted == MASK) & (before != after)
    sites = pd.DataFrame({"crystal": crystal, "replaced": before, "replacing": after})[changed]
    pairs = sites.groupby(["crystal", "replaced", "replacing"]).size().rename("share").reset_index()
    return pairs.assign(share=pairs["share"] / pairs.groupby(["crystal", "replaced"])["share"].transform("sum"))


def _flat(lists: pd.Series) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(0), *lists]).astype(np.int64)


def replacement_matrix(table: pd.DataFrame) -> Replacement:
    """Return P(A→B): mean, over the novel crystals in which A is replaced, of the share of those sites that B takes.

    This is the paper's average of P(A→B | condition), a condition being one corrupted crystal, each weighing the same.
    """
    pairs = replacements(table)
    cells = pairs.groupby(["replaced", "replacing"])["share"]
    sums, n = _by_symbol(cells.sum()), _by_symbol(cells.size())
    per_row = pairs.groupby("replaced")["crystal"].nunique()
    n_row = per_row.rename(index=element_symbol).reindex(sums.index).astype(int)
    return Replacement(sums.div(n_row, axis=0), n, n_row, len(novel_rows(table)))


def _by_symbol(cells: pd.Series) -> pd.DataFrame:
    """Return a Series over (replaced, replacing) as a matrix of symbols, 0 where it has no cell."""
    matrix = cells.unstack(fill_value=0)
    rows, columns = (by_family(axis.to_numpy(dtype=int).tolist()) for axis in (matrix.index, matrix.columns))
    matrix = matrix.reindex(index=rows, columns=columns)
    return matrix.rename(index=element_symbol, columns=element_symbol).rename_axis(
        index="replaced", columns="replacing"
    )


def replacement_rates(table: pd.DataFrame, *, n_resamples: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Compute Eq. 7 by mask type: share of its novel crystals in which X is replaced, and in which X replaces another
    element.

    Long form with the columns mask_type, role (`replaced` or `replacing`), element, mean, low, high (95 %, novel
    crystals resampled by parent), count (the numerator), n (novel crystals) and clusters (their parents). Elements
    that neither are replaced nor replace under a mask type have no row there.
    """
    novel, pairs = novel_rows(table), replacements(table)
    frames = [
        _rates(novel[novel["mask_type"] == mask_type], pairs, role, n_resamples, seed).assign(mask_type=mask_type)
        for mask_type in sorted(novel["mask_type"].unique())
        for role in ("replaced", "replacing")
    ]
    columns = ["mask_type", "role", "element", "mean", "low", "high", "count", "n", "clusters"]
    return pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)


def _rates(rows: pd.DataFrame, pairs: pd.DataFrame, role: str, n_resamples: int, seed: int) -> pd.DataFrame:
    """Compute the rates of one mask type and role. All elements share the resampled parents."""
    once = pairs[pairs["crystal"].isin(rows.index)].drop_duplicates(["crystal", role])
    elements, column = np.unique(once[role].to_numpy(dtype=int), return_inverse=True)
    hits = np.zeros((len(rows), len(elements)))
    hits[rows.index.get_indexer(pd.Index(once["crystal"])), column] = 1
    rates = clustered_shares(hits, np.ones(len(rows)), rows["parent"], n_resamples=n_resamples, seed=seed)
    return rates.assign(
        role=role,
        element=[element_symbol(z) for z in elements.tolist()],
        count=hits.sum(axis=0).astype(int),
        clusters=rows["parent"].nunique(),
    )
