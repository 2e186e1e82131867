"""An upload becomes partial crystals, of any form and under the limits of its reader."""

from __future__ import annotations

import re
import tempfile
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from crystalsweep.app.request import MAX_ATOMS, MistakenError
from crystalsweep.data.masking import partial_rows
from crystalsweep.data.readers import SourceRow
from crystalsweep.data.reading import Reject
from crystalsweep.inference.inputs import Partial, partial_of_row
from crystalsweep.inference.ordering import Shape, shape_of

MAX_ROWS = 100
"""Crystals of a file that are offered; the first."""

_MAX_TOLD = 5
"""Rejects that are told."""

_PASTED = "pasted.cif"
_LONGEST_NAME = 60


class Upload(NamedTuple):
    """What a file holds."""

    partials: list[Partial]
    """Not empty."""
    notes: list[str]
    """What was refused or left out."""


def read_upload(name: str, content: bytes, supercell: str = "") -> Upload:
    """Return the crystals of a file of any form that can be read; masked and shared sites have species `MASK`.

    Args:
        name: Of the file, which tells its form. Empty where the text of a CIF was pasted.
        content: As uploaded.
        supercell: In which shared sites are ordered; empty for the smallest that can be.

    Raises:
        MistakenError: None can be used, with the reason and what to do.
    """
    if not content.strip():
        raise MistakenError([("upload", "there is nothing in it; give a CIF")])
    rows = _rows(_plain_name(name), content)
    notes = [f"only the first {MAX_ROWS} crystals of the file are offered"] if len(rows) > MAX_ROWS else []
    shape = _shape(supercell)
    made = [partial_of_row(row, max_atoms=MAX_ATOMS, supercell=shape) for row in rows[:MAX_ROWS]]
    partials = [each for each in made if isinstance(each, Partial)]
    refused = [str(each) for each in made if isinstance(each, Reject)]
    told = [*refused[:_MAX_TOLD], *([f"and {len(refused) - _MAX_TOLD} more"] if len(refused) > _MAX_TOLD else [])]
    if not partials:
        field = "supercell" if shape else "upload"
        raise MistakenError([(field, says) for says in told or ["no crystal is in it"]])
    return Upload(partials, [*notes, *told])


def _shape(supercell: str) -> Shape | None:
    try:
        return shape_of(supercell) if supercell.strip() else None
    except ValueError as error:
        raise MistakenError([("supercell", str(error))]) from error


def _rows(name: str, content: bytes) -> list[SourceRow]:
    with tempfile.TemporaryDirectory(prefix="crystalsweep-app-") as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        return list(islice(partial_rows(path), MAX_ROWS + 1))


def _plain_name(name: str) -> str:
    """Return the name of a file, whatever folders it names, with its suffix."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return re.sub(r"[^\w.+-]", "_", last)[-_LONGEST_NAME:].lstrip(".") or _PASTED
