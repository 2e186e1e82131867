"""What pages are made of: sections of tables and pictures."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """A row of cells: text, or a mapping with `mean`, `low` and `high`."""

    cells: list[Any]
    highlighted: bool = False


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of a section."""

    heads: list[str]
    rows: list[TableRow]
    title: str = ""
    note: str = ""
    folded: str = ""
    """Text to click on, where the table is hidden at first."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A plot with its caption."""

    title: str
    caption: str
    data: str
    """PNG in base64; empty where it was not drawn."""

    @classmethod
    def of(cls, path: Path, title: str = "", caption: str = "") -> Picture:
        """Read a picture from a PNG file."""
        return cls(title=title, caption=caption, data=base64.b64encode(path.read_bytes()).decode())


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading and what is below it."""

    title: str
    text: str = ""
    tables: list[Table] = field(default_factory=list)
    figures: list[Picture] = field(default_factory=list)
