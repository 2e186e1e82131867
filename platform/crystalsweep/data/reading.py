"""Reading a data set in any known form: every row becomes a crystal or a reject, and none gets lost."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from crystalsweep.data.cache import FOLDER, cache_folder, find, keep, key_of
from crystalsweep.data.checks import Problem
from crystalsweep.data.copies import likeness
from crystalsweep.data.errors import DataError
from crystalsweep.data.fingerprint import fingerprint
from crystalsweep.data.packed import Crystals, Pack
from crystalsweep.data.packing import open_pack, pack_of, pack_rows, write_pack
from crystalsweep.data.readers import Reader, SourceRow, reader_for
from crystalsweep.data.shipped import file_of
from crystalsweep.data.splitting import with_split
from crystalsweep.structures.crystal import Crystal
from crystalsweep.wording.stranger import in_a_line

_FEW = 200
"""Rows; fewer are read anew each time, which takes no longer than looking for them."""


@dataclass(frozen=True, kw_only=True)
class Reject:
    """A row that is no usable crystal."""

    where: str
    """E.g. `crystals.csv row 17` or `NaCl.cif`; rows count from 1, headers not included."""
    id: str
    reason: str
    """The same words for every row rejected for this reason."""
    detail: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        """Write the reject as one line."""
        why = f"{self.reason} ({self.detail})" if self.detail else self.reason
        line = f"{self.where}, id {self.id or 'missing'}: {why}"
        return " ".join((f"{line}; {self.remedy}" if self.remedy else line).split())


@dataclass(frozen=True, kw_only=True)
class Note:
    """What a user must know of how rows were read, though they are crystals."""

    says: str
    rows: int
    first: str
    """The first of them, e.g. `crystals.csv row 17`."""

    def __str__(self) -> str:
        """Write the note as one line."""
        return f"{self.says} ({self.rows:,} row{'' if self.rows == 1 else 's'}, the first: {self.first})"


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What came out of one source; rows in = crystals + rejects."""

    source: str
    crystals: Sequence[Crystal]
    """Packed, where `read` made them: a `Crystal` is made where one is asked for."""
    rejects: list[Reject]
    notes: tuple[Note, ...] = ()
    key: str = ""
    """Of its entry in the cache; empty where it has none."""

    @property
    def n_rows(self) -> int:
        """Rows that the source holds."""
        return len(self.crystals) + len(self.rejects)

    def rejects_by_reason(self) -> dict[str, int]:
        """Return counts, most frequent first."""
        return dict(Counter(reject.reason for reject in self.rejects).most_common())

    def require_clean(self) -> Reading:
        """Return the reading itself; raise `DataError` if any row was rejected."""
        if self.rejects:
            count = f"{len(self.rejects)} of {self.n_rows} rows rejected"
            raise DataError(
                f"{self.source}: {count}, the first: {self.rejects[0]}. Repair them, or read without strict"
            )
        return self


def read(path: Path, *, progress: bool = False) -> Reading:
    """Return every row of a Parquet, CSV, extxyz, POSCAR, CIF or `.crystals` file, of a directory of CIFs, or of
    crystals that come with the package (`bundled`, `mp2018-heldout`, `phonon-dos-sevennet`).

    What was read before on this machine comes from the cache (`data.cache`), mapped instead of read.
    Raises `DataError` if the path does not exist, its form is unknown or the file as a whole cannot be read. With
    `progress`, a bar goes to stderr, or a line that says that the cache has it.
    """
    path = file_of(Path(path))
    reader = reader_for(path)
    if cache_folder() is None:
        return _read(path, reader, progress)[0]
    key = _key(path, reader)
    if found := _kept(key, str(path)):
        if progress:
            told = f"{path.name}: {found.n_rows:,} rows, read from the cache in {cache_folder()} ({FOLDER}=off: anew)"
            tqdm.write(in_a_line(told), file=sys.stderr)
        return found
    reading, pack = _read(path, reader, progress)
    if reading.n_rows < _FEW or _key(path, reader) != key:
        return reading
    keep(key, lambda file: write_pack(_with_facts(pack), file, _told(reading)))
    return _kept(key, str(path)) or reading


def _key(path: Path, reader: Reader) -> str:
    """Return the key of a source in the cache: rows are told by its name, so that this is part of it."""
    return key_of(reader.form, path.name, reader.content(path))


def _kept(key: str, source: str) -> Reading | None:
    """Return what was kept of a source; None where there is no entry."""
    file = find(key)
    if file is None:
        return None
    try:
        pack, told = open_pack(file, opener=(_reopened, (key, str(Path(source).resolve()))))
    except DataError:
        return None  # removed since it was found
    return Reading(
        source=source,
        crystals=Crystals(pack),
        rejects=[Reject(**each) for each in told["rejects"]],
        notes=tuple(Note(**each) for each in told["notes"]),
        key=key,
    )


def _reopened(key: str, source: str) -> Pack:
    """Return a pack in another process: from its cache, else read anew. Raises `DataError` where that is another."""
    kept = _kept(key, source)
    if kept is None and _key(Path(source), reader_for(Path(source))) != key:
        raise DataError(f"{source} is not what it was when the work began; put that file back, or begin anew")
    return pack_of((kept or read(Path(source))).crystals)


def _told(reading: Reading) -> dict[str, Any]:
    return {"rejects": [asdict(each) for each in reading.rejects], "notes": [asdict(each) for each in reading.notes]}


def _with_facts(pack: Pack) -> Pack:
    """Return a pack with what is asked of it whenever it is used: fingerprint, split, order of ids and copies."""
    known = replace(pack, likeness=likeness(pack), data_sha256=fingerprint(Crystals(pack)))
    return with_split(known)


def _read(path: Path, reader: Reader, progress: bool) -> tuple[Reading, Pack]:
    rejects: list[Reject] = []
    noted: dict[str, list[Any]] = {}
    shown = tqdm(total=reader.count(path), desc=f"reading {in_a_line(path.name)}", disable=not progress)
    with shown:
        pack = pack_rows(_crystals(reader.rows(path), rejects, noted, shown), searched=True)
    notes = tuple(Note(says=says, rows=rows, first=first) for says, (first, rows) in noted.items())
    return Reading(source=str(path), crystals=Crystals(pack), rejects=rejects, notes=notes), pack


def _crystals(
    rows: Iterable[SourceRow], rejects: list[Reject], noted: dict[str, list[Any]], shown: tqdm[Any]
) -> Iterator[Crystal]:
    """Yield crystals; rejects, and for each note its first row and their number, go where they are gathered."""
    first: dict[str, str] = {}
    for row in rows:
        shown.update()
        outcome = row.outcome
        if not isinstance(outcome, Problem) and row.id in first:
            outcome = Problem("duplicate id", f"first in {first[row.id]}", "give each row its own id")
        if isinstance(outcome, Problem):
            rejects.append(Reject(where=row.where, id=row.id, **outcome._asdict()))
            continue
        first[row.id] = row.where
        for note in row.notes:
            noted.setdefault(note, [row.where, 0])[1] += 1
        yield outcome
