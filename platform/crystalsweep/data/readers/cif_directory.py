"""A directory of CIF files, or one CIF file; ids are the file names without `.cif`, there are no labels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from crystalsweep.artifacts.atomic import file_sha256
from crystalsweep.data.errors import DataError
from crystalsweep.data.readers._base import Reader, SourceRow, others_in
from crystalsweep.data.readers._cif import CifReading, read_cif
from crystalsweep.data.readers._cif_limits import too_many_characters


class CifDirectoryReader(Reader):
    """Files directly in the directory, sorted by name."""

    form = "a directory of .cif files or one .cif file"

    def recognises(self, path: Path) -> bool:
        """Return every directory, so that one without CIFs gets an error that says so."""
        return path.is_dir() or (path.is_file() and path.suffix.lower() == ".cif")

    def count(self, path: Path) -> int:
        """Return the number of files."""
        return len(_files(path))

    def content(self, path: Path) -> str:
        """Return a hash of the files, and of the names of what else lies there."""
        files = _files(path)
        others = others_in(path, files) if path.is_dir() else []
        parts = [*((file.name, file_sha256(file)) for file in files), *((other.name, "") for other in others)]
        return hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()

    def rows(self, path: Path, *, partial: bool = False) -> Iterator[SourceRow]:
        """Yield one row per file; `DataError` for a directory without CIFs."""
        files = _files(path)
        if not files:
            raise DataError(f"{path}: no .cif files in this directory; give the directory that holds them")
        note = _left_out(path, files)
        for file in files:
            outcome, notes, sites = _outcome(file, partial)
            yield SourceRow(file.name, file.stem, outcome, (*notes, *note), sites)


def _left_out(path: Path, files: list[Path]) -> tuple[str, ...]:
    """Return a note of what else lies in the directory."""
    others = others_in(path, files) if path.is_dir() else []
    if not others:
        return ()
    return (f"{len(others):,} other entries of {path.name} are not read, as {others[0].name}",)


def _outcome(file: Path, partial: bool) -> CifReading:
    """Return the crystal of a file, or why it is none, and notes on how it was read."""
    if problem := too_many_characters(file.stat().st_size):
        return CifReading(problem)
    return read_cif(file.read_text(encoding="utf-8", errors="replace"), file.stem, {}, partial=partial)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(file for file in path.iterdir() if file.suffix.lower() == ".cif" and file.is_file())
