"""The mean on the torus where the plain mean is not known to be it: the best of N + 1 descents.

See `similarity.aligned`, which takes the rigid translation out of d_m and S_m (Eq. 5 of Liu et al., iScience 27, 110672
(2024), doi:10.1016/j.isci.2024.110672).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crystalsweep.metrics.geometry import Array, Cells, lower_entries, wrap

_ROUNDS = 8
"""Steps of a descent; it has settled once no atom changes image, mostly after two or three."""

_SETTLED = 1e-9
"""Å; a smaller step ends a descent."""

_VECTORS = 1 << 15
"""Vectors descended with at once: what stays in a processor's cache."""


def best_of_descents(displacement: Array, cells: Cells) -> Array:
    """Return (B, N, 3) Å: displacement (B, N, 3) of B crystals with N atoms each, less the best translation found.

    Descents start from the plain mean and from each atom's own displacement; of equally good ones the first is taken.
    """
    turned = np.einsum("bnj,bij->ibn", displacement, cells.rotation)
    starts = np.concatenate([turned.mean(axis=2, keepdims=True), turned], axis=2)
    _, size, number = turned.shape
    best, least = np.full_like(turned, np.nan), np.full(size, np.inf)
    lower = lower_entries(cells)
    per_crystal = max(1, min(number + 1, _VECTORS // number))  # starts taken together
    crystals = max(1, _VECTORS // (number * per_crystal))
    for first in range(0, size, crystals):
        part = slice(first, first + crystals)
        for start in range(0, number + 1, per_crystal):
            chosen = starts[:, part, start : start + per_crystal]
            residual = np.ascontiguousarray(turned[:, part, None] - chosen[..., None])  # descended with in place
            _improve(best[:, part], least[part], residual, lower[:, part], cells.shortest[part])
    return np.einsum("ibn,bij->bnj", best, cells.rotation)


def _improve(best: Array, least: Array, residual: Array, lower: Array, shortest: Array) -> None:
    """Descend from residual (3, B, S, N); keep in best (3, B, N), with sums least (B,), what is better."""
    _, size, number_of_starts, number = residual.shape
    owner = np.repeat(np.arange(size), number_of_starts)
    flat = residual.reshape(3, -1, number)
    _descend(flat, lower[:, owner, None], shortest[owner, None])
    sums = np.einsum("ikn,ikn->k", flat, flat).reshape(size, number_of_starts)
    tied = sums <= sums.min(axis=1, keepdims=True) * (1 + 1e-9)  # symmetric starts differ by rounding only
    chosen = tied.argmax(axis=1)
    sums = sums[np.arange(size), chosen]
    better = sums < least * (1 - 1e-9)
    least[better] = sums[better]
    best[:, better] = residual[:, better, chosen[better]]


def _descend(residual: Array, lower: Array, shortest: Array) -> None:
    """Move each of K residuals (3, K, N) to a local least sum of squares by images and means in turn, in place."""
    wrap(residual, lower, shortest)
    active: NDArray[np.int64] = np.arange(residual.shape[1])
    for _ in range(_ROUNDS):
        moving = residual[:, active]
        mean = moving.mean(axis=2, keepdims=True)
        unsettled = (np.abs(mean) > _SETTLED).any(axis=(0, 2))
        active = active[unsettled]
        if not len(active):
            return
        moving = moving[:, unsettled] - mean[:, unsettled]
        wrap(moving, lower[:, active], shortest[active])
        residual[:, active] = moving
