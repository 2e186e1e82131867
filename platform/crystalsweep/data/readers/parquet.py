"""Parquet with one row per crystal: the form of the bundled data and of everything this platform writes.

Columns `atomic_numbers` (N integers), `lattice` (9 numbers, row-major, Å) and `frac_coords` (3N numbers) are needed,
`material_id` is used where there is one, and every other column of numbers becomes a label; NaN and null are missing.
A pandas index is no label; one of texts names the rows where nothing else does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from crystalsweep.data.checks import Problem
from crystalsweep.data.errors import DataError
from crystalsweep.data.readers._base import ID_COLUMNS, MISSING_ID, Numbered, Reader, SourceRow, admit
from crystalsweep.structures.crystal import Crystal

STRUCTURE_COLUMNS = ("atomic_numbers", "lattice", "frac_coords")
BATCH = 4096
"""Rows in memory at once beside the crystals."""


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

    def rows(self, path: Path) -> Iterator[SourceRow]:
        """Yield one row per crystal; `DataError` if a structure column is missing."""
        with _opened(path) as file:
            schema = file.schema_arrow
            _require_columns(path, schema)
            index = _index_of(schema)
            id_column = next((name for name in (*ID_COLUMNS, *index) if _can_name(schema, name)), None)
            labels = [field.name for field in schema if _is_label(field) and field.name not in index]
            wanted = [*STRUCTURE_COLUMNS, *labels, *([id_column] if id_column else [])]
            number, numbered = 0, Numbered(path)
            for batch in file.iter_batches(BATCH, columns=wanted):
                for record in _records(batch):
                    number += 1
                    row_id = _row_id(record[id_column]) if id_column else numbered[number]
                    notes = () if id_column else (Numbered.NOTE,)
                    yield SourceRow(f"{path.name} row {number}", row_id, _outcome(record, row_id, labels), notes)


def _opened(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: not readable as Parquet ({error}); copy or export it again") from error


def _require_columns(path: Path, schema: pa.Schema) -> None:
    missing = [name for name in STRUCTURE_COLUMNS if name not in schema.names]
    if missing:
        found = ", ".join(schema.names)
        raise DataError(f"{path}: no column {', '.join(missing)}; found {found}; rename or add the missing columns")


def _is_label(field: pa.Field) -> bool:
    number = pa.types.is_integer(field.type) or pa.types.is_floating(field.type) or pa.types.is_decimal(field.type)
    return number and field.name not in (*STRUCTURE_COLUMNS, *ID_COLUMNS)


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
    return "" if value is None or value != value else str(value)


def _records(batch: pa.RecordBatch) -> Iterator[dict[str, object]]:
    columns = {name: batch.column(name).to_numpy(zero_copy_only=False) for name in batch.schema.names}
    for values in zip(*columns.values(), strict=True):
        yield dict(zip(columns, values, strict=True))


def _outcome(record: dict[str, object], row_id: str, labels: list[str]) -> Crystal | Problem:
    if not row_id:
        return MISSING_ID
    if empty := [name for name in STRUCTURE_COLUMNS if record[name] is None]:
        return Problem("empty cell", ", ".join(empty), "fill it, or drop the row")
    given = {name: float(record[name]) for name in labels if record[name] is not None}  # type: ignore[arg-type]
    try:
        numbers, lattice, frac = (_flat(record[name]) for name in STRUCTURE_COLUMNS)
    except (TypeError, ValueError) as error:
        return Problem("not numbers", str(error), "structure columns hold lists of numbers")
    if (numbers != np.round(numbers)).any():  # also where one is NaN
        return Problem("unknown element", "atomic numbers are not whole", "give atomic numbers as integers")
    return admit(row_id, numbers, lattice, frac, given)


def _flat(values: object) -> np.ndarray:
    """Return lists of numbers, or lists of lists of numbers."""
    array = np.asarray(values)
    if array.dtype == object:
        array = np.concatenate([np.asarray(part) for part in array]) if len(array) else array
    return array.astype(np.float64)
