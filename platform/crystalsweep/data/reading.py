"""Reading a data set in any known form: every row becomes a crystal or a reject, and none gets lost."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from crystalsweep.data.checks import Problem
from crystalsweep.data.errors import DataError
from crystalsweep.data.readers import reader_for
from crystalsweep.structures.crystal import Crystal
from crystalsweep.wording.stranger import in_a_line


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
    crystals: list[Crystal]
    rejects: list[Reject]
    notes: tuple[Note, ...] = ()

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
    """Return every row of a Parquet, CSV, extxyz or CIF file, or of a directory of CIFs.

    Raises `DataError` if the path does not exist, its form is unknown or the file as a whole cannot be read. With
    `progress`, a bar goes to stderr.
    """
    path = Path(path)
    reader = reader_for(path)
    crystals: list[Crystal] = []
    rejects: list[Reject] = []
    first: dict[str, str] = {}
    noted: dict[str, list[str]] = {}
    rows = reader.rows(path)
    for row in tqdm(rows, total=reader.count(path), desc=f"reading {in_a_line(path.name)}", disable=not progress):
        outcome = row.outcome
        if not isinstance(outcome, Problem) and row.id in first:
            outcome = Problem("duplicate id", f"first in {first[row.id]}", "give each row its own id")
        if isinstance(outcome, Problem):
            rejects.append(Reject(where=row.where, id=row.id, **outcome._asdict()))
        else:
            crystals.append(outcome)
            first[row.id] = row.where
            for note in row.notes:
                noted.setdefault(note, []).append(row.where)
    notes = tuple(Note(says=says, rows=len(where), first=where[0]) for says, where in noted.items())
    return Reading(source=str(path), crystals=crystals, rejects=rejects, notes=notes)
