"""Rows of a table that are crystals beyond doubt, found for thousands at once.

Whatever is not plainly right, for whatever reason, is left to the checks of single rows (`checks`, `_limits`), which
say what is wrong, or that nothing is. So no reason for a reject is written twice, and these tests may be coarse on the
safe side: they have a little room where rounding could decide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from crystalsweep.data.checks import MAX_COORDINATE, MAX_EDGE, MIN_DISTANCE, MIN_VOLUME
from crystalsweep.data.readers._base import MAX_ID
from crystalsweep.data.readers._limits import MAX_ATOMS_READ, MAX_DENSITY, MAX_IMAGES, MINKOWSKI, SEARCH_RADIUS
from crystalsweep.structures.crystal import N_ELEMENTS, Crystal
from crystalsweep.structures.min_edges import min_edges

_ROOM = 1e-6
"""By which a value must be on the right side of a limit; larger than any rounding here."""


class Lists(NamedTuple):
    """A column of lists of numbers."""

    lengths: NDArray[np.int64]
    """(M,) numbers in each row; 0 where it is null."""
    values: NDArray[np.float64]
    """All of them, one row's after another's."""


def lists_of(column: pa.Array) -> Lists | None:
    """Return a column of lists of numbers, or of vectors of three; None for any other, or where a number is missing."""
    if not _is_list(column.type):
        return None
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    inner = pc.list_flatten(column)
    if _is_list(inner.type):
        sizes = pc.list_value_length(inner)
        if sizes.null_count or not pc.all(pc.equal(sizes, 3)).as_py():
            return None
        lengths, inner = 3 * lengths, pc.list_flatten(inner)
    number = pa.types.is_integer(inner.type) or pa.types.is_floating(inner.type)
    if not number or inner.null_count:
        return None
    return Lists(lengths, inner.to_numpy(zero_copy_only=False).astype(np.float64))


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def plain_crystals(
    ids: Sequence[str], columns: Sequence[Lists], labels: Mapping[str, NDArray[np.float64]]
) -> list[Crystal | None]:
    """Return the crystal of each row that is one beyond doubt; None of the others.

    Args:
        ids: (M,) of the rows.
        columns: Atomic numbers, lattice and fractional coordinates.
        labels: (M,) values each; NaN where missing.
    """
    numbers, lattice, frac = columns
    counts = numbers.lengths
    good = np.array([0 < len(row_id) <= MAX_ID for row_id in ids], dtype=bool)
    for column in labels.values():
        good &= ~np.isinf(column)
    good &= (counts >= 1) & (counts <= MAX_ATOMS_READ)
    good &= (lattice.lengths == 9) & (frac.lengths == 3 * counts)
    good &= _rows_with(numbers, (numbers.values == np.rint(numbers.values)) & _elements(numbers.values))
    good &= _rows_with(frac, np.abs(frac.values) <= MAX_COORDINATE - _ROOM)
    good &= _rows_with(lattice, np.isfinite(lattice.values))
    cells = _chosen(lattice, good).reshape(-1, 3, 3)
    good[good] = sound = _sound(cells, counts[good])
    cells = cells[sound]
    wrapped = _chosen(frac, good).reshape(-1, 3) % 1.0
    sites = np.where(wrapped >= 1.0, 0.0, wrapped)  # −1e-17 % 1 is 1.0
    species = _chosen(numbers, good).astype(np.int64)
    shortest = min_edges(counts[good], cells, sites)
    found: list[Crystal | None] = [None] * len(ids)
    ends = np.cumsum(counts[good]).tolist()
    rows = np.flatnonzero(good).tolist()
    start = 0
    for i, (row, end) in enumerate(zip(rows, ends, strict=True)):
        if shortest[i] >= MIN_DISTANCE + _ROOM:  # not where it is NaN
            given = {name: value for name, column in labels.items() if (value := float(column[row])) == value}
            crystal = Crystal(
                id=ids[row], species=species[start:end], lattice=cells[i], frac=sites[start:end], labels=given
            )
            found[row] = crystal.with_min_edge(float(shortest[i]))
        start = end
    return found


def _elements(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    return (values >= 1) & (values <= N_ELEMENTS)


def _rows_with(column: Lists, right: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return (M,) whether all numbers of a row are right."""
    fine = np.ones(len(column.lengths), dtype=bool)
    if not right.all():
        fine[np.repeat(np.arange(len(fine)), column.lengths)[~right]] = False
    return fine


def _chosen(column: Lists, rows: NDArray[np.bool_]) -> NDArray[np.float64]:
    return column.values if rows.all() else column.values[np.repeat(rows, column.lengths)]


def _sound(cells: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return (M,) whether cells have a volume and vectors that pass, and room for their atoms."""
    with np.errstate(all="ignore"):
        volume = np.abs(np.linalg.det(cells))
        sound = (volume >= MIN_VOLUME * (1 + _ROOM)) & np.isfinite(volume)
        sound &= np.linalg.norm(cells, axis=2).max(axis=1, initial=0.0) <= MAX_EDGE - _ROOM
        sound &= counts / volume * (1 + _ROOM) <= np.maximum(MAX_DENSITY, 1 / volume)
        faces = np.cross(cells[:, [1, 2, 0]], cells[:, [2, 0, 1]])
        spacings = volume[:, None] / np.linalg.norm(faces, axis=2) * (1 - _ROOM)
        radius = np.maximum(SEARCH_RADIUS, MINKOWSKI * volume ** (1 / 3))
        images = counts * np.prod(2 * np.ceil(radius[:, None] / spacings) + 1, axis=1)
        return np.asarray(sound & (images * (1 + _ROOM) <= MAX_IMAGES))
