"""What a reader is: one file or directory in, one row per structure out."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crystalsweep.artifacts.atomic import file_sha256
from crystalsweep.data.checks import Problem, RawStructure, infinite_label, structure_problem
from crystalsweep.data.errors import DataError
from crystalsweep.data.readers._limits import size_problem
from crystalsweep.structures.crystal import MASK, N_ELEMENTS, Crystal

ID_COLUMNS = ("material_id", "id")
"""Where an id is looked for, in this order; without one, a row gets a name from `Numbered`."""

NO_LABELS = {
    *("material_id", "id", "cif", "atomic_numbers", "lattice", "frac_coords"),
    *("pbc", "properties", "index", "level_0"),
}
"""Names, in lower case, that mean something else in one form or another, and so are labels in none."""

MISSING_ID = Problem("missing id", "", "fill the id column, or drop the column to have rows numbered")


MAX_ID = 500
"""Characters of an id in a table."""


class FileSites(NamedTuple):
    """Which sites of its file the atoms of a crystal are of."""

    numbers: NDArray[np.int64]
    """(N,) sites as the file counts them, from 1."""
    mixtures: Mapping[int, Mapping[int, float]] = {}
    """Of sites with partial occupancy, by number: the share of each element, by atomic number; they add up to 1."""


class SourceRow(NamedTuple):
    """One structure of the source: a crystal, or the reason why not."""

    where: str
    """E.g. `crystals.csv row 17` or `NaCl.cif`; rows count from 1, headers not included."""
    id: str
    outcome: Crystal | Problem
    notes: tuple[str, ...] = ()
    """What a user must know of how a row was read, in the same words for every row of which it is true."""
    sites: FileSites | None = None
    """Of a CIF that was read as partial; of other forms each atom is a site."""


WHOLE = 1e-3
"""By how much the occupancy of a site may differ from 1."""


def is_mixed(shares: Mapping[Any, float]) -> bool:
    """Return whether a site of these shares, by element, is of several elements or of no whole atom."""
    return len(shares) > 1 or abs(sum(shares.values()) - 1) > WHOLE


def others_in(folder: Path, files: Iterable[Path]) -> list[Path]:
    """Return what lies in a folder beside these files, sorted by name."""
    return sorted({*folder.iterdir()} - {*files})


_MASKED = re.compile(r"(?:X|\?)(?![A-Za-z]).*")


def is_masked(symbol: str) -> bool:
    """Return whether a symbol is of a masked site: `X`, `X0+`, `?`; of labels also `X1` and `?2`, but not `Xe1`."""
    return _MASKED.fullmatch(symbol) is not None


_ISOTOPES = {"D": "deuterium (D)", "T": "tritium (T)"}


def isotope_notes(symbols: Iterable[str]) -> tuple[str, ...]:
    """Return a note for each isotope among symbols or labels, which becomes its element."""
    letters = {symbol.strip().rstrip("0123456789+-").upper() for symbol in symbols}
    return tuple(f"{name} is read as hydrogen" for symbol, name in _ISOTOPES.items() if symbol in letters)


def id_too_long() -> Problem:
    """Return what is wrong with an id of more than `MAX_ID` characters."""
    return Problem("id too long", f"more than {MAX_ID} characters", "give a shorter one")


def require_distinct(path: Path, columns: Sequence[str]) -> None:
    """Raise `DataError` where two columns have one name: which of them is meant is not known."""
    if twice := [name for name, count in Counter(columns).items() if count > 1 and name]:
        raise DataError(f"{path}: two columns are called {twice[0]!r}; rename or remove one")


def no_label_note(names: Sequence[str]) -> tuple[str, ...]:
    """Return the note that columns are read as no labels."""
    return (f"read as no label, for most of it is no number: {', '.join(names)}",) if names else ()


def decimal_comma_note(names: Sequence[str]) -> tuple[str, ...]:
    """Return the note that columns are read as no labels for their commas."""
    shown = ", ".join(names)
    return (f"read as no label, for a number with a comma is none: {shown}; write 10.5, not 10,5",) if names else ()


def some_commas_note(names: Sequence[str]) -> tuple[str, ...]:
    """Return the note that some cells of labels are read as missing for their commas."""
    shown = ", ".join(names)
    return (f"numbers with a comma are read as missing: {shown}; write 10.5, not 10,5",) if names else ()


def truth_note(names: Sequence[str]) -> tuple[str, ...]:
    """Return the note that columns of true and false are read as no labels."""
    shown, remedy = ", ".join(names), "to learn one, rename it"
    return (f"read as no label, for it is true or false: {shown}; {remedy} class({names[0]})",) if names else ()


_NO_LABELS_NOTE = re.compile(r"read as no label, [^:]*: (?P<names>[^;]*)")


def columns_without_label(says: str) -> list[str]:
    """Return the columns that a note says are read as no label; none of another note."""
    found = _NO_LABELS_NOTE.match(says)
    return found["names"].split(", ") if found else []


def missing_label_notes(names: Iterable[str]) -> list[str]:
    """Return a note for each label that has no number in a row."""
    return [f"{name} is no number there, and missing" for name in names]


class Numbered:
    """Names for the rows of a file that gives no ids: `crystals-17@3f2a9c1b`, row 17 of a file with that content.

    Other files, also of the same name, have other names: row numbers would pair unrelated crystals.
    """

    NOTE = "no id in the file: rows are numbered, and pair with no other file's"

    def __init__(self, path: Path) -> None:
        self._path = path

    def __getitem__(self, number: int) -> str:
        return f"{self._path.stem}-{number}@{self._content}"

    @cached_property
    def _content(self) -> str:
        return file_sha256(self._path)[:8]


class Reader(ABC):
    """One form of data set. A row that cannot be read is a `Problem`; only a file that cannot be read raises."""

    form: str
    """What it reads, in words."""

    @abstractmethod
    def recognises(self, path: Path) -> bool:
        """Return whether an existing path looks like this form."""

    @abstractmethod
    def count(self, path: Path) -> int | None:
        """Return rows to come where that is cheap to know, for a progress bar."""

    def content(self, path: Path) -> str:
        """Return a hash of all that decides what `rows` gives."""
        return file_sha256(path)

    @abstractmethod
    def rows(self, path: Path, *, partial: bool = False) -> Iterator[SourceRow]:
        """Yield every row in order; raises `DataError` if the file as a whole is not of this form.

        With `partial`, sites without an element are masked instead of refused: the symbols `X` and `?`, the atomic
        number 0, and in a CIF sites that several elements share.
        """


def admit(
    row_id: str,
    species: ArrayLike,
    lattice: ArrayLike,
    frac: ArrayLike,
    labels: Mapping[str, float],
    *,
    partial: bool = False,
) -> Crystal | Problem:
    """Return the crystal, if the structure passes every check. NaN labels are dropped.

    Args:
        row_id: The crystal's id.
        species: (N,) atomic numbers.
        lattice: (3, 3) Å.
        frac: (N, 3) fractional coordinates.
        labels: By name; NaN where missing.
        partial: Let sites be masked.
    """
    if len(row_id) > MAX_ID:
        return id_too_long()
    given = np.asarray(species, dtype=np.int64).reshape(-1)
    masked = (given == MASK) & partial
    raw = RawStructure(
        species=np.where(masked, N_ELEMENTS, given),  # no check minds which element stands there
        lattice=_reshaped(lattice, 9),
        frac=_reshaped(frac, None),
    )
    if problem := size_problem(raw) or structure_problem(raw) or infinite_label(labels):
        return problem
    known = {name: float(value) for name, value in labels.items() if not np.isnan(value)}
    return replace(Crystal.of(row_id, given, raw.lattice, raw.frac), labels=known)


def _reshaped(values: ArrayLike, size: int | None) -> np.ndarray:
    """Return the values as (…, 3) where the number of values allows, else flat for `shape_mismatch` to report."""
    array = np.asarray(values, dtype=np.float64)
    fits = array.size % 3 == 0 if size is None else array.size == size
    return array.reshape(-1, 3) if fits else array.reshape(-1)
