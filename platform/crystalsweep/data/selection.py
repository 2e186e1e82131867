"""Which crystals of a part a training uses: the seeded sample that `max_crystals` asks for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def sampled_rows(n: int, most: int | None, seed: int) -> NDArray[np.int64]:
    """Return rows of a seeded sample of at most `most` of n crystals, in their order; all where none or more is
    asked."""
    if most is None or most >= n:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, most, replace=False))
