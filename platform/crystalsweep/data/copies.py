"""Crystals that stand in a data set twice, under two ids."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from crystalsweep.data.packed import Pack
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
    pack = pack_of(crystals)
    keys = likeness(pack) if pack.likeness is None else pack.likeness
    first: dict[bytes, int] = {}
    found = []
    for row, key in enumerate(keys.view("V16").reshape(-1).tolist()):
        earlier = first.setdefault(key, row)
        if earlier != row:
            found.append((pack.id(earlier), pack.id(row)))
    return found


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
