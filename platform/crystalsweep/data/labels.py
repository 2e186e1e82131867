"""What labels crystals have, of whichever kind: numbers, classes, spectra."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crystalsweep.data.classes import classes_of, label_names
from crystalsweep.data.packed import label_values
from crystalsweep.data.readers import columns_without_label
from crystalsweep.data.reading import Note
from crystalsweep.data.spectra import column_names, has_spectrum
from crystalsweep.structures.crystal import Crystal


def has_label(crystals: Sequence[Crystal], label: str) -> NDArray[np.bool_]:
    """Return (M,) whether each crystal has a label: a number, a class, or a spectrum."""
    columns = [f"{label}={name}" for name in classes_of([crystals], label)]
    return np.any(
        [
            ~np.isnan(label_values(crystals, label)),
            *(label_values(crystals, name) > 0.5 for name in columns),
            has_spectrum(crystals, label),
        ],
        axis=0,
    )


def told_labels(crystals: Sequence[Crystal], asked: Sequence[str] = (), notes: Sequence[Note] = ()) -> str:
    """Return the labels that any of the crystals has, in a line; a spectrum stands there once, with its grid.

    Of those that are `asked` for, `notes` on how the file was read say which stand in it and are read as none, and why.
    """
    there = ", ".join(column_names(label_names(crystals))) or "none at all"
    why = dict.fromkeys(each for label in asked for each in _why_none(label, notes))
    return "; ".join((there, *why))


def _why_none(label: str, notes: Sequence[Note]) -> list[str]:
    """Return the notes that say why a column is no label, each with what to do."""
    says = [note.says for note in notes if label in columns_without_label(note.says)]
    return [each if "; " in each else f"{each}; to learn texts as classes, rename it class({label})" for each in says]
