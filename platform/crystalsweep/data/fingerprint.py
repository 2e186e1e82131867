"""A hash of the content of a data set, whatever file it came from: the key of caches, and part of a run's record."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from crystalsweep.structures.crystal import Crystal

GRID = 1e-4
"""Of lattice (Å), coordinates and labels: single precision and text files keep these."""

OFFSET = 5e-7
"""Data rounded to 6 decimals never lie on an edge of the grid, where a last bit would decide the hash."""


def fingerprint(crystals: Iterable[Crystal]) -> str:
    """Return sha256 over ids, species, rounded lattices, coordinates and labels; the order of the crystals does not
    matter."""
    digest = hashlib.sha256()
    for crystal in sorted(crystals, key=lambda crystal: crystal.id):
        labels = np.array([crystal.labels[name] for name in sorted(crystal.labels)])
        for part in (_steps(crystal.lattice), _steps(crystal.frac) % round(1 / GRID), _steps(labels)):
            digest.update((part + 0.0).astype("<f8").tobytes())  # + 0.0 turns −0 into 0
        digest.update(crystal.species.astype("<i8").tobytes())
        digest.update("\0".join([crystal.id, *sorted(crystal.labels)]).encode() + b"\n")
    return digest.hexdigest()


def ids_sha256(ids: Iterable[str]) -> str:
    """Return sha256 over ids, one a line, in the order given."""
    return hashlib.sha256("".join(f"{name}\n" for name in ids).encode()).hexdigest()


def _steps(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the nearest whole numbers of `GRID`."""
    return np.asarray(np.floor((values + OFFSET) / GRID + 0.5), dtype=np.float64)
