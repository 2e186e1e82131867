"""Extended XYZ: frames of `N`, a comment line with `Lattice="…" Properties=…`, and N lines of atoms.

Read here rather than by a library, so that one broken frame does not stop the reading of the others. Keys of
the comment line that hold numbers, in at least half of the frames that have them, are labels; the id is its
`material_id` or `id`. A key `spectrum(phonon_dos,0:30:64:THz)` holds a list of numbers (`data.spectra`).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crystalsweep.data.checks import Problem, unknown_symbols
from crystalsweep.data.errors import DataError
from crystalsweep.data.readers._base import (
    ID_COLUMNS,
    MAX_ID,
    MISSING_ID,
    NO_LABELS,
    Numbered,
    Reader,
    SourceRow,
    admit,
    is_masked,
    is_mixed,
    isotope_notes,
    missing_label_notes,
    no_label_note,
)
from crystalsweep.data.readers._numbers import is_number, to_number, to_whole, words_of
from crystalsweep.data.spectra import Spectra
from crystalsweep.structures.crystal import MASK, Crystal
from crystalsweep.structures.elements import atomic_number, element_symbol

BROKEN = "broken frame"
DEFAULT_PROPERTIES = "species:S:1:pos:R:3"
NINE_NUMBERS = 'Lattice="ax ay az bx by bz cx cy cz"'

_QUOTED = r'"(?:[^"\\]|\\.)*"'
_NAME = r'(?:"(?:[^"\\]|\\.){0,200}+"|(?<![^\s="])[^\s="]++)'
_PAIR = re.compile(rf"({_NAME})\s*+=\s*+({_QUOTED}|\[(?:[^\[\]]|\[[^\[\]]*\])*\]|\{{[^{{}}]*\}}|\S+)", re.ASCII)
"""Read in one pass: from no character on is the rest looked through twice, whatever is in the line."""

_WORD = re.compile(rf"{_QUOTED}|[^\s=\"]+(?=\s|$)", re.ASCII)
_BLANKS = re.compile(r"\s*")
_ROW = r"\[([^\[\]]*)\]"
_NESTED = re.compile(rf"\[\s*{_ROW}\s*,\s*{_ROW}\s*,\s*{_ROW}\s*\]")
_LIST = re.compile(r"\[([^\[\]]*)\]|\{([^{}]*)\}")
_COUNT = re.compile(r"\s*\d{1,9}\s*$", re.ASCII)

_OCCUPANCY = {"occupancy", "occupancies", "occ"}

_PERIODIC = {"t": True, "true": True, "1": True, "f": False, "false": False, "0": False}
"""Every spelling of a boolean, in lower case."""

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
"""What a letter after a backslash stands for; any other character stands for itself."""

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

    def rows(self, path: Path, *, partial: bool = False) -> Iterator[SourceRow]:
        """Yield one row per frame; `DataError` for a file without any."""
        lines = path.read_text(encoding="utf-8-sig", errors="replace").split("\n")
        if not any(line.strip() for line in lines):
            raise DataError(f"{path}: no frames in this file; export it again")
        numbered, frames = Numbered(path), [_understood(frame) for frame in _frames(lines)]
        infos = [frame[0] for frame in frames if not isinstance(frame, Problem)]
        spectra = Spectra(path, dict.fromkeys(key for info in infos for key in info))
        labels = [name for name in _label_names(infos) if name not in spectra.columns]
        others = {key for info in infos for key in info if key.lower() not in NO_LABELS}
        others -= {*labels, *spectra.columns}
        for number, frame in enumerate(frames, start=1):
            where = f"{path.name} frame {number}"
            if isinstance(frame, Problem):
                yield SourceRow(where, numbered[number], frame)
                continue
            info, atoms = frame
            given = next((info[name] for name in ID_COLUMNS if name in info), None)
            row_id = numbered[number] if given is None else given
            values = {name: info[name] for name in labels if name in info}
            notes = missing_label_notes(name for name in values if not is_number(values[name]))
            notes += no_label_note(sorted(others & set(info)))
            notes += [Numbered.NOTE] if given is None else []
            found = {name: to_number(value) for name, value in values.items() if is_number(value)}
            read = spectra.labels({name: info[name] or None for name in spectra.columns if name in info})
            curves, wrong = ({}, read) if isinstance(read, Problem) else (read, None)
            outcome, how = _outcome(row_id, info, atoms, found | curves, partial) if row_id else (MISSING_ID, ())
            if wrong is not None and not isinstance(outcome, Problem):
                outcome = wrong
            yield SourceRow(where, row_id[:MAX_ID], outcome, (*notes, *how))


def _understood(frame: _Frame) -> tuple[dict[str, str], list[str]] | Problem:
    """Return the pairs of the comment line, and the lines of atoms."""
    if isinstance(frame, Problem):
        return frame
    info = _info(frame[0])
    return info if isinstance(info, Problem) else (info, frame[1])


def _frames(lines: list[str]) -> Iterator[_Frame]:
    """Yield frames, and what lies between them as a problem of its own.

    A frame ends where the next begins: at a line that holds only a number, as no line of atoms does. One with more or
    fewer lines of atoms than it promises is broken; a line that is none of atoms costs no frame.
    """
    start = 0
    while start < len(lines):
        if not lines[start].strip():
            start += 1
            continue
        after = next((i for i in range(start + 1, len(lines)) if _COUNT.match(lines[i])), len(lines))
        if not _COUNT.match(lines[start]):
            found = lines[start].strip()[:40]
            yield Problem(BROKEN, f"line {start + 1}: expected a number of atoms, found {found!r}", "repair the line")
            start = next((i for i in range(start + 1, len(lines)) if _COUNT.match(lines[i])), len(lines))
            continue
        promised, following = int(lines[start]), lines[start + 2 : after]
        atoms, rest = following[:promised], following[promised:]
        more = [line for line in rest if line.strip()]
        extra = [line for line in more if atoms and len(line.split()) == len(atoms[0].split())]
        if after == start + 1 or len(atoms) < promised or extra:
            there = len([line for line in atoms if line.strip()]) + len(extra)
            yield Problem(BROKEN, f"line {start + 1}: {promised} atoms promised, {there} there", "repair the number")
        else:
            yield lines[start + 1], atoms
            if more:
                detail = f"after line {start + 2 + promised}: {more[0].strip()[:40]!r} belongs to no frame"
                yield Problem("stray lines", detail, "remove them")
        start = after


def _info(comment: str) -> dict[str, str] | Problem:
    """Return `key=value` pairs of the comment line, without quotes and what they escape.

    What could be read in two ways is a problem: a quote that is not closed, a key without a value or with two, and
    `pbc=T F F` without quotes. Other words between the pairs mean nothing here.
    """
    info: dict[str, str] = {}
    line, key, at = comment.strip(), "", 0
    while at < len(line):
        if pair := _PAIR.match(line, at):
            key, value = _plain(pair[1]), pair[2]
            unclosed = value.startswith('"') and not re.fullmatch(_QUOTED, value)
            if unclosed or ("=" in value and line[pair.start(2) - 1].isspace()):
                return Problem(
                    BROKEN, f"{key[:40]} has the value {value[:40]!r}", "give each key a value, in closed quotes"
                )
            if key.lower() in NO_LABELS and key.lower() in map(str.lower, info):
                return Problem(BROKEN, f"{key} is given twice", "give each key once")
            info[key] = "" if key in info else _plain(value)  # of two labels of one name none is known
        elif not (pair := _WORD.match(line, at)):
            return Problem(BROKEN, f"the comment line goes on as {line[at : at + 40]!r}", "close its quotes")
        elif key.lower() == "pbc" and pair[0].lower() in _PERIODIC:
            return Problem("not periodic", f"pbc={info[key]} {pair[0]}", 'write pbc="T T T", in quotes')
        at = _BLANKS.match(line, pair.end()).end()  # type: ignore[union-attr]
    return info


def _plain(text: str) -> str:
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[1]), text[1:-1])


def _not_periodic(pbc: str) -> bool:
    """Return whether a value of `pbc` is anything but one or three times true."""
    words = pbc.strip("[]{}").replace(",", " ").lower().split()
    return len(words) not in (1, 3) or not all(_PERIODIC.get(word, False) for word in words)


def _shares_sites(occupancy: str) -> bool:
    """Return whether ASE's `occupancy`, by kind of site the share of each element, is of other than whole atoms."""
    try:
        kinds = json.loads(occupancy.removeprefix("_JSON "))
        return any(map(is_mixed, kinds.values()))
    except (ValueError, AttributeError, TypeError, RecursionError):
        return False


def _outcome(
    row_id: str, info: dict[str, str], lines: list[str], labels: dict[str, float], partial: bool
) -> tuple[Crystal | Problem, tuple[str, ...]]:
    """Return the crystal of a frame, or why it is none, and notes on how it was read."""
    named = {key.lower(): value for key, value in info.items()}
    if "lattice" not in named:
        return Problem("no lattice", "", f"add {NINE_NUMBERS} to the comment line"), ()
    if _not_periodic(named.get("pbc", "T T T")):
        remedy = "only crystals, periodic in three directions, are read"
        return Problem("not periodic", f"pbc={named['pbc']!r}", remedy), ()
    if _shares_sites(named.get("occupancy", "")):
        detail = "the comment line's occupancy has sites that several elements share, or that are not full"
        return Problem("partial occupancy", detail, "give the CIF that it comes from, or an ordered approximant"), ()
    try:
        lattice = _lattice(named["lattice"])
        columns = _columns(named.get("properties", DEFAULT_PROPERTIES))
        symbols, cart = _atoms(lines, columns, partial)
    except (ValueError, KeyError, IndexError) as error:
        detail = f"{type(error).__name__}: {str(error)[:200]}"
        return Problem(BROKEN, detail, "check Lattice, Properties and the lines of atoms"), ()
    if problem := unknown_symbols([symbol for symbol in symbols if not (partial and is_masked(symbol))]):
        return problem, ()
    species = [atomic_number(symbol) for symbol in symbols]
    frac = _fractional(cart, lattice)
    return admit(row_id, species, lattice, frac, labels, partial=partial), isotope_notes(set(symbols))


def _lattice(text: str) -> NDArray[np.float64]:
    """Return (3, 3), rows the cell vectors: nine numbers one after another, or three lists of three.

    As the format's description at github.com/libAtoms/extxyz has it: "3x3 matrix - rows are cell vectors" and "9-vector
    - 3 cell vectors concatenated".
    """
    form = _NESTED.fullmatch(text.strip()) or _LIST.fullmatch(text.strip())
    rows = [row for row in form.groups() if row is not None] if form else [text]
    numbers = [[to_number(word) for word in words_of(row.replace(",", " "))] for row in rows]
    if [len(row) for row in numbers] not in ([3, 3, 3], [9]):
        raise ValueError(f"Lattice={text[:60]}: neither nine numbers nor three lists of three; write {NINE_NUMBERS}")
    return np.array(numbers, dtype=np.float64).reshape(3, 3)


def _columns(properties: str) -> dict[str, slice]:
    """Return which cells of a line hold which property, e.g. `species:S:1:pos:R:3`."""
    fields = iter(properties.split(":"))
    columns: dict[str, slice] = {}
    start = 0
    while triple := list(islice(fields, 3)):
        name, _, width = triple
        if name in columns:
            raise ValueError(f"Properties gives {name} twice")
        columns[name] = slice(start, start := start + to_whole(width))
    return columns


def _atoms(lines: list[str], columns: dict[str, slice], partial: bool) -> tuple[list[str], NDArray[np.float64]]:
    """Return symbols, also of atomic numbers (`Z:I:1`), and (N, 3) Cartesian coordinates, Å."""
    cells = [words_of(line) for line in lines]
    for name in columns:
        if name.lower() in _OCCUPANCY and any(to_number(cell[columns[name].start]) != 1 for cell in cells):
            raise ValueError(f"{name} is not 1 everywhere: use an ordered approximant")
    zs = [to_whole(cell[columns["Z"].start]) for cell in cells] if "Z" in columns else []
    numbered = ["X" if partial and z == MASK else element_symbol(z) for z in zs]
    symbols = [cell[columns["species"].start] for cell in cells] if "species" in columns else numbered
    if numbered and [atomic_number(symbol) for symbol in symbols] != [atomic_number(each) for each in numbered]:
        raise ValueError("species and Z are of different elements")
    if not numbered and "species" not in columns:
        raise KeyError("species")
    cart = [[to_number(word) for word in cell[columns["pos"]]] for cell in cells]
    return symbols, np.array(cart, dtype=np.float64).reshape(-1, 3)


def _fractional(cart: NDArray[np.float64], lattice: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return f = x L⁻¹; NaN for a singular lattice, whose own check comes first."""
    try:
        return np.asarray(np.linalg.solve(lattice.T, cart.T).T, dtype=np.float64)
    except np.linalg.LinAlgError:
        return np.full_like(cart, np.nan)


def _label_names(infos: list[dict[str, str]]) -> list[str]:
    """Return the keys of labels: those whose values are numbers in at least half of the frames that have them."""
    numbers = Counter(key for info in infos for key, value in info.items() if is_number(value))
    there = Counter(key for info in infos for key in info if key.lower() not in NO_LABELS)
    return [key for key, frames in there.items() if numbers[key] and 2 * numbers[key] >= frames]
