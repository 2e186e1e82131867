"""POSCAR and CONTCAR, as VASP 5 and later write them: one structure per file, whose name is its id.

Lines: a comment, a scale (or three; a negative one is the volume), three lattice vectors, symbols, counts, perhaps
`Selective dynamics`, `Direct` or `Cartesian`, and a position per atom (vasp.at/wiki/POSCAR). Velocities after them
mean nothing here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crystalsweep.data.checks import Problem, unknown_symbols
from crystalsweep.data.readers._base import Reader, SourceRow, admit, is_masked, isotope_notes
from crystalsweep.data.readers._limits import MAX_ATOMS_READ, TOO_LARGE
from crystalsweep.data.readers._numbers import is_number, to_number, to_whole, words_of
from crystalsweep.structures.crystal import Crystal
from crystalsweep.structures.elements import atomic_number

BROKEN = "broken POSCAR"
REMEDY = "write it as VASP 5 does: comment, scale, three vectors, symbols, counts, Direct, positions"

MAX_BYTES = 8 << 20
"""Of one file: more than ten thousand atoms with velocities take."""

_NAME = re.compile(r"(?:POSCAR|CONTCAR).*", re.IGNORECASE | re.DOTALL)
_SUFFIXES = (".vasp", ".poscar")
_POTENTIAL = re.compile(r"[_/].*", re.DOTALL)
"""What VASP 6 and pseudopotentials add to a symbol, as in `Ti_pv` or `O/3a1c4f8b`."""


class PoscarReader(Reader):
    """One structure; without a line of symbols nobody knows the elements."""

    form = "a POSCAR or CONTCAR, or a .vasp file"

    def recognises(self, path: Path) -> bool:
        """Tell by the name whether a file is of this form."""
        return path.is_file() and (path.suffix.lower() in _SUFFIXES or _NAME.fullmatch(path.name) is not None)

    def count(self, path: Path) -> int:
        """Return 1."""
        del path
        return 1

    def rows(self, path: Path, *, partial: bool = False) -> Iterator[SourceRow]:
        """Yield the one row."""
        row_id = path.stem if path.suffix.lower() in _SUFFIXES else path.name
        if (size := path.stat().st_size) > MAX_BYTES:
            yield SourceRow(path.name, row_id, Problem(TOO_LARGE, f"{size:,} bytes", f"give at most {MAX_BYTES:,}"))
            return
        outcome, notes = _outcome(path.read_text(encoding="utf-8-sig", errors="replace"), row_id, partial)
        yield SourceRow(path.name, row_id, outcome, notes)


def _outcome(text: str, row_id: str, partial: bool) -> tuple[Crystal | Problem, tuple[str, ...]]:
    """Return the crystal of a text, or why it is none, and notes on how it was read."""
    lines = [words_of(line) for line in text.split("\n")]
    try:
        symbols, lattice, frac = _structure(lines)
    except (ValueError, IndexError, np.linalg.LinAlgError) as error:
        detail = "it ends too early" if isinstance(error, IndexError) else " ".join(str(error)[:200].split())
        return Problem(BROKEN, detail, REMEDY), ()
    if problem := unknown_symbols([each for each in dict.fromkeys(symbols) if not (partial and is_masked(each))]):
        return problem, ()
    species = [atomic_number(symbol) for symbol in symbols]
    return admit(row_id, species, lattice, frac, {}, partial=partial), isotope_notes(set(symbols))


def _structure(lines: list[list[str]]) -> tuple[list[str], NDArray[np.float64], NDArray[np.float64]]:
    """Return symbols of all atoms, (3, 3) lattice in Å and (N, 3) fractional coordinates."""
    scales = [to_number(word) for word in lines[1][:3] if is_number(word)]
    vectors = _vectors(lines[2:5])
    scale = _scaled(scales, vectors)
    if all(is_number(word) for word in lines[5]):
        raise ValueError("no line of symbols before the counts")
    counts = [to_whole(word) for word in lines[6][: len(lines[5])]]
    if len(counts) != len(lines[5]) or min(counts, default=0) < 1:
        raise ValueError(f"{len(lines[5])} symbols and {len(counts)} counts, each at least 1")
    if sum(counts) > MAX_ATOMS_READ:
        raise ValueError(f"{sum(counts):,} atoms, at most {MAX_ATOMS_READ:,} are read")
    at = 8 if "".join(lines[7])[:1] in ("S", "s") else 7
    mode = "".join(lines[at])[:1].lower()
    if mode not in ("d", "c", "k"):
        raise ValueError(f"line {at + 1} is neither Direct nor Cartesian")
    rows = lines[at + 1 : at + 1 + sum(counts)]
    if len(rows) < sum(counts):
        raise IndexError
    given = _vectors(rows)
    frac = given if mode == "d" else np.linalg.solve(vectors.T, given.T).T  # both are scaled
    symbols = [_POTENTIAL.sub("", symbol) for symbol in lines[5]]
    atoms = [symbol for symbol, n in zip(symbols, counts, strict=True) for _ in range(n)]
    return atoms, vectors * scale, np.asarray(frac, dtype=np.float64)


def _vectors(rows: list[list[str]]) -> NDArray[np.float64]:
    """Return (n, 3) the numbers that lines begin with."""
    if short := [row for row in rows if len(row) < 3]:
        raise ValueError(f"{' '.join(short[0])[:40]!r} stands where three numbers belong")
    return np.array([[to_number(word) for word in row[:3]] for row in rows], dtype=float)


def _scaled(scales: list[float], vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what lengths along x, y and z are multiplied with: (3,)."""
    if len(scales) not in (1, 3) or (len(scales) == 3 and min(scales) <= 0) or 0 in scales:
        raise ValueError("the second line is one scale, or three positive ones")
    if len(scales) == 3:
        return np.array(scales)
    if scales[0] > 0:
        return np.full(3, scales[0])
    return np.full(3, (-scales[0] / abs(np.linalg.det(vectors))) ** (1 / 3)) if np.linalg.det(vectors) else np.ones(3)
