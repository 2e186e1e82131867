"""Spectra as labels: the column `spectrum(phonon_dos,0:30:64:THz)` of a file, and the numbers that it becomes.

The column's name says where its numbers are given: at 64 points from 0 to 30 THz, both included, evenly apart. A
crystal's labels are numbers; with a spectrum it has one for each point, `spectrum(phonon_dos,0:30:64:THz)[0]` and on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from crystalsweep.config import Config
from crystalsweep.data.checks import Problem
from crystalsweep.data.classes import label_names
from crystalsweep.data.errors import DataError
from crystalsweep.data.packed import ids_of, label_values
from crystalsweep.structures.crystal import Crystal

MOST_POINTS = 1024
"""Of one spectrum."""

FORM = "spectrum(NAME,START:STOP:POINTS:UNIT), as spectrum(phonon_dos,0:30:64:THz)"
"""How a column of spectra is called."""

_BEGINS = re.compile(r"spectrum\s*\(")
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,2})?"
_COLUMN = re.compile(
    rf"spectrum\(\s*(?P<label>[^<>=(),\s]+)\s*,\s*(?P<start>{_NUMBER})\s*:\s*(?P<stop>{_NUMBER})\s*:"
    r"\s*(?P<points>\d{1,9})\s*:\s*(?P<unit>[^\s:(),]{1,20})\s*\)"
)
_POINT = re.compile(r"(?P<column>spectrum\(.*\))\[(?P<index>\d{1,9})\]")
_BETWEEN = re.compile(r"[\s,]+")

_NAMED = 3
"""Crystals that a message names."""

Values = NDArray[np.float64]

Finite = Annotated[float, Field(ge=-1e30, le=1e30, allow_inf_nan=False)]


class Grid(Config):
    """Where a spectrum is given: evenly apart, both ends included."""

    start: Finite
    stop: Finite
    points: Annotated[int, Field(ge=2, le=MOST_POINTS)]
    unit: Annotated[str, Field(min_length=1, max_length=20)]

    @model_validator(mode="after")
    def _ascends(self) -> Self:
        if not self.start < self.stop:
            raise ValueError(f"a grid from {self.start:g} to {self.stop:g} does not ascend")
        return self

    @property
    def name(self) -> str:
        """As it is written: `0:30:64:THz`."""
        return f"{self.start:.9g}:{self.stop:.9g}:{self.points}:{self.unit}"

    @property
    def told(self) -> str:
        """In words: `64 points from 0 to 30 THz`."""
        return f"{self.points} points from {self.start:g} to {self.stop:g} {self.unit}"

    @property
    def values(self) -> Values:
        """(P,) where the points are."""
        return np.linspace(self.start, self.stop, self.points)


class Column(NamedTuple):
    """A column of spectra."""

    label: str
    grid: Grid

    @property
    def name(self) -> str:
        """As it is written: `spectrum(phonon_dos,0:30:64:THz)`."""
        return f"spectrum({self.label},{self.grid.name})"

    @property
    def points(self) -> list[str]:
        """(P,) the labels that a crystal has of it."""
        return [f"{self.name}[{i}]" for i in range(self.grid.points)]


def spectrum_column(name: str) -> Column | None:
    """Return the column of spectra that a name means; None for another. Raises `ValueError` where it begins as one and
    is none."""
    if not _BEGINS.match(name.strip()):
        return None
    found = _COLUMN.fullmatch(name.strip())
    if found is None:
        raise ValueError(f"the column {name[:80]!r} says no grid; call it {FORM}")
    points = int(found["points"])
    start, stop = float(found["start"]), float(found["stop"])
    if not (2 <= points <= MOST_POINTS and start < stop):
        raise ValueError(
            f"the column {name[:80]!r} has no grid of 2 to {MOST_POINTS:,} points that ascends; call it {FORM}"
        )
    return Column(found["label"], Grid(start=start, stop=stop, points=points, unit=found["unit"]))


class Spectra:
    """The columns of spectra of a file, by the name that they have there."""

    def __init__(self, path: Path, columns: Iterable[str]) -> None:
        """Find them. Raises `DataError` where a column begins as one and is none, or two are one."""
        try:
            found = {name: spectrum_column(name) for name in columns}
        except ValueError as error:
            raise DataError(f"{path}: {error}") from None
        self._columns = {name: column for name, column in found.items() if column is not None}
        self._points = {name: column.points for name, column in self._columns.items()}
        if len({column.name for column in self._columns.values()}) < len(self._columns):
            raise DataError(f"{path}: two columns of spectra have one name and grid; rename or remove one")

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return list(self._columns)

    def labels(self, cells: Mapping[str, object]) -> dict[str, float] | Problem:
        """Return the labels of a row with these cells by column; what is wrong where one is no spectrum on its grid."""
        labels: dict[str, float] = {}
        for name, column in self._columns.items():
            found = _spectrum(cells.get(name), column)
            if isinstance(found, Problem):
                return found
            labels |= zip(self._points[name], found, strict=True) if found else ()
        return labels


def _spectrum(cell: object, column: Column) -> list[float] | Problem:
    """Return the numbers of a cell, none of an empty one, or what is wrong with them."""
    if isinstance(cell, Problem):
        return cell
    if cell is None or (isinstance(cell, float) and np.isnan(cell)):
        return []
    try:
        numbers = np.asarray(_parsed(cell) if isinstance(cell, str) else cell, dtype=np.float64)
    except (TypeError, ValueError, RecursionError):
        return Problem("spectrum is no list of numbers", column.name, "give a list of numbers, as [0.1, 0.2]")
    points = column.grid.points
    if numbers.shape != (points,):
        told = f"{len(numbers):,} numbers" if numbers.ndim == 1 else "no list of numbers"
        return Problem(
            "spectrum does not fit its grid",
            f"{column.name}: {told}, the grid has {points}",
            f"give {points} numbers, or another grid in the column's name",
        )
    if not np.isfinite(numbers).all():
        where = int(np.flatnonzero(~np.isfinite(numbers))[0])
        return Problem(
            "spectrum has a gap", f"{column.name}: number {where + 1} is missing", "fill it, or empty the cell"
        )
    return [float(each) for each in numbers]


def _parsed(text: str) -> object:
    """Return a list that a text is, in JSON or with blanks or commas between its numbers."""
    inner = text.strip()
    return json.loads(inner) if inner.startswith("[") else [float(word) for word in _BETWEEN.split(inner)]


def list_notes(names: Iterable[str]) -> tuple[str, ...]:
    """Return the note that columns of lists are no spectra until their names say the grid."""
    shown = ", ".join(names)
    return (f"read as no label, for it says no grid: {shown}; a column of spectra is called {FORM}",) if shown else ()


def columns_of(crystals: Sequence[Crystal], label: str) -> list[Column]:
    """Return the columns of spectra of a label that any of the crystals has, one for each grid."""
    begins = f"spectrum({label},"
    texts = sorted({point["column"] for name in label_names(crystals) if (point := _POINT.fullmatch(name))})
    found = [spectrum_column(text) for text in texts if text.startswith(begins)]
    return [column for column in found if column is not None]


def column_of(parts: Iterable[Sequence[Crystal]], label: str) -> Column | None:
    """Return the one column of spectra of a label in some parts; None where there is none.

    Raises:
        ValueError: There are several, on different grids.
    """
    found = list(dict.fromkeys(column for part in parts for column in columns_of(part, label)))
    if len(found) > 1:
        grids = " and ".join(column.grid.told for column in found[:_NAMED])
        raise ValueError(f"{label} is given on different grids: {grids}; bring all spectra to one of them")
    return found[0] if found else None


def spectrum_values(crystals: Sequence[Crystal], column: Column) -> Values:
    """Return (M, P) spectra; rows of NaN where a crystal has none.

    Raises:
        ValueError: A crystal has this label on another grid; names crystals.
    """
    for other in columns_of(crystals, column.label):
        if other != column:
            has = np.flatnonzero(~np.isnan(label_values(crystals, other.points[0])))
            ids = ids_of(crystals)
            raise ValueError(
                f"{column.label}: {len(has):,} crystals have it at {other.grid.told}, as "
                f"{', '.join(ids[i] for i in has[:_NAMED])}, and not at {column.grid.told}; bring them to this grid"
            )
    return np.stack([label_values(crystals, name) for name in column.points], axis=1)


def has_spectrum(crystals: Sequence[Crystal], label: str) -> NDArray[np.bool_]:
    """Return (M,) whether each crystal has a spectrum of a label, on whatever grid."""
    firsts = [label_values(crystals, column.points[0]) for column in columns_of(crystals, label)]
    return np.any([~np.isnan(values) for values in firsts], axis=0) if firsts else np.zeros(len(crystals), dtype=bool)


def folded(labels: Mapping[str, float]) -> dict[str, float | list[float]]:
    """Return labels by the column of a file that holds them: each spectrum as one list."""
    found: dict[str, float | list[float]] = {}
    for name, value in labels.items():
        point = _POINT.fullmatch(name)
        if point is None:
            found[name] = value
            continue
        column = spectrum_column(point["column"])
        if column is not None and point["index"] == "0":
            found[column.name] = [float(labels[each]) for each in column.points]
    return found


def column_names(labels: Iterable[str]) -> list[str]:
    """Return the columns of a file that hold these labels, sorted: each spectrum as one."""
    return sorted({point["column"] if (point := _POINT.fullmatch(name)) else name for name in labels})
