"""`.crystals`: a packed data set, as `data import` writes it. Whoever wrote it, its crystals are checked like others.

It is mapped into memory, so that it takes no more than it has on the disk (`packing`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from crystalsweep.data.checks import Problem
from crystalsweep.data.packed import Pack
from crystalsweep.data.packing import SUFFIX, open_pack
from crystalsweep.data.readers._base import (
    MAX_ID,
    MISSING_ID,
    NO_LABELS,
    Reader,
    SourceRow,
    admit,
    id_too_long,
    no_label_note,
)
from crystalsweep.data.readers._in_order import in_order, threads_for
from crystalsweep.data.readers._plain import Lists, plain_crystals
from crystalsweep.structures.crystal import Crystal

_AT_ONCE = 4096


class PackedReader(Reader):
    """Columns as they are, thousands of rows at a time."""

    form = "a .crystals file, as `crystalsweep data import` writes it"

    def recognises(self, path: Path) -> bool:
        """Tell by the suffix whether a file is of this form."""
        return path.is_file() and path.suffix.lower() == SUFFIX

    def count(self, path: Path) -> int:
        """Return the number of rows."""
        return len(open_pack(path)[0])

    def rows(self, path: Path, *, partial: bool = False) -> Iterator[SourceRow]:
        """Yield one row per crystal; `DataError` for a file that is damaged."""
        pack, _ = open_pack(path, summed=True)
        notes = no_label_note([name for name in pack.labels if name.lower() in NO_LABELS])

        def checked(first: int) -> list[SourceRow]:
            found = _outcomes(pack, first, min(first + _AT_ONCE, len(pack)), partial)
            return [
                SourceRow(f"{path.name} row {number}", row_id[:MAX_ID], outcome, notes)
                for number, (row_id, outcome) in enumerate(found, first + 1)
            ]

        portions = range(0, len(pack), _AT_ONCE)
        for rows in in_order(checked, portions, workers=threads_for(len(portions))):
            yield from rows


def _outcomes(pack: Pack, first: int, last: int, partial: bool) -> list[tuple[str, Crystal | Problem]]:
    """Return ids and outcomes of some rows."""
    ids = [pack.id(row) for row in range(first, last)]
    labels = {name: column[first:last] for name, column in pack.labels.items() if name.lower() not in NO_LABELS}
    counts = np.diff(pack.start[first : last + 1])
    atoms = slice(int(pack.start[first]), int(pack.start[last]))
    structures = [
        Lists(counts, pack.species[atoms].astype(np.float64)),
        Lists(np.full(len(ids), 9), pack.lattice[first:last].astype(np.float64).reshape(-1)),
        Lists(3 * counts, pack.frac[atoms].astype(np.float64).reshape(-1)),
    ]
    plain = plain_crystals(ids, structures, labels)
    return [
        (row_id, each if each is not None else _single(pack, row, row_id, labels, partial))
        for row, row_id, each in zip(range(first, last), ids, plain, strict=True)
    ]


def _single(pack: Pack, row: int, row_id: str, labels: Iterable[str], partial: bool) -> Crystal | Problem:
    """Return what becomes of a row by itself."""
    if not row_id:
        return MISSING_ID
    if len(row_id) > MAX_ID:
        return id_too_long()
    atoms = slice(int(pack.start[row]), int(pack.start[row + 1]))
    given = {name: float(pack.labels[name][row]) for name in labels}
    return admit(row_id, pack.species[atoms], pack.lattice[row], pack.frac[atoms], given, partial=partial)
