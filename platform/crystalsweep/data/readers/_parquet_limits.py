"""What a Parquet file may hold, told from its footer and its pages' headers before anything is decoded.

A column that repeats itself takes no room in a file, so that 1.5 KB can hold a list of 3·10⁸ numbers. Limits are on
what a column grows to beside what it is: honest columns of coordinates hardly shrink.
"""

from __future__ import annotations

import math
from pathlib import Path

import pyarrow.parquet as pq

from crystalsweep.data.errors import DataError
from crystalsweep.data.readers._parquet_footer import Chunk, as_paged, chunks_of

MAX_COLUMNS = 10_000
"""Leaves of the schema; tables of descriptors have up to two thousand."""

MAX_DEPTH = 2
"""Lists within each other: rows of three numbers are two."""

MAX_VALUES = 100_000_000
"""Of one column in one row group: 0.8 GB. A million crystals of 33 atoms have as many coordinates."""

FREE_VALUES, VALUES_PER_BYTE = 5_000_000, 50
"""Values that a column may have whatever its size in the file, and more for each byte of it."""

FREE_BYTES, GROWTH = 64 << 20, 100
"""Bytes that a column may grow to whatever its size in the file, and more for each byte of it."""

FREE_ROWS = 100_000
"""Rows that a file may have, and one more for each byte of it: a million empty rows take a few bytes and would be a
million rejects."""


def require_columns_few(path: Path, footer: pq.FileMetaData) -> None:
    """Raise `DataError` for a schema too wide to be a table of crystals."""
    if footer.num_columns > MAX_COLUMNS:
        raise DataError(
            f"{path}: {footer.num_columns:,} columns, at most {MAX_COLUMNS:,} are read; leave out those that are no "
            "labels"
        )


def require_sizes(path: Path, footer: pq.FileMetaData, wanted: list[str], *, at_once: bool = False) -> None:
    """Raise `DataError` where the columns that are wanted would grow beyond the limits.

    Args:
        path: The file.
        footer: Its own account.
        wanted: Columns that are read.
        at_once: They are held in memory together, not batch by batch.
    """
    most = FREE_ROWS + path.stat().st_size
    if footer.num_rows > most:
        raise DataError(
            f"{path}: {footer.num_rows:,} rows in {path.stat().st_size:,} bytes, at most {most:,} are read: nearly all "
            "must be empty or the same; leave these out"
        )
    for i in range(footer.num_columns):
        if _owner(footer.schema.column(i).path) in wanted:
            _require_shallow(path, footer.schema.column(i))
    chunks = [chunk for chunk in chunks_of(path) if chunk.name in wanted]
    for chunk in chunks:
        _require_small(path, chunk)
    paged = list(as_paged(path, chunks))
    for chunk in paged:
        _require_small(path, chunk)
    if at_once:
        _require_small(path, _together(paged), most=math.inf)


def _together(chunks: list[Chunk]) -> Chunk:
    """Return all chunks of a file as if they were one."""
    return Chunk(
        name="all that it holds",
        values=sum(chunk.values for chunk in chunks),
        uncompressed=sum(chunk.uncompressed for chunk in chunks),
        compressed=sum(chunk.compressed for chunk in chunks),
        start=0,
    )


def _require_shallow(path: Path, column: pq.ColumnSchema) -> None:
    if column.max_repetition_level > MAX_DEPTH:
        raise DataError(
            f"{path}: {_owner(column.path)} has lists {column.max_repetition_level} deep, at most {MAX_DEPTH} are "
            "read; give numbers, or rows of three"
        )


def _require_small(path: Path, chunk: Chunk, most: float = MAX_VALUES) -> None:
    size = min(max(chunk.compressed, 0), path.stat().st_size)  # whatever the footer says
    values = min(most, FREE_VALUES + VALUES_PER_BYTE * size)
    if chunk.values > values:
        raise DataError(
            f"{path}: {chunk.name} has {chunk.values:,} values in {size:,} bytes, at most {values:,} are read; write "
            "it in row groups of at most 10,000 rows, and crystals of at most 10,000 atoms"
        )
    if chunk.uncompressed > FREE_BYTES + GROWTH * size:
        raise DataError(
            f"{path}: {chunk.name} grows from {size:,} bytes to {chunk.uncompressed:,}, at most "
            f"{FREE_BYTES + GROWTH * size:,} are read; write it in row groups of at most 10,000 rows"
        )


def _owner(leaf: str) -> str:
    """Return the column that a leaf of the schema is of, as `frac_coords` of `frac_coords.list.element`."""
    return leaf.partition(".")[0]
