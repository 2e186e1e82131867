"""Crystals that come with the package, by the name that stands for their file; each folder has a `DATA_CARD.md`."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent
_FILES = {
    "bundled": _FOLDER / "bundled" / "crystals.parquet",
    "mp2018-heldout": _FOLDER / "heldout" / "mp2018.parquet",
    "phonon-dos-sevennet": _FOLDER / "phonons" / "sevennet.parquet",
}
SHIPPED = tuple(_FILES)
"""Their names."""


def is_shipped(source: str) -> bool:
    """Return whether a source is the name of a shipped file, and no file or folder of that name is there."""
    return source in _FILES and not Path(source).exists()


def file_of(source: Path) -> Path:
    """Return the shipped file of that name; any other source as it is."""
    return _FILES[str(source)] if is_shipped(str(source)) else source
