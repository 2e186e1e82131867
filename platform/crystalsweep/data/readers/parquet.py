"""Parquet with one row per crystal: the form of the bundled data and of everything this platform writes.

Columns `atomic_numbers` (N integers), `lattice` (9 numbers, row-major, Å) and `frac_coords` (3N numbers) are needed,
`material_id` is used where there is one, and every other column of numbers becomes a label; NaN and null are missing.
A pandas index is no label; one of texts names the rows where nothing else does. A column of texts or booleans named
`class(ordering)` holds classes (`data.classes`), one of lists named `spectrum(phonon_dos,0:30:64:THz)` spectra
(`data.spectra`).

What a file would take is known before it is decoded, from its footer (`_parquet_limits`); lists that are too long for a
crystal are not made into arrays, and long texts that stand for many rows are kept once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

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
    admit,
    id_too_long,
    no_label_note,
    require_distinct,
    truth_note,
)
from crystalsweep.data.readers._in_order import in_order, threads_for
from crystalsweep.data.readers._limits import MAX_ATOMS_READ, TOO_LARGE
from crystalsweep.data.readers._parquet_limits import require_columns_few, require_sizes
from crystalsweep.data.readers._plain import lists_of, plain_crystals
from crystalsweep.data.spectra import Spectra, list_notes
from crystalsweep.structures.crystal import Crystal

STRUCTURE_COLUMNS = ("atomic_numbers", "lattice", "frac_coords")
_ANY_NUMBER = 1e6
"""Beyond this nothing is an atomic number, and whole numbers of 64 bits overflow."""

BATCH = 4096
"""Rows in memory at once beside the crystals."""

MAX_LIST = 3 * MAX_ATOMS_READ
"""Numbers in one cell, or lists in one."""

_MAX_INNER = 9
"""Numbers in a list within a list, which are a position or a lattice vector."""

_Record = dict[str, object]


class ParquetReader(Reader):
    """Straight from Arrow's arrays to crystals."""

    form = "a .parquet file with columns atomic_numbers, lattice and frac_coords"

    def recognises(self, path: Path) -> bool:
        """Tell by the suffix whether a file is of this form."""
        return path.is_file() and path.suffix.lower() == ".parquet"

    def count(self, path: Path) -> int:
        """Return the number of rows from the file's footer."""
        with _opened(path) as file:
            return int(file.metadata.num_rows)

    def rows(self, path: Path, *, partial: bool = False) -> Iterator[SourceRow]:
        """Yield one row per crystal; `DataError` if a structure column is missing."""
        with _opened(path) as file:
            schema = file.schema_arrow
            _require_columns(path, schema)
            require_distinct(path, schema.names)
            index = _index_of(schema)
            id_column = next((name for name in (*ID_COLUMNS, *index) if _can_name(schema, name)), None)
            labels = [field.name for field in schema if _is_label(field) and field.name not in index]
            classes = Classes(path, (field.name for field in schema if _is_class(field) and field.name not in index))
            spectra = Spectra(path, (name for name in schema.names if name not in (*labels, *index)))
            gathered = (*classes.columns, *spectra.columns)
            known = (*labels, *index, *gathered)
            other = [field for field in schema if field.name not in known and field.name.lower() not in NO_LABELS]
            lists = [field.name for field in other if _is_list(field.type)]
            truths = [field.name for field in other if pa.types.is_boolean(field.type)]
            no_labels = (
                *no_label_note([field.name for field in other if field.name not in (*lists, *truths)]),
                *truth_note(truths),
                *list_notes(lists),
            )
            wanted = [*STRUCTURE_COLUMNS, *labels, *gathered, *([id_column] if id_column else [])]
            require_sizes(path, file.metadata, wanted)
            numbered = Numbered(path)
            notes = no_labels if id_column else (*no_labels, Numbered.NOTE)
            workers = threads_for(-(-file.metadata.num_rows // BATCH))

            def checked(part: tuple[int, pa.RecordBatch]) -> list[SourceRow]:
                first, batch = part
                given = _cells(batch.column(id_column), whole=True) if id_column else range(first, first + len(batch))
                ids = [_row_id(each) if id_column else numbered[each] for each in given]  # type: ignore[index]
                cells = {name: _repeated(batch.column(name)) for name in classes.columns}
                cells |= {name: list(_cells(batch.column(name), whole=False)) for name in spectra.columns}
                outcomes = _outcomes(batch.drop_columns(gathered), ids, labels, id_column, partial)
                rows = ({name: column[i] for name, column in cells.items()} for i in range(len(ids)))
                if cells:
                    outcomes = [
                        _labelled(each, row, classes, spectra) for each, row in zip(outcomes, rows, strict=True)
                    ]
                return [
                    SourceRow(f"{path.name} row {first + i}", row_id[:MAX_ID], outcome, notes)
                    for i, (row_id, outcome) in enumerate(zip(ids, outcomes, strict=True))
                ]

            for rows in in_order(
                checked,
                _numbered(_batches(path, wanted, [*([id_column] if id_column else []), *classes.columns])),
                workers=workers,
            ):
                yield from rows


def require_readable(path: Path) -> pa.Schema:
    """Return the schema of any Parquet file whose columns can all be decoded at once within the limits.

    Texts that many rows share count once: who decodes them keeps them so.

    Raises `DataError` where it is none, two columns have one name, or it would grow beyond the limits.
    """
    try:
        with _opened(path) as file:
            require_distinct(path, file.schema_arrow.names)
            require_sizes(path, file.metadata, file.schema_arrow.names, at_once=True)
            return file.schema_arrow
    except pa.ArrowException as error:
        raise _unreadable(path, error) from error


def _numbered(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield batches with the number of their first row, from 1."""
    first = 1
    for batch in batches:
        yield first, batch
        first += len(batch)


def _labelled(outcome: Crystal | Problem, cells: _Record, classes: Classes, spectra: Spectra) -> Crystal | Problem:
    """Return a row's crystal with its classes and spectra, or what is wrong with these."""
    if isinstance(outcome, Problem):
        return outcome
    found = spectra.labels(cells)
    if isinstance(found, Problem):
        return found
    outcome.labels.update(classes.labels(cells) | found)
    return outcome


def _outcomes(
    batch: pa.RecordBatch, ids: list[str], labels: list[str], id_column: str | None, partial: bool
) -> list[Crystal | Problem]:
    """Return what becomes of the rows of a batch: those that are plainly crystals at once, the others one by one."""
    found = _plain(batch, ids, labels)
    rest = [row for row, each in enumerate(found) if each is None]
    records = _records(batch.take(pa.array(rest)) if len(rest) < len(ids) else batch, id_column) if rest else ()
    others = {row: _outcome(record, ids[row], labels, partial) for row, record in zip(rest, records, strict=True)}
    return [each if each is not None else others[row] for row, each in enumerate(found)]


def _plain(batch: pa.RecordBatch, ids: list[str], labels: list[str]) -> list[Crystal | None]:
    columns = [lists_of(batch.column(name)) for name in STRUCTURE_COLUMNS]
    structures = [column for column in columns if column is not None]
    if len(structures) < len(columns):
        return [None] * len(ids)
    values = {name: _floats(batch.column(name)) for name in labels}
    return plain_crystals(ids, structures, values)


def _floats(column: pa.Array) -> NDArray[np.float64]:
    """Return numbers, NaN where there are none."""
    if pa.types.is_decimal(column.type):
        return np.array([np.nan if each is None else float(each) for each in column.to_pylist()], dtype=np.float64)
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)


def _batches(path: Path, wanted: list[str], repeated: list[str]) -> Iterator[pa.RecordBatch]:
    """Yield the rows of some columns; the `repeated`, ids and classes, as indices of a list of their texts, which no
    repetition makes longer."""
    try:
        with pq.ParquetFile(path, read_dictionary=repeated, page_checksum_verification=True) as file:
            yield from file.iter_batches(BATCH, columns=wanted)
    except (pa.ArrowException, OSError, MemoryError) as error:
        raise _unreadable(path, error) from error


def _opened(path: Path) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error
    require_columns_few(path, file.metadata)
    return file


def _unreadable(path: Path, error: BaseException) -> DataError:
    reason = " ".join(str(error)[:300].split())[:200]
    return DataError(f"{path}: not readable as Parquet ({reason}); copy or export it again")


def _require_columns(path: Path, schema: pa.Schema) -> None:
    missing = [name for name in STRUCTURE_COLUMNS if name not in schema.names]
    if missing:
        found = " ".join(", ".join(schema.names).split())[:500]
        raise DataError(f"{path}: no column {', '.join(missing)}; found {found}; rename or add the missing columns")


def _is_label(field: pa.Field) -> bool:
    number = pa.types.is_integer(field.type) or pa.types.is_floating(field.type) or pa.types.is_decimal(field.type)
    return number and field.name.lower() not in NO_LABELS


def _is_class(field: pa.Field) -> bool:
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    return pa.types.is_boolean(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _index_of(schema: pa.Schema) -> list[str]:
    """Return the columns that are the index of a pandas table."""
    columns = (schema.pandas_metadata or {}).get("index_columns", [])
    unnamed = [name for name in schema.names if re.fullmatch(r"Unnamed: \d+|__index_level_\d+__", name)]
    return [name for name in (*columns, *unnamed) if isinstance(name, str) and name in schema.names]


def _can_name(schema: pa.Schema, name: str) -> bool:
    """Return whether a column holds ids; an index only where it is of texts, for its numbers are those of rows."""
    if name not in schema.names:
        return False
    kind = schema.field(name).type
    return name in ID_COLUMNS or pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _row_id(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="backslashreplace")
    return "" if value is None or value != value else str(value)


def _records(batch: pa.RecordBatch, id_column: str | None) -> Iterator[_Record]:
    """Yield rows; ids as they are, for NumPy makes numbers with a decimal point of whole ones beside a null."""
    columns = {name: _cells(batch.column(name), whole=name == id_column) for name in batch.schema.names}
    for values in zip(*columns.values(), strict=True):
        yield dict(zip(columns, values, strict=True))


def _cells(column: pa.Array, *, whole: bool) -> Iterable[object]:
    """Return the cells of a column, as they are if `whole`; `Problem`s where a list is too long to be made an array."""
    if pa.types.is_dictionary(column.type):
        return _repeated(column)
    if whole:
        return cast("Iterable[object]", column.to_pylist())
    if not _is_list(column.type):
        return cast("Iterable[object]", column.to_numpy(zero_copy_only=False))
    problems = _too_long(column)
    if not problems:
        return cast("Iterable[object]", column.to_numpy(zero_copy_only=False))
    return [problems.get(i) or column.slice(i, 1).to_numpy(zero_copy_only=False)[0] for i in range(len(column))]


def _repeated(column: pa.Array) -> list[object]:
    """Return ids or classes, each text made once, and not longer than tells that it is too long."""
    if not pa.types.is_dictionary(column.type):
        return cast("list[object]", column.to_pylist())  # booleans
    texts, kind = column.dictionary, column.dictionary.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        first = pc.binary_slice(texts.cast(pa.large_binary()), 0, 4 * MAX_ID + 4).to_pylist()
        short: list[object] = [each if each is None else each.decode(errors="replace") for each in first]
    elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        short = pc.binary_slice(texts, 0, MAX_ID + 1).to_pylist()
    else:
        short = texts.to_pylist()
    return [None if index is None else short[index] for index in column.indices.to_pylist()]


def _too_long(column: pa.Array) -> dict[int, Problem]:
    """Return rows with more numbers than any crystal that is read has, told by the lists' lengths alone."""
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    found = {int(row): _long(int(lengths[row])) for row in np.flatnonzero(lengths > MAX_LIST)}
    if _is_list(column.type.value_type):
        inner = pc.fill_null(pc.list_value_length(pc.list_flatten(column)), 0).to_numpy(zero_copy_only=False)
        long = np.flatnonzero(inner > _MAX_INNER)
        if len(long):
            parents = pc.list_parent_indices(column).to_numpy(zero_copy_only=False)
            found |= {int(parents[each]): _long(int(inner[each])) for each in long}
    return found


def _long(numbers: int) -> Problem:
    return Problem(TOO_LARGE, f"a list of {numbers:,}, at most {MAX_LIST:,} are read", "give a smaller cell")


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _outcome(record: _Record, row_id: str, labels: list[str], partial: bool) -> Crystal | Problem:
    if not row_id:
        return MISSING_ID
    if len(row_id) > MAX_ID:
        return id_too_long()
    if long := next((record[name] for name in STRUCTURE_COLUMNS if isinstance(record[name], Problem)), None):
        return cast("Problem", long)
    if empty := [name for name in STRUCTURE_COLUMNS if record[name] is None]:
        return Problem("empty cell", ", ".join(empty), "fill it, or drop the row")
    given = {name: float(record[name]) for name in labels if record[name] is not None}  # type: ignore[arg-type]
    try:
        numbers, lattice, frac = (_flat(record[name], name) for name in STRUCTURE_COLUMNS)
    except (TypeError, ValueError) as error:
        return Problem("not numbers", str(error), "structure columns hold lists of numbers")
    if (numbers != np.round(numbers)).any():  # also where one is NaN
        return Problem("unknown element", "atomic numbers are not whole", "give atomic numbers as integers")
    if (np.abs(numbers) > _ANY_NUMBER).any():
        return Problem("unknown element", f"atomic number {numbers[np.abs(numbers).argmax()]:g}", "give 1 to 118")
    return admit(row_id, numbers, lattice, frac, given, partial=partial)


def _flat(values: object, name: str) -> np.ndarray:
    """Return a list of numbers, or of vectors of three, as one array. Raises `ValueError` for anything else."""
    array = np.asarray(values)
    if array.dtype == object and len(array):
        parts = [np.asarray(part) for part in array]
        if name == STRUCTURE_COLUMNS[0] or any(part.shape != (3,) for part in parts):
            raise ValueError(f"{name}: neither a list of numbers nor one of vectors of three")
        array = np.concatenate(parts)
    if array.dtype.kind not in "iuf" and len(array):
        raise ValueError(f"{name} holds {array.dtype}, no numbers")
    return array.astype(np.float64)
