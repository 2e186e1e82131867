"""What a Parquet file's footer says of its column chunks, read here because pyarrow's own accessor aborts the process
where a footer is damaged.

The footer is Thrift's compact protocol: structs of numbered fields, read into dicts by number
(github.com/apache/parquet-format, `parquet.thrift`).
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from crystalsweep.data.errors import DataError

MAX_FOOTER = 64 << 20
"""Bytes."""

_ROW_GROUPS, _COLUMNS, _META = 4, 1, 3
_PATH, _VALUES, _UNCOMPRESSED, _COMPRESSED = 3, 5, 6, 7
_DEEPEST = 20


class Chunk(NamedTuple):
    """One column in one row group."""

    name: str
    """Of the column, as `frac_coords`, without the lists within it."""
    values: int
    uncompressed: int
    """Bytes."""
    compressed: int
    """Bytes."""


def chunks_of(path: Path) -> Iterator[Chunk]:
    """Yield the column chunks of all row groups. Raises `DataError` for a footer that is none."""
    try:
        footer = _struct(io.BytesIO(_footer(path)), 0)
        for group in footer.get(_ROW_GROUPS, []):
            for column in group[_COLUMNS]:
                meta = column[_META]
                name = meta[_PATH][0].decode(errors="replace")
                yield Chunk(name, int(meta[_VALUES]), int(meta[_UNCOMPRESSED]), int(meta[_COMPRESSED]))
    except (LookupError, TypeError, ValueError, AttributeError, OSError) as error:
        raise DataError(f"{path}: not readable as Parquet (its footer is damaged); copy or export it again") from error


def _footer(path: Path) -> bytes:
    with path.open("rb") as file:
        end = file.seek(0, io.SEEK_END) - 8
        file.seek(max(end, 0))
        length = int.from_bytes(file.read(4), "little")
        if not 0 < length <= min(end, MAX_FOOTER):
            raise ValueError("no footer")
        file.seek(end - length)
        return file.read(length)


def _struct(source: io.BytesIO, depth: int) -> dict[int, Any]:
    if depth > _DEEPEST:
        raise ValueError("too deep")
    fields: dict[int, Any] = {}
    number = 0
    while (head := source.read(1)[0]) != 0:
        number = number + (head >> 4) if head >> 4 else _zigzag(source)
        fields[number] = _value(source, head & 15, depth)
    return fields


def _value(source: io.BytesIO, kind: int, depth: int) -> Any:
    """Return a field's value: truth values are in its head, the rest follows."""
    if kind in (1, 2):
        return kind == 1
    if kind == 3:
        return source.read(1)[0]
    if kind in (4, 5, 6):
        return _zigzag(source)
    if kind == 7:
        return source.read(8)
    if kind == 8:
        return source.read(_varint(source))
    if kind in (9, 10):
        return _list(source, depth)
    if kind == 12:
        return _struct(source, depth + 1)
    raise ValueError(f"no kind {kind} in a footer")


def _list(source: io.BytesIO, depth: int) -> list[Any]:
    head = source.read(1)[0]
    kind, length = head & 15, head >> 4
    length = _varint(source) if length == 15 else length
    if length > MAX_FOOTER:
        raise ValueError("too long")
    one = 3 if kind in (1, 2) else kind  # in a list, a truth value is a byte
    return [_value(source, one, depth + 1) for _ in range(length)]


def _varint(source: io.BytesIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = source.read(1)[0]
        value |= (byte & 127) << shift
        if byte < 128:
            return value
    raise ValueError("too long a number")


def _zigzag(source: io.BytesIO) -> int:
    value = _varint(source)
    return (value >> 1) ^ -(value & 1)
