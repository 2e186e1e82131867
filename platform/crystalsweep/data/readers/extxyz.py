"""Extended XYZ: frames of `N`, a comment line with `Lattice="…" Properties=…`, and N lines of atoms.

Read here rather than by a library, so that one broken frame does not stop the reading of the others. Numbers in the
comment line become labels; the id is its `material_id` or `id`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crystalsweep.data.checks import Problem, unknown_symbols
from crystalsweep.data.errors import DataError
from crystalsweep.data.readers._base import ID_COLUMNS, Reader, SourceRow, admit
from crystalsweep.structures.crystal import Crystal
from crystalsweep.structures.elements import atomic_number

BROKEN = "broken frame"
DEFAULT_PROPERTIES = "species:S:1:pos:R:3"
RESERVED = {"lattice", "properties", "pbc", *ID_COLUMNS}

_PAIR = re.compile(r"""("[^"]*"|[^\s="]+)=("[^"]*"|\[[^\]]*\]|\{[^}]*\}|\S+)""")
_COUNT = re.compile(r"\s*\d+\s*$")

_Frame = tuple[str, list[str]] | Problem
"""Comment line and lines of atoms."""


class ExtxyzReader(Reader):
    """Periodic frames; those with a non-periodic direction are rejected."""

    form = "an .extxyz or .xyz file with lattices"

    def recognises(self, path: Path) -> bool:
        """Tell by the suffix whether a file is of this form."""
        return path.is_file() and path.suffix.lower() in (".extxyz", ".xyz")

    def count(self, path: Path) -> None:
        """Return None: the number of frames is unknown before reading."""

    def rows(self, path: Path) -> Iterator[SourceRow]:
        """Yield one row per frame; `DataError` for a file without any."""
        lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
        if not any(line.strip() for line in lines):
            raise DataError(f"{path}: no frames in this file; export it again")
        for number, frame in enumerate(_frames(lines), start=1):
            row_id = f"{path.stem}-{number}"
            if isinstance(frame, Problem):
                yield SourceRow(f"{path.name} frame {number}", row_id, frame)
                continue
            info = _info(frame[0])
            row_id = next((info[name] for name in ID_COLUMNS if name in info), row_id)
            yield SourceRow(f"{path.name} frame {number}", row_id, _outcome(row_id, info, frame[1]))


def _frames(lines: list[str]) -> Iterator[_Frame]:
    """Yield frames; after a broken one, reading goes on at the next line that holds only a number: no line of atoms
    does."""
    start = 0
    while start < len(lines):
        if not lines[start].strip():
            start += 1
            continue
        counted = _COUNT.match(lines[start]) is not None
        end = start + 2 + int(lines[start]) if counted else len(lines)
        resume = next((i for i in range(start + 2, min(end, len(lines))) if _COUNT.match(lines[i])), end)
        if not counted:
            found = lines[start].strip()[:40]
            yield Problem(BROKEN, f"line {start + 1}: expected a number of atoms, found {found!r}", "repair the line")
        elif resume < end or end > len(lines):
            present = min(resume, len(lines)) - start - 2
            yield Problem(BROKEN, f"line {start + 1}: {lines[start].strip()} atoms promised, {max(present, 0)} there")
        else:
            yield lines[start + 1], lines[start + 2 : end]
        start = resume


def _info(comment: str) -> dict[str, str]:
    """Return `key=value` pairs of the comment line, quotes removed."""
    return {key.strip('"'): value.strip('"') for key, value in _PAIR.findall(comment)}


def _outcome(row_id: str, info: dict[str, str], lines: list[str]) -> Crystal | Problem:
    named = {key.lower(): value for key, value in info.items()}
    if "lattice" not in named:
        return Problem("no lattice", "", 'add Lattice="ax ay az bx by bz cx cy cz" to the comment line')
    if set(named.get("pbc", "T").strip("[]").replace(",", " ").split()) & {"F", "False", "0"}:
        return Problem("not periodic", f"pbc={named['pbc']!r}", "only crystals, periodic in three directions, are read")
    try:
        lattice = np.array(named["lattice"].split(), dtype=np.float64).reshape(3, 3)
        columns = _columns(named.get("properties", DEFAULT_PROPERTIES))
        symbols, cart = _atoms(lines, columns)
    except (ValueError, KeyError, IndexError) as error:
        return Problem(BROKEN, f"{type(error).__name__}: {error}", "check Lattice, Properties and the lines of atoms")
    if problem := unknown_symbols(symbols):
        return problem
    return admit(row_id, [atomic_number(s) for s in symbols], lattice, _fractional(cart, lattice), _labels(info))


def _columns(properties: str) -> dict[str, slice]:
    """Return which cells of a line hold which property, e.g. `species:S:1:pos:R:3`."""
    fields = iter(properties.split(":"))
    columns: dict[str, slice] = {}
    start = 0
    while triple := list(islice(fields, 3)):
        name, _, width = triple
        columns[name] = slice(start, start := start + int(width))
    return columns


def _atoms(lines: list[str], columns: dict[str, slice]) -> tuple[list[str], NDArray[np.float64]]:
    """Return symbols and (N, 3) Cartesian coordinates, Å."""
    cells = [line.split() for line in lines]
    symbols = [cell[columns["species"].start] for cell in cells]
    return symbols, np.array([cell[columns["pos"]] for cell in cells], dtype=np.float64).reshape(-1, 3)


def _fractional(cart: NDArray[np.float64], lattice: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return f = x L⁻¹; NaN for a singular lattice, whose own check comes first."""
    try:
        return np.asarray(np.linalg.solve(lattice.T, cart.T).T, dtype=np.float64)
    except np.linalg.LinAlgError:
        return np.full_like(cart, np.nan)


def _labels(info: dict[str, str]) -> dict[str, float]:
    labels = {}
    for key, value in info.items():
        if key.lower() not in RESERVED:
            try:
                labels[key] = float(value)
            except ValueError:
                continue  # text, flags and vectors are no labels
    return labels
