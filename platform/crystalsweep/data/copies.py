"""Crystals that stand in a data set twice, under two ids."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from crystalsweep.data.packed import Crystals, Pack
from crystalsweep.data.packing import pack_of
from crystalsweep.structures.crystal import Crystal

_DECIMALS = 3
"""Of Å and of fractional coordinates; crystals that agree to so many are one crystal written twice."""

_AT_ONCE = 4096
"""Crystals that are compared in one go."""


def copied(crystals: Sequence[Crystal]) -> list[tuple[str, str]]:
    """Return pairs of ids, the earlier first, of crystals with the same cell and sites under two ids.

    Only what is written alike is found, to three decimals and up to the order of atoms; other cells of one crystal are
    found by uniqueness and by the leakage gate.
    """
    known = crystals.likeness if isinstance(crystals, Crystals) else None
    keys = (likeness(pack_of(crystals)) if known is None else np.ascontiguousarray(known)).view(np.uint64)
    order = np.lexsort((keys[:, 1], keys[:, 0]))  # stable: of equal ones the earlier first
    same = (keys[order][1:] == keys[order][:-1]).all(axis=1)
    begins = np.concatenate([[True], ~same])
    earliest = order[np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))] if len(order) else order
    pairs = sorted((int(row), int(first)) for row, first in zip(order[1:][same], earliest[1:][same], strict=True))
    return [(crystals[first].id, crystals[row].id) for row, first in pairs]


def likeness(pack: Pack) -> NDArray[np.uint8]:
    """Return (M, 16) digests of cell and sites as `copied` compares them."""
    digests = []
    for first in range(0, len(pack), _AT_ONCE):
        rows = slice(first, first + _AT_ONCE)
        starts = pack.start[first : first + _AT_ONCE + 1]
        atoms = slice(int(starts[0]), int(starts[-1]))
        frac = np.round(pack.frac[atoms].astype(np.float64), _DECIMALS) % 1.0
        crystal = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        order = np.lexsort((*frac.T[::-1], pack.species[atoms], crystal))
        species, sites = pack.species[atoms][order].tobytes(), (frac[order] + 0.0).tobytes()
        cells = (np.round(pack.lattice[rows].astype(np.float64), _DECIMALS) + 0.0).tobytes()
        bounds = (starts - starts[0]).tolist()
        for i, (a, b) in enumerate(pairwise(bounds)):
            parts = (species[a:b], cells[72 * i : 72 * (i + 1)], sites[24 * a : 24 * b])
            digests.append(hashlib.blake2b(b"".join(parts), digest_size=16).digest())
    return np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, 16)
