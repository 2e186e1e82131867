"""What a Parquet file says of its column chunks before any is decoded: its footer, and the headers of their pages.

Read here because pyarrow's own accessor aborts the process where a footer is damaged, and gives no page's header; and
what is decoded is what the pages hold, whatever the footer says. Both are Thrift's compact protocol: structs of
numbered fields, read into dicts by number (github.com/apache/parquet-format, `parquet.thrift`).
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from crystalsweep.data.errors import DataError

MAX_FOOTER = 64 << 20
"""Bytes."""

_ROW_GROUPS, _COLUMNS, _META = 4, 1, 3
_PATH, _VALUES, _UNCOMPRESSED, _COMPRESSED, _DATA, _DICTIONARY = 3, 5, 6, 7, 9, 11
_PAGE_GROWN, _PAGE_SIZE, _PAGES = 2, 3, (5, 8)
_DEEPEST = 20

MAX_PAGES = 1_000_000
"""Of one file; pages have a megabyte, or some ten thousand rows."""


class Chunk(NamedTuple):
    """One column in one row group."""

    name: str
    """Of the column, as `frac_coords`, without the lists within it."""
    values: int
    uncompressed: int
    """Bytes."""
    compressed: int
    """Bytes."""
    start: int
    """Byte of the file at which its pages begin."""


def chunks_of(path: Path) -> Iterator[Chunk]:
    """Yield the column chunks of all row groups. Raises `DataError` for a footer that is none."""
    try:
        footer = _struct(io.BytesIO(_footer(path)), 0)
        for group in footer.get(_ROW_GROUPS, []):
            for column in group[_COLUMNS]:
                meta = column[_META]
                name = meta[_PATH][0].decode(errors="replace")
                start = min((meta[field] for field in (_DATA, _DICTIONARY) if meta.get(field, 0) > 0), default=0)
                yield Chunk(name, int(meta[_VALUES]), int(meta[_UNCOMPRESSED]), int(meta[_COMPRESSED]), int(start))
    except (LookupError, TypeError, ValueError, AttributeError, OSError) as error:
        raise _damaged(path, "its footer is damaged") from error


def as_paged(path: Path, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    """Yield the chunks with the values and bytes of their pages, where these are more than the footer says.

    Raises `DataError` for pages that are none, and for more than `MAX_PAGES`.
    """
    left = MAX_PAGES
    with path.open("rb") as file:
        for chunk in chunks:
            try:
                values, grown, pages = _held(file, chunk, left)
            except (LookupError, TypeError, ValueError, AttributeError, OverflowError, OSError) as error:
                raise _damaged(path, f"the pages of {chunk.name} are damaged") from error
            left -= pages
            yield chunk._replace(values=max(values, chunk.values), uncompressed=max(grown, chunk.uncompressed))


def _held(file: BinaryIO, chunk: Chunk, most: int) -> tuple[int, int, int]:
    """Return the values, bytes and number of the pages that are decoded: those up to the footer's number of values."""
    values = grown = pages = 0
    for page in _pages(file, chunk):
        values += sum(page[kind][1] for kind in _PAGES if kind in page)
        grown += page[_PAGE_GROWN]
        pages += 1
        if pages > most:
            raise ValueError("more pages than any table of crystals has")
        if values >= chunk.values:
            break
    return values, grown, pages


def _pages(file: BinaryIO, chunk: Chunk) -> Iterator[dict[int, Any]]:
    """Yield the headers of a chunk's pages."""
    at = chunk.start
    while at < chunk.start + chunk.compressed:
        file.seek(at)
        page = _struct(file, 0)
        if page[_PAGE_SIZE] < 0 or page[_PAGE_GROWN] < 0:
            raise ValueError("a page of negative size")
        yield page
        at = file.tell() + page[_PAGE_SIZE]


def _damaged(path: Path, why: str) -> DataError:
    return DataError(f"{path}: not readable as Parquet ({why}); copy or export it again")


def _footer(path: Path) -> bytes:
    with path.open("rb") as file:
        end = file.seek(0, io.SEEK_END) - 8
        file.seek(max(end, 0))
        length = int.from_bytes(file.read(4), "little")
        if not 0 < length <= min(end, MAX_FOOTER):
            raise ValueError("no footer")
        file.seek(end - length)
        return file.read(length)


def _struct(source: BinaryIO, depth: int) -> dict[int, Any]:
    if depth > _DEEPEST:
        raise ValueError("too deep")
    fields: dict[int, Any] = {}
    number = 0
    while (head := source.read(1)[0]) != 0:
        number = number + (head >> 4) if head >> 4 else _zigzag(source)
        fields[number] = _value(source, head & 15, depth)
    return fields


def _value(source: BinaryIO, kind: int, depth: int) -> Any:
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


def _list(source: BinaryIO, depth: int) -> list[Any]:
    head = source.read(1)[0]
    kind, length = head & 15, head >> 4
    length = _varint(source) if length == 15 else length
    if length > MAX_FOOTER:
        raise ValueError("too long")
    one = 3 if kind in (1, 2) else kind  # in a list, a truth value is a byte
    return [_value(source, one, depth + 1) for _ in range(length)]


def _varint(source: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = source.read(1)[0]
        value |= (byte & 127) << shift
        if byte < 128:
            return value
    raise ValueError("too long a number")


def _zigzag(source: BinaryIO) -> int:
    value = _varint(source)
    return (value >> 1) ^ -(value & 1)
