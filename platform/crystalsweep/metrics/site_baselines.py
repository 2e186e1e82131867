"""What names the element of a masked site without a network: how common elements are, and beside which neighbour.

A model's odds are held against these, on the same sites.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crystalsweep.structures.crystal import MASK, N_ELEMENTS, N_SPECIES, Crystal

PRIOR_WEIGHT = 100.0
"""Masked crystals that the frequency of elements counts for beside what was seen next to a neighbour; of 5 to 500 the
one with the least log-loss on crystals kept from training."""


def element_frequencies(crystals: Sequence[Crystal]) -> NDArray[np.float64]:
    """Return (118,) log share of the atoms of each element, each counted once more than it is there."""
    counts = np.ones(N_ELEMENTS)
    for crystal in crystals:
        counts += np.bincount(crystal.species - 1, minlength=N_ELEMENTS)
    return np.asarray(np.log(counts / counts.sum()))


def neighbour_frequencies(
    originals: Sequence[Crystal], partials: Sequence[Crystal], frequencies: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return (119, 118) log-probabilities of the element of a masked site, given its nearest visible neighbour's.

    Row 0 is for sites without one. Each row is counted on the given masked crystals, whose sites weigh one together,
    with `frequencies` in the weight of `PRIOR_WEIGHT` of them.

    Args:
        originals: Training crystals.
        partials: The same sites, some masked.
        frequencies: (118,) of elements, as `element_frequencies` gives them.
    """
    counts = np.tile(PRIOR_WEIGHT * np.exp(frequencies), (N_SPECIES, 1))
    for original, partial in zip(originals, partials, strict=True):
        truth = original.species[partial.species == MASK] - 1
        np.add.at(counts, (nearest_visible(partial), truth), 1 / max(len(truth), 1))
    return np.asarray(np.log(counts / counts.sum(axis=1, keepdims=True)))


def nearest_visible(partial: Crystal) -> NDArray[np.int64]:
    """Return (M,) the atomic number of the visible atom nearest to each masked one, images included; 0 where none is
    visible."""
    from pymatgen.util.coord import pbc_shortest_vectors

    masked = partial.species == MASK
    if masked.all() or not masked.any():
        return np.zeros(int(masked.sum()), dtype=np.int64)
    frac = np.ascontiguousarray(partial.frac)
    lattice = _lattice(partial)
    _, squared = pbc_shortest_vectors(lattice, frac[masked], frac[~masked], return_d2=True)
    return np.asarray(partial.species[~masked][np.asarray(squared).argmin(axis=1)], dtype=np.int64)


def _lattice(partial: Crystal) -> object:
    from pymatgen.core import Lattice

    return Lattice(partial.lattice)
