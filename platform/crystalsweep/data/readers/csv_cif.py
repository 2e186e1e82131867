"""CSV with the text of a CIF in the column `cif`, or `CIF`: the form of CDVAE's MP-20, Perov-5 and Carbon-24.

Every other column of numbers becomes a label: one of which at least half of the filled cells are numbers, whatever
single cells look like; a cell that is none there is a missing label. An unnamed column (pandas' index) is no label.
A column named `class(ordering)` holds classes as texts (`data.classes`), one named `spectrum(phonon_dos,0:30:64:THz)`
lists of numbers (`data.spectra`).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from crystalsweep.data.checks import Problem
from crystalsweep.data.classes import Classes
from crystalsweep.data.errors import DataError
from crystalsweep.data.readers._base import (
    ID_COLUMNS,
    MAX_ID,
    MISSING_ID,
    NO_LABELS,
    Numbered,
    Reader,
    SourceRow,
    decimal_comma_note,
    missing_label_notes,
    no_label_note,
    require_distinct,
    some_commas_note,
    truth_note,
)
from crystalsweep.data.readers._cif import CifReading, read_cif
from crystalsweep.data.readers._numbers import has_decimal_comma, is_number, to_number
from crystalsweep.data.spectra import Spectra, list_notes

MISSING = {"", "nan", "none", "null", "na", "n/a", "<na>"}
"""Cells (lower case) that mean: no value."""

MAX_CELL = 64 << 20
"""Characters; the csv module's own limit of 131,072 is less than the CIF of a large cell, and a CIF of 4 million is
rejected alone. A quote that is never closed makes one cell of all that follows."""

_BROKEN = "\0broken"
"""Key of a record whose quoting is broken."""

_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
"""What columns stand apart by in files that other programs call CSV, and in words."""

_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
"""What a file in UTF-16 begins with; without it, every other byte of what is ASCII is zero."""

_LONGEST_HEADER = 1 << 20
"""Bytes of a first line that is looked at."""

_INDEX = re.compile(r"(?:Unnamed: \d+)?")
"""Columns that are pandas' index."""

_Record = dict[str, str | None]


class CsvCifReader(Reader):
    """Rows are read with the csv module: one with too many cells does not stop the others."""

    form = "a .csv file with a column 'cif'"

    def recognises(self, path: Path) -> bool:
        """Tell by the suffix whether a file is of this form."""
        return path.is_file() and path.suffix.lower() == ".csv"

    def count(self, path: Path) -> None:
        """Return None: the number of rows is unknown, for CIFs hold line breaks."""

    def rows(self, path: Path, *, partial: bool = False) -> Iterator[SourceRow]:
        """Yield one row per record; `DataError` if there is no column `cif`."""
        columns, records = _records(path)
        cif_column = _cif_column(path, columns)
        id_column = next((name for name in ID_COLUMNS if name in columns), None)
        classes = Classes(path, columns)
        spectra = Spectra(path, columns)
        no_label = {*NO_LABELS, *(name.lower() for name in (*classes.columns, *spectra.columns))}
        asked = [name for name in columns if name.lower() not in no_label and not _INDEX.fullmatch(name)]
        labels = {name: None for name in asked if _is_label(name, records)}
        others = [name for name in asked if name not in labels]
        lists = [name for name in others if _is_of_lists(name, records)]
        commas = [name for name in others if name not in lists and _share(name, records, has_decimal_comma) >= 0.5]
        truths = [name for name in others if name not in lists and _share(name, records, _is_truth) == 1]
        no_labels = (
            *no_label_note([name for name in others if name not in (*lists, *commas, *truths)]),
            *decimal_comma_note(commas),
            *truth_note(truths),
            *list_notes(lists),
        )
        numbered = Numbered(path)
        for number, record in enumerate(records, start=1):
            row_id = numbered[number] if id_column is None else record.get(id_column) or ""
            values = {name: _number(record.get(name)) for name in labels}
            missing = [name for name, value in values.items() if value is None]
            notes = missing_label_notes(missing)
            notes += some_commas_note([each for each in missing if has_decimal_comma((record.get(each) or "").strip())])
            notes += [*no_labels, *([Numbered.NOTE] if id_column is None else [])]
            given = {name: value for name, value in values.items() if value is not None}
            given |= classes.labels({name: _text(record.get(name)) for name in classes.columns})
            found = spectra.labels({name: _present(record.get(name)) for name in spectra.columns})
            curves, wrong = ({}, found) if isinstance(found, Problem) else (found, None)
            outcome, how, sites = _outcome(record, row_id, cif_column, given | curves, partial)
            if wrong is not None and not isinstance(outcome, Problem):
                outcome = wrong
            yield SourceRow(f"{path.name} row {number}", row_id[:MAX_ID], outcome, (*notes, *how), sites)


def _records(path: Path) -> tuple[list[str], list[_Record]]:
    _require_commas(path)
    limit = csv.field_size_limit(MAX_CELL)
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            table = csv.DictReader(file, strict=True)
            columns = list(table.fieldnames or ())
            records = list(_rows(table))
    except csv.Error as error:
        raise DataError(f"{path}: not readable as CSV ({error}); export it again") from error
    finally:
        csv.field_size_limit(limit)
    require_distinct(path, columns)
    return columns, records


def _cif_column(path: Path, columns: Sequence[str]) -> str:
    """Return the column of CIFs: `cif`, or the one that is called so in another case. Raises `DataError` where there is
    none, or several."""
    found = [name for name in columns if name.lower() == "cif"]
    if "cif" in found or len(found) == 1:
        return "cif" if "cif" in found else found[0]
    if found:
        raise DataError(f"{path}: the columns {' and '.join(found)} have one name; rename or remove one")
    raise DataError(f"{path}: no column 'cif'; found {', '.join(columns) or 'none'}; rename the column of CIF texts")


def _require_commas(path: Path) -> None:
    """Raise `DataError` for a file in UTF-16, and for one whose columns do not stand apart by commas."""
    with path.open("rb") as file:
        head = file.readline(_LONGEST_HEADER)
    if head.startswith(_UTF_16) or b"\0" in head[:2]:
        raise DataError(f"{path}: the file is in UTF-16; save it as UTF-8, which is called CSV UTF-8 in spreadsheets")
    header = head.decode("utf-8-sig", errors="replace").lower()
    for separator, called in _SEPARATORS.items():
        if "cif" in (name.strip().strip('"') for name in header.split(separator)) and separator in header:
            raise DataError(f"{path}: columns stand apart by {called}; save it with commas, and decimal points")


def _rows(table: csv.DictReader[str]) -> Iterator[_Record]:
    """Yield all records; where the quoting of one is broken, one that says so."""
    while True:
        try:
            yield next(table)
        except StopIteration:
            return
        except csv.Error as error:
            if "field larger" in str(error):
                raise
            where = f"line {table.line_num}"
            yield {_BROKEN: f"{where}: {error}", **dict.fromkeys(ID_COLUMNS, where)}


def _outcome(record: _Record, row_id: str, cif_column: str, labels: dict[str, float], partial: bool) -> CifReading:
    """Return the crystal of a row, or why it is none, and notes on how it was read.

    Args:
        record: Cells by column.
        row_id: The crystal's id.
        cif_column: Where its CIF is.
        labels: By name.
        partial: Let sites be masked.
    """
    if broken := record.get(_BROKEN):
        return CifReading(Problem("broken quoting", broken, "close the quote that a cell begins with"))
    if not row_id.strip():
        return CifReading(MISSING_ID)
    if None in record:
        return CifReading(Problem("more cells than columns", "", "quote cells that hold commas or line breaks"))
    return read_cif(record[cif_column] or "", row_id, labels, partial=partial)


def _number(cell: str | None) -> float | None:
    """Return NaN where the cell is empty, None where it is no number."""
    if cell is None or cell.strip().lower() in MISSING:
        return float("nan")
    return to_number(cell.strip()) if is_number(cell.strip()) else None


def _text(cell: str | None) -> str | None:
    """Return the class that a cell names, booleans in lower case; None where it is empty."""
    found = _present(cell)
    return found.lower() if found is not None and found.strip().lower() in ("true", "false") else found


def _present(cell: str | None) -> str | None:
    """Return a cell as it is; None where it is empty."""
    return None if cell is None or cell.strip().lower() in MISSING else cell


def _is_of_lists(name: str, records: list[_Record]) -> bool:
    """Return whether the first filled cell begins as a list."""
    return next((cell for record in records if (cell := _present(record.get(name)))), "").lstrip().startswith("[")


def _share(name: str, records: list[_Record], is_so: Callable[[str], bool]) -> float:
    """Return the share of a column's filled cells of which something is so; 0 where all are empty."""
    filled = [cell.strip() for record in records if (cell := _present(record.get(name))) is not None]
    return sum(map(is_so, filled)) / len(filled) if filled else 0.0


def _is_truth(cell: str) -> bool:
    return cell.lower() in ("true", "false")


def _is_label(name: str, records: list[_Record]) -> bool:
    """Return whether at least half of the filled cells are numbers."""
    values = [_number(record.get(name)) for record in records]
    numbers = sum(value is not None and value == value for value in values)
    return numbers > 0 and numbers >= values.count(None)
