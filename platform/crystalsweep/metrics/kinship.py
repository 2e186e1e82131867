"""Whether replacements follow chemistry: against mined substitutions, and within groups of the periodic table.

Fig. S16 of Liu et al., iScience 27, 110672 (2024), who show it without a test, and the groups of their Fig. 5.
doi:10.1016/j.isci.2024.110672
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalsweep.metrics.families import family, group
from crystalsweep.metrics.replacement import MIN_N, Replacement
from crystalsweep.metrics.substitution import mined_matrix
from crystalsweep.structures.elements import atomic_number


@dataclass(frozen=True, eq=False)
class MinedCorrelation:
    """Agreement of a model's replacements with those mined from known crystals (Fig. S16)."""

    rho: float
    """Spearman's rank correlation over the cells."""
    p: float
    """Of a rho at least as high, elements relabelled at random."""
    rho_specific: float
    """The same after each replacing element's mean rank is taken out: without the common substitutes' popularity."""
    p_specific: float
    cells: pd.DataFrame
    """replaced, replacing (symbols), probability, mined, n; one row per cell A ≠ B."""


@dataclass(frozen=True)
class Kinship:
    """Share of replacements among kin, beside what relabelled elements give."""

    share: float
    expected: float
    """Mean share over the permutations."""
    p: float
    """Of a share at least as high, elements relabelled at random."""
    n: int
    """Replacements: pairs A→B of novel crystals."""


def mined_correlation(
    replacement: Replacement, *, min_n: int = MIN_N, permutations: int = 999, seed: int = 0
) -> MinedCorrelation:
    """Return Spearman's correlation of P(A→B) with the data-mined one over the cells A ≠ B of rows with n >= `min_n`.

    B runs over every mined element that replaces or is replaced anywhere: a pair that never occurs counts as 0. Cells
    of one row or column depend on each other, so p comes from relabelling all elements of the mined matrix at once,
    rows and columns alike (Mantel, Cancer Res. 27, 209 (1967)), which keeps that dependence; it is one-sided.

    Raises:
        ValueError: No row, or no spread of values, is left to correlate.
    """
    cells, mined = _cells(replacement, min_n)
    rows, columns = (mined.index.get_indexer(pd.Index(cells[name])) for name in ("replaced", "replacing"))
    arrays = (cells["probability"].to_numpy(np.float64), rows.astype(np.int64), columns.astype(np.int64))
    known = (*arrays, mined.to_numpy(np.float64))
    rho, p, specific, p_specific = _correlated(*(each.tobytes() for each in known), permutations, seed)
    return MinedCorrelation(rho, p, specific, p_specific, cells)


@lru_cache(maxsize=4)
def _correlated(
    probability: bytes, rows: bytes, columns: bytes, mined: bytes, permutations: int, seed: int
) -> tuple[float, float, float, float]:
    """Return rho, its p, and both without the columns' means; kept, since a table of figures and a plot both ask."""
    values, row, column = _ranks(np.frombuffer(probability)), np.frombuffer(rows, int), np.frombuffer(columns, int)
    matrix, generator = np.frombuffer(mined), np.random.default_rng(seed)
    size = int(len(matrix) ** 0.5)
    levels = np.unique(matrix, return_inverse=True)[1].reshape(size, size)
    orders = [np.arange(size), *(generator.permutation(size) for _ in range(permutations))]
    ranks = [_ranks_of_levels(levels[order[row], order[column]]) for order in orders]
    rho = np.array([_correlation(values, rank) for rank in ranks])
    centred = _without_columns(values, column)
    specific = np.array([_correlation(centred, _without_columns(rank, column)) for rank in ranks])
    return float(rho[0]), _p(rho), float(specific[0]), _p(specific)


def _ranks_of_levels(levels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return `_ranks` of whole numbers from 0, by counting them: no sort."""
    counts = np.bincount(levels)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[levels], dtype=np.float64)


def _cells(replacement: Replacement, min_n: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return cells to correlate, and the mined matrix over the elements they are of."""
    mined, model = mined_matrix(), replacement.probability
    elements = [name for name in mined.index if name in model.index or name in model.columns]
    rows = [name for name in elements if replacement.n_row.get(name, 0) >= min_n]
    if not rows or len(elements) < 3:
        raise ValueError(f"No element known to the mined table is replaced in {min_n} or more novel crystals.")
    frames = {"probability": model, "mined": mined, "n": replacement.n}
    filled = {k: f.reindex(index=rows, columns=elements).fillna(0).stack() for k, f in frames.items()}
    cells = pd.DataFrame(filled).rename_axis(["replaced", "replacing"]).reset_index()
    cells = cells[cells["replaced"] != cells["replacing"]].reset_index(drop=True)
    if cells["probability"].nunique() < 2:
        raise ValueError("Every cell of the replacement matrix holds the same value: there is nothing to correlate.")
    return cells.astype({"n": int}), mined.loc[elements, elements]


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.stats import rankdata

    return np.asarray(rankdata(values), dtype=np.float64)


def _without_columns(ranks: NDArray[np.float64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
    sizes = np.maximum(np.bincount(columns), 1)
    return ranks - (np.bincount(columns, ranks) / sizes)[columns]


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale > 0 else 0.0


def _p(statistics: NDArray[np.float64]) -> float:
    """Share of the statistics, the observed one first, that are at least as high as it."""
    return float((statistics >= statistics[0] - 1e-12).mean())


def kin_share(
    replacement: Replacement, *, by: Literal["group", "family"] = "group", permutations: int = 999, seed: int = 0
) -> Kinship:
    """Share of the replacements A→B in which both are of one group (or chemical family) of the periodic table.

    The null hands the labels to the elements at random, which keeps how often each is replaced and replaces.

    Raises:
        ValueError: Nothing is replaced.
    """
    n, names = replacement.n, sorted({*replacement.n.index, *replacement.n.columns}, key=atomic_number)
    if not names:
        raise ValueError("No element is replaced in any novel crystal: there are no kin to count.")
    of: list[str | int] = [(group if by == "group" else family)(atomic_number(name)) for name in names]
    labels, counts = np.unique(of, return_inverse=True)[1], n.reindex(index=names, columns=names, fill_value=0)
    weights, generator = counts.to_numpy() / counts.to_numpy().sum(), np.random.default_rng(seed)
    orders = [labels, *(generator.permutation(labels) for _ in range(permutations))]
    shares = np.array([weights[order[:, None] == order].sum() for order in orders])
    return Kinship(float(shares[0]), float(shares[1:].mean()), _p(shares), int(n.to_numpy().sum()))
