"""Which crystals of a part a training uses: the seeded samples that `max_crystals` and `train_share` ask for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def sampled_rows(n: int, most: int | None, seed: int) -> NDArray[np.int64]:
    """Return rows of a seeded sample of at most `most` of n crystals, in their order; all where none or more is
    asked."""
    if most is None or most >= n:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, most, replace=False))


def shared_rows(n: int, share: float, seed: int) -> NDArray[np.int64]:
    """Return rows of a seeded sample of a share of n crystals, in their order, at least one; a smaller share's sample
    lies within that of a greater one."""
    if share >= 1:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).permutation(n)[: max(1, round(share * n))])
