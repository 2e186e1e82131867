"""Which crystals hold an element that few training crystals hold: where a model has least to go by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crystalsweep.metrics.properties.composition import element_shares
from crystalsweep.structures.crystal import Crystal

RARE = 0.01
"""An element is rare where fewer than this share of the training crystals hold it."""


def holds_rare_element(crystals: Sequence[Crystal], train: Sequence[Crystal]) -> NDArray[np.bool_]:
    """Return (M,) whether each crystal holds an element that fewer than `RARE` of the training crystals hold."""
    common = (element_shares(train) > 0).mean(axis=0) >= RARE
    return np.asarray(((element_shares(crystals) > 0) & ~common).any(axis=1))
