"""The forms that can be read; a new one is a file with a `Reader` and a line here."""

from __future__ import annotations

from pathlib import Path

from crystalsweep.data.errors import DataError
from crystalsweep.data.readers._base import (
    MAX_ID,
    NO_LABELS,
    WHOLE,
    FileSites,
    Reader,
    SourceRow,
    admit,
    columns_without_label,
    is_mixed,
    others_in,
)
from crystalsweep.data.readers._cif_mixtures import ROUNDED
from crystalsweep.data.readers.cif_directory import CifDirectoryReader
from crystalsweep.data.readers.csv_cif import CsvCifReader
from crystalsweep.data.readers.extxyz import ExtxyzReader
from crystalsweep.data.readers.packed import PackedReader
from crystalsweep.data.readers.parquet import ParquetReader
from crystalsweep.data.readers.poscar import PoscarReader

__all__ = [
    "MAX_ID",
    "NO_LABELS",
    "READERS",
    "ROUNDED",
    "WHOLE",
    "FileSites",
    "Reader",
    "SourceRow",
    "admit",
    "columns_without_label",
    "is_mixed",
    "others_in",
    "reader_for",
]

READERS: tuple[Reader, ...] = (
    *(ParquetReader(), PackedReader(), CsvCifReader(), ExtxyzReader(), PoscarReader()),
    CifDirectoryReader(),
)
"""The first that recognises a path reads it: the last takes any directory."""


_PACKED = {".gz", ".bz2", ".xz", ".zst", ".zip", ".tar", ".tgz", ".7z"}


def reader_for(path: Path) -> Reader:
    """Return the reader of an existing path; `DataError` if there is nothing there or no reader knows it."""
    if not path.exists():
        raise DataError(f"{path}: no such file or directory; check the path, or use 'bundled' for the bundled data")
    if path.suffix.lower() in _PACKED and path.is_file():
        raise DataError(f"{path}: a packed file; unpack it first")
    for reader in READERS:
        if reader.recognises(path):
            return reader
    forms = "; ".join(reader.form for reader in READERS)
    raise DataError(f"{path}: not a form that can be read; give one of: {forms}")
