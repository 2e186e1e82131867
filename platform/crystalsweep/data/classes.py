"""Classes as labels: the column `class(ordering)` of a file, and the labels `ordering=FM` that it becomes.

A crystal's labels are numbers. One of class FM has the label `ordering=FM`, which is 1; a file may have such columns
itself, of ones and zeros. Which class a crystal is of is then the one whose label is 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crystalsweep.data.errors import DataError
from crystalsweep.data.packed import Crystals, ids_of, label_values
from crystalsweep.structures.crystal import Crystal

MOST_CLASSES = 64
"""Of one label."""

LONGEST_CLASS = 64
"""Characters of a class's name."""

CLASS_COLUMN = re.compile(r"class\(\s*(?P<label>[^<>=()\s]+)\s*\)")
"""What a column of classes is called."""

_NAMED = 3
"""Crystals that a message names."""


def class_label(column: str, value: object) -> str | None:
    """Return the label that a cell of a class column means, `ordering=FM`; None of an empty cell. Booleans are `true`
    and `false`. Raises `ValueError` of a text that is too long to name a class."""
    text = ("true" if value else "false") if isinstance(value, bool) else " ".join(str(value).split())
    if value is None or not text:
        return None
    if len(text) > LONGEST_CLASS:
        raise ValueError(
            f"{column} holds a text of more than {LONGEST_CLASS} characters, which is no class: {text[:40]}…"
        )
    found = CLASS_COLUMN.fullmatch(column)
    assert found
    return f"{found['label']}={text}"


class Classes:
    """The classes of each class column of a file, as rows give them; more than `MOST_CLASSES` of one are refused."""

    def __init__(self, path: Path, columns: Iterable[str]) -> None:
        self.columns = [name for name in columns if CLASS_COLUMN.fullmatch(name)]
        self._path = path
        self._seen: dict[str, set[str]] = {name: set() for name in self.columns}

    def labels(self, cells: Mapping[str, object]) -> dict[str, float]:
        """Return the labels of a row with these cells by column, each 1. Raises `DataError` where the classes of a
        column are too many, or too long."""
        found = {}
        for column, seen in self._seen.items():
            try:
                label = class_label(column, cells.get(column))
            except ValueError as error:
                raise DataError(f"{self._path}: {error}") from None
            if label is None:
                continue
            seen.add(label)
            if len(seen) > MOST_CLASSES:
                raise DataError(
                    f"{self._path}: {column} has more than {MOST_CLASSES} different classes; give fewer, or rename it "
                    "to be read as no label"
                )
            found[label] = 1.0
        return found


def label_names(crystals: Sequence[Crystal]) -> list[str]:
    """Return the labels that any of the crystals has, sorted."""
    if isinstance(crystals, Crystals):
        return crystals.label_names()
    return sorted({name for crystal in crystals for name in crystal.labels})


def classes_of(parts: Iterable[Sequence[Crystal]], label: str) -> tuple[str, ...]:
    """Return the classes of a label that any crystal of some parts is of, sorted; none where it has none."""
    begins = f"{label}="
    return tuple(
        sorted(
            {
                name.removeprefix(begins)
                for part in parts
                for name in label_names(part)
                if name.startswith(begins) and (label_values(part, name) > 0.5).any()
            }
        )
    )


def class_values(crystals: Sequence[Crystal], label: str, classes: Sequence[str]) -> NDArray[np.float64]:
    """Return (M,) index of each crystal's class among `classes`; NaN where it has none.

    Raises:
        ValueError: A crystal is of two classes, or of one that is not among them; names crystals.
    """
    there = classes_of([crystals], label)
    every = (*classes, *(name for name in there if name not in classes))
    member = np.array([label_values(crystals, f"{label}={name}") > 0.5 for name in every]).reshape(len(every), -1)
    many = np.asarray(member.sum(axis=0) > 1)
    strange = np.asarray(member[len(classes) :].any(axis=0))
    if many.any():
        raise ValueError(f"{label}: {_count(many)} of two classes, as {_named(crystals, many)}; give each one")
    if strange.any():
        raise ValueError(
            f"{label}: {_count(strange)} of a class that is none of {', '.join(classes)}: "
            f"{', '.join(every[len(classes) :])}, as {_named(crystals, strange)}; leave these out"
        )
    return np.where(member.any(axis=0), member.argmax(axis=0).astype(np.float64), np.nan)


def _count(chosen: NDArray[np.bool_]) -> str:
    n = int(chosen.sum())
    return f"{n:,} crystal{' is' if n == 1 else 's are'}"


def _named(crystals: Sequence[Crystal], chosen: NDArray[np.bool_]) -> str:
    ids = ids_of(crystals)
    return ", ".join(ids[i] for i in np.flatnonzero(chosen)[:_NAMED])
