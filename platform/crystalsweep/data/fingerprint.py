"""A hash of the content of a data set, whatever file it came from: the key of caches, and part of a run's record."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from crystalsweep.data.packed import Pack, in_order_of_ids
from crystalsweep.data.packing import pack_of
from crystalsweep.structures.crystal import Crystal

GRID = 1e-4
"""Of lattice (Å), coordinates and labels: single precision and text files keep these."""

OFFSET = 5e-7
"""Data rounded to 6 decimals never lie on an edge of the grid, where a last bit would decide the hash."""


_AT_ONCE = 4096
"""Crystals whose numbers are rounded together."""


def fingerprint(crystals: Iterable[Crystal]) -> str:
    """Return sha256 over ids, species, rounded lattices, coordinates and labels; the order of the crystals does not
    matter."""
    pack = pack_of(crystals)
    if pack.data_sha256:
        return pack.data_sha256
    digest = hashlib.sha256()
    for content in _contents(pack, in_order_of_ids(pack.ids())):
        digest.update(content)
    return digest.hexdigest()


def fingerprints(crystals: Iterable[Crystal]) -> list[str]:
    """Return `fingerprint` of each crystal alone, in order; a thousand times as fast as one call each."""
    pack = pack_of(crystals)
    return [hashlib.sha256(content).hexdigest() for content in _contents(pack, np.arange(len(pack)))]


def _contents(pack: Pack, order: NDArray[np.int64]) -> Iterator[bytes]:
    """Yield what is hashed of each of these rows."""
    ids, names = pack.ids(), sorted(pack.labels)
    for first in range(0, len(order), _AT_ONCE):
        rows = order[first : first + _AT_ONCE]
        labels = np.array([pack.labels[name][rows] for name in names], dtype=np.float64)
        yield from _rows(pack, rows, labels.reshape(len(names), len(rows)).T, ids, names)


def _rows(
    pack: Pack, rows: NDArray[np.int64], labels: NDArray[np.float64], ids: Sequence[str], names: Sequence[str]
) -> Iterator[bytes]:
    """Yield of some rows the lattice, coordinates, the labels each has, species, id and names of labels."""
    counts = np.diff(pack.start)[rows]
    ends = np.cumsum(counts)
    atoms = np.repeat(pack.start[rows] - (ends - counts), counts) + np.arange(ends[-1])
    lattice = _bytes(_steps(pack.lattice[rows].astype(np.float64)))
    frac = _bytes(_steps(pack.frac[atoms].astype(np.float64)) % round(1 / GRID))
    species = pack.species[atoms].astype("<i8").tobytes()
    there, steps = ~np.isnan(labels), _steps(labels) + 0.0
    for i, (row, end, size) in enumerate(zip(rows.tolist(), ends.tolist(), counts.tolist(), strict=True)):
        has = [name for name, given in zip(names, there[i], strict=True) if given]
        yield b"".join(
            (
                lattice[72 * i : 72 * (i + 1)],
                frac[24 * (end - size) : 24 * end],
                steps[i, there[i]].astype("<f8").tobytes(),
                species[8 * (end - size) : 8 * end],
                "\0".join([ids[row], *has]).encode() + b"\n",
            )
        )


def _bytes(steps: NDArray[np.float64]) -> bytes:
    return (steps + 0.0).astype("<f8").tobytes()  # + 0.0 turns −0 into 0


def ids_sha256(ids: Iterable[str]) -> str:
    """Return sha256 over ids, one a line, in the order given."""
    return hashlib.sha256("".join(f"{name}\n" for name in ids).encode()).hexdigest()


def _steps(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the nearest whole numbers of `GRID`."""
    return np.asarray(np.floor((values + OFFSET) / GRID + 0.5), dtype=np.float64)
