"""Masking sites of a crystal: those of an element, those that the file counts, or atoms; and a crystal's whole rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from crystalsweep.artifacts.atomic import file_sha256
from crystalsweep.data.checks import Problem
from crystalsweep.data.errors import DataError
from crystalsweep.data.readers import READERS, FileSites, SourceRow, others_in, reader_for
from crystalsweep.structures.crystal import MASK, Crystal
from crystalsweep.structures.elements import element_symbol

UNREADABLE = "not readable"


@dataclass(frozen=True, kw_only=True)
class Masking:
    """What is masked of a crystal beside what its file masks; nothing, unless told."""

    elements: frozenset[int] = frozenset()
    """All atoms of these, by atomic number; one that is not there does not matter if another is."""
    sites: tuple[int, ...] = ()
    """Numbers as the file counts its sites, from 1, with all copies by symmetry."""
    atoms: tuple[int, ...] = ()
    """Numbers of atoms of the whole cell, from 1, in the order in which it was read."""

    def __bool__(self) -> bool:
        return bool(self.elements or self.sites or self.atoms)


def masked(crystal: Crystal, masking: Masking, sites: FileSites) -> tuple[Crystal, FileSites] | Problem:
    """Return the crystal with more sites masked, and its sites, of which those that were masked whole are no mixtures.

    Args:
        crystal: Perhaps masked already.
        masking: What is masked.
        sites: Which of the file each atom is of.
    """
    count, n = int(sites.numbers.max()), len(crystal)
    if wrong := [number for number in masking.sites if not 1 <= number <= count or number not in sites.numbers]:
        return Problem("no such site", f"site {wrong[0]}; the file has {count}", "count its rows of atoms from 1")
    if wrong := [number for number in masking.atoms if not 1 <= number <= n]:
        return Problem("no such atom", f"atom {wrong[0]}; there are {n}", "count the atoms of the cell from 1")
    there = set(crystal.species.tolist()) | {z for shares in sites.mixtures.values() for z in shares}
    if masking.elements and not masking.elements & there and not there & {MASK}:
        asked, has = _named(masking.elements), _named(there - {MASK})
        return Problem("nothing to mask", f"no {asked} in it; it has {has}", "name one of its elements")
    shared = [number for number, shares in sites.mixtures.items() if masking.elements & shares.keys()]
    hidden = np.isin(crystal.species, [*masking.elements]) | np.isin(sites.numbers, [*masking.sites, *shared])
    hidden[[number - 1 for number in masking.atoms]] = True
    species = np.where(hidden, MASK, crystal.species)
    whole = {int(number) for number in sites.numbers[hidden]}
    mixtures = {number: shares for number, shares in sites.mixtures.items() if number not in whole}
    return replace(crystal, species=species), sites._replace(mixtures=mixtures)


def hidden_too(crystal: Crystal, masking: Masking, sites: FileSites) -> Iterator[str]:
    """Yield what `masked` makes of elements that are not there, and of sites that others share with those that are.

    Args:
        crystal: As it was before.
        masking: What is masked.
        sites: Which of the file each atom is of.
    """
    there = set(crystal.species.tolist()) | {z for shares in sites.mixtures.values() for z in shares}
    if absent := masking.elements - there:
        yield f"nothing of {_named(absent)} is there to mask"
    for shares in sites.mixtures.values():
        asked, others = masking.elements & shares.keys(), shares.keys() - masking.elements
        if asked and others:
            yield f"sites that {_named(asked)} shares with {_named(others)} are masked as a whole: no share is kept"


def partial_rows(path: Path) -> Iterator[SourceRow]:
    """Yield every row of a file, or of all files of a folder, as partial crystals; what cannot be read is a `Problem`.

    A folder's files are read one after the other, whatever their forms; what is of no form that can be read is left
    out, and so are folders in it.
    """
    if not path.exists():
        problem = Problem(UNREADABLE, "no such file or directory", "check the path")
        yield SourceRow(str(path), path.name, problem)
        return
    files = _files(path)
    if not files:
        problem = Problem(
            UNREADABLE, "no file in it is of a form that can be read", "give a folder with crystals in it"
        )
        yield SourceRow(str(path), path.name, problem)
    for file in files:
        try:
            yield from reader_for(file).rows(file, partial=True)
        except (DataError, OSError) as error:
            reason, _, remedy = str(error).removeprefix(f"{file}: ").partition("; ")
            yield SourceRow(file.name, file.stem, Problem(UNREADABLE, reason, remedy))


def left_out(paths: Iterable[Path]) -> Iterator[str]:
    """Yield, for each folder, how many entries of it are of no form that can be read, and the first of them."""
    for folder in (path for path in paths if path.is_dir()):
        others = others_in(folder, _files(folder))
        if others:
            entries = "entry is" if len(others) == 1 else "entries are"
            yield f"{folder}: {len(others):,} other {entries} not read, as {others[0].name}"


def rows_in(paths: Iterable[Path]) -> int | None:
    """Return how many rows files and folders hold, for a progress bar; None where that is not cheap to know."""
    try:
        counts = [reader_for(file).count(file) for path in paths for file in _files(path)]
    except (DataError, OSError):
        return None
    return None if None in counts else sum(filter(None, counts))


def content_of(paths: Iterable[Path]) -> str:
    """Return a hash of all that decides which rows files and folders hold, and in which order."""
    files = [(path, file) for path in paths for file in _files(path)]
    told = [(str(path), file.name, file_sha256(file) if file.is_file() else "") for path, file in files]
    return hashlib.sha256(repr(told).encode("utf-8", "surrogatepass")).hexdigest()


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.iterdir() if is_readable(file)) if path.is_dir() else [path]


def is_readable(file: Path) -> bool:
    """Return whether a file, by its name, is of a form that can be read."""
    return file.is_file() and not file.name.startswith(".") and any(reader.recognises(file) for reader in READERS)


def sites_of(row: SourceRow, crystal: Crystal) -> FileSites:
    """Return which sites of its file the atoms of a row's crystal are of."""
    return row.sites or FileSites(np.arange(1, len(crystal) + 1))


def _named(numbers: Iterable[int]) -> str:
    return ", ".join(element_symbol(z) for z in sorted(numbers)) or "none that is known"
