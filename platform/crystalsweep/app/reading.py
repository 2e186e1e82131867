"""An upload becomes crystals, under the readers' limits: what `crystalsweep.read` reads, and CIFs with masked sites."""

from __future__ import annotations

import re
import tempfile
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from crystalsweep.app.request import MAX_ATOMS, MistakenError, SitesRequest, said
from crystalsweep.data.checks import Problem
from crystalsweep.data.partial_cif import partial_from_cif
from crystalsweep.data.readers import SourceRow, admit, reader_for
from crystalsweep.data.reading import Reject
from crystalsweep.structures.crystal import MASK, N_ELEMENTS, Crystal
from crystalsweep.structures.elements import atomic_number

MAX_ROWS = 100
"""Crystals of a file that are offered; the first."""

_MAX_TOLD = 5
"""Rejects that are told."""

_PASTED = "pasted.cif"


class Upload(NamedTuple):
    """What a file holds."""

    crystals: list[Crystal]
    """Not empty."""
    notes: list[str]
    """What the user must know: rows that were refused or left out, and how others were read."""


def read_upload(name: str, content: bytes) -> Upload:
    """Return the crystals of a file of any form that can be read; masked sites have species `MASK`.

    Args:
        name: Of the file; its suffix tells the form. Empty where the text of a CIF was pasted.
        content: As uploaded.

    Raises:
        MistakenError: None can be used, with the reason and what to do.
    """
    if not content.strip():
        raise MistakenError([("upload", "there is nothing in it; give a CIF")])
    name = _plain_name(name)
    try:
        rows = _rows(name, content)
    except ValueError as error:
        raise MistakenError([("upload", str(error))]) from error
    notes = list(dict.fromkeys(f"{row.where}: {note}" for row in rows for note in row.notes))
    if len(rows) > MAX_ROWS:
        rows, notes = rows[:MAX_ROWS], [*notes, f"the first {MAX_ROWS} crystals of the file are offered"]
    crystals = [row.outcome for row in rows if isinstance(row.outcome, Crystal)]
    fit = [crystal for crystal in crystals if len(crystal) <= MAX_ATOMS]
    told = [_refused(row) for row in rows if isinstance(row.outcome, Problem)]
    told += [
        f"{crystal.id}: {len(crystal):,} atoms; give at most {MAX_ATOMS:,}"
        for crystal in crystals[: len(rows)]
        if len(crystal) > MAX_ATOMS
    ]
    more = [f"and {len(told) - _MAX_TOLD} more"] if len(told) > _MAX_TOLD else []
    if not fit:
        raise MistakenError([("upload", says) for says in [*told[:_MAX_TOLD], *more] or ["no crystal is in it"]])
    return Upload(fit, [*notes, *told[:_MAX_TOLD], *more])


def partial_of(request: SitesRequest, masked: list[int]) -> Crystal:
    """Return a crystal whose given sites, and those of no element, are masked. Raises `MistakenError`."""
    species = [MASK if symbol is None else atomic_number(symbol) for symbol in request.elements]
    unknown = [symbol for symbol, z in zip(request.elements, species, strict=True) if symbol is not None and z == MASK]
    if unknown:
        raise MistakenError([("crystal", f"{unknown[0]!r} is no element")])
    if beyond := [site for site in masked if site >= len(species)]:
        raise MistakenError([("masked", f"there is no site {beyond[0] + 1}; there are {len(species)}")])
    hidden = np.array(species, dtype=np.int64)
    hidden[masked] = MASK
    stand_in = next(z for z in range(N_ELEMENTS, 0, -1) if not (hidden == z).any())
    whole = admit(request.name, np.where(hidden == MASK, stand_in, hidden), request.lattice, request.frac, {})
    if isinstance(whole, Problem):
        raise MistakenError([("crystal", said(whole))])
    return Crystal.of(request.name, hidden, request.lattice, request.frac).with_min_edge(whole.min_edge)


def _rows(name: str, content: bytes) -> list[SourceRow]:
    if name.lower().endswith(".cif"):
        return [SourceRow(name, Path(name).stem, partial_from_cif(content.decode(errors="replace"), Path(name).stem))]
    with tempfile.TemporaryDirectory(prefix="crystalsweep-app-") as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        return list(islice(reader_for(path).rows(path), MAX_ROWS + 1))


def _plain_name(name: str) -> str:
    """Return a name that is one of a file in any folder, with its suffix."""
    plain = re.sub(r"[^\w.+-]", "_", name.replace("\\", "/").rpartition("/")[2])[-60:].lstrip(".")
    return plain or _PASTED


def _refused(row: SourceRow) -> str:
    assert isinstance(row.outcome, Problem)
    return str(Reject(where=row.where, id=row.id, **row.outcome._asdict()))
