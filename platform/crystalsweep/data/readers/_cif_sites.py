"""The sites of a CIF, each one whole atom, and all their images under symmetry."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crystalsweep.data.checks import MAX_COORDINATE, unknown_symbols
from crystalsweep.data.readers._base import WHOLE, is_masked, isotope_notes
from crystalsweep.data.readers._cif_block import NO_ASCII, CifBlock, RefusedError, number, refuse
from crystalsweep.data.readers._cif_limits import require_atoms, require_sites
from crystalsweep.data.readers._cif_mixtures import Mixtures, mixtures_of
from crystalsweep.data.readers._cif_symmetry import Symmetry
from crystalsweep.structures.crystal import MASK
from crystalsweep.structures.elements import atomic_number, element_symbol

SAME = 0.05
"""Å; images of one site that are closer than this are one atom, set apart by rounded digits of a special position."""

_SYMBOL = re.compile(r"([A-Za-z]{1,2})(?:\d*(?:\.\d*)?[+-]?|[+-]\d*)")
"""An element with or without its charge, e.g. `Fe3+`, `O2-`, `CL`."""

_LABEL = re.compile(rf"([A-Za-z]+)(?![A-Za-z{NO_ASCII}])")
"""Letters that begin a label; those that a character unknown to CIF goes on may be of another element."""

_CAPITALS = re.compile(r"[A-Z]{2}(?![A-Za-z])")
_LAST_MADE = 98
"""Californium: no crystal of a heavier element has been measured."""

_GROUPS = {"wat", "water", "o-h", "oh", "oh2", "h2o", "d2o", "nh4", "nh3", "ch3", "ch4", "bh4", "oh-", "h3o"}
"""Names of groups whose hydrogens have no positions."""


@dataclass(frozen=True)
class Sites:
    """Sites as the file has them, before symmetry."""

    species: NDArray[np.int64]
    """(n,) atomic numbers; `MASK` where a symbol is masked."""
    frac: NDArray[np.float64]
    """(n, 3)."""
    multiplicities: list[int | None]
    """Atoms in the cell, where the file tells."""
    labels: list[str]
    numbers: NDArray[np.int64]
    """(n,) rows of the file, from 1; of a site that several elements share, the first."""
    mixtures: Mixtures
    """Of sites that several elements share, by number; they are masked."""
    notes: tuple[str, ...] = ()


def sites_of(block: CifBlock, *, partial: bool) -> Sites:
    """Return the sites of a block.

    Args:
        block: The CIF's.
        partial: Take `X` and `?` as masked, and sites that several elements share; else they are refused.

    Raises:
        RefusedError: A site is no whole atom of an element at a place.
        TooLargeError: There are too many.
    """
    axes = [block.column(f"_atom_site_fract_{axis}") for axis in "xyz"]
    count = len(axes[0])
    require_sites(count)
    symbols, labels = block.column("_atom_site_type_symbol"), block.column("_atom_site_label")
    names = symbols or labels
    columns = [*axes, names, *([labels] if labels else [])]
    if any(len(column) != count for column in columns):
        raise refuse("unparsable CIF", "sites without a symbol, a label or a coordinate")
    species = [_species(name, symbol=bool(symbols), partial=partial) for name in names]
    _require_elements(names, species)
    if not symbols:
        _require_one_reading(names, species)
    if problem := unknown_symbols([name for name, found in zip(names, species, strict=True) if found is None]):
        raise RefusedError(problem)
    _require_atoms(block)
    occupancies = _occupancies(block, names)
    rows = zip(*axes, names, strict=True)
    positions = [[_position(value, name) for value in (x, y, z)] for x, y, z, name in rows]
    numbers, frac = np.array(species, dtype=np.int64), np.array(positions, dtype=float).reshape(count, 3)
    try:
        first, mixtures = mixtures_of(numbers, frac, occupancies, labels or names, WHOLE)
    except RefusedError:
        if not partial:
            _require_whole(occupancies, names)
        raise
    if mixtures and not partial:
        _require_whole(occupancies, names)
    multiplicities = _multiplicities(block, count)
    return Sites(
        species=np.array([MASK if row + 1 in mixtures else numbers[row] for row in first], dtype=np.int64),
        frac=frac[first],
        multiplicities=[multiplicities[row] for row in first],
        labels=[(labels or names)[row] for row in first],
        numbers=first + 1,
        mixtures=mixtures,
        notes=isotope_notes(names),
    )


def images_of(
    sites: Sites, symmetry: Symmetry, lattice: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return all atoms of the cell, site by site: which site each is of (N,), and fractional coordinates (N, 3) in
    [0, 1).

    Raises `RefusedError` where a multiplicity in the file is another than what symmetry gives, `TooLargeError` where
    there would be too many atoms.
    """
    require_atoms(len(sites.species), len(symmetry))
    found = [_orbit(position, symmetry, lattice) for position in sites.frac]
    for label, given, images in zip(sites.labels, sites.multiplicities, found, strict=True):
        if given is not None and given != len(images):
            detail = f"{label} has multiplicity {given}, {symmetry.name} gives {len(images)} atoms"
            raise refuse("contradicts its own multiplicities", detail, "check symmetry and positions")
    counts = [len(images) for images in found]
    return np.repeat(np.arange(len(counts)), counts), np.concatenate(found)


def _orbit(position: NDArray[np.float64], symmetry: Symmetry, lattice: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the images of a site; those that rounded digits set apart are one atom, in their middle."""
    images = (symmetry.rotations @ position + symmetry.translations) % 1.0
    if len(images) == 1:
        return images
    apart = images[None] - images[:, None]
    apart -= np.round(apart)
    distance = np.linalg.norm(apart @ lattice, axis=-1)
    same = distance < SAME
    first = np.flatnonzero(same.argmax(axis=1) == np.arange(len(images)))
    middle = (apart[first] * same[first][:, :, None]).sum(axis=1) / same[first].sum(axis=1)[:, None]
    moved = np.where(distance[first].max(axis=1, initial=0.0, where=same[first])[:, None] > 1e-9, middle, 0.0)
    return np.asarray((images[first] + moved) % 1.0)


def _species(name: str, *, symbol: bool, partial: bool) -> int | None:
    """Return the atomic number of a symbol or label; None where it is of no element."""
    name = name.strip()
    if partial and is_masked(name):
        return MASK
    if name.rstrip("0123456789").lower() in _GROUPS or name.lower() in _GROUPS:
        raise refuse("hydrogens without positions", name, "add their positions")
    match = _SYMBOL.fullmatch(name) if symbol else _LABEL.match(name)
    elements = [match[1]] if match and symbol else _readings(match[1]) if match else []
    return next((found for each in elements if (found := atomic_number(each.title())) != MASK), None)


def _require_elements(names: list[str], species: list[int | None]) -> None:
    """Raise `RefusedError` for capitals that may be a group of two elements, as `NO3`, `CN` or `CO` beside `Na`.

    In a file that knows capitals only, `CO` is cobalt; of what no crystal is made of, such as nobelium, it is none.
    """
    capitals_only = not any(letter.islower() for name in names for letter in name)
    for name, z in zip(names, species, strict=True):
        match = _CAPITALS.match(name.strip())
        if z is None or not match or z != atomic_number(match[0].title()) or MASK in map(atomic_number, match[0]):
            continue
        charged = re.fullmatch(r"\d*[+-]\d*", name.strip()[2:])
        if z > _LAST_MADE or not (capitals_only or charged) or re.fullmatch(r"[A-Z]{2}\d+[A-Z]?(?![+-])", name.strip()):
            detail = f"{name} is {element_symbol(z)}, or {match[0][0]} and {match[0][1]}"
            raise refuse("element or group of atoms", detail, f"write {element_symbol(z)}, or give each atom a site")


def _require_one_reading(labels: list[str], species: list[int | None]) -> None:
    """Raise `RefusedError` for a label of two capitals that is an element where another with the same first letter is
    none: `CA1` beside `CB1` is an alpha carbon, as molecules have them, and no calcium."""
    matches = [_CAPITALS.match(label.strip()) for label in labels]
    pairs = [(label, z, match[0]) for label, z, match in zip(labels, species, matches, strict=True) if match and z]
    alone = {letters[0]: label for label, z, letters in pairs if z == atomic_number(letters[0])}
    for label, z, letters in pairs:
        if (first := letters[0]) in alone and z != atomic_number(first):
            detail = f"{label} is {element_symbol(z)}, or {first} as {alone[first]} is"
            raise refuse("element or group of atoms", detail, "add _atom_site_type_symbol, which names the elements")


def _readings(letters: str) -> list[str]:
    """Return what the letters that begin a label may name, the likeliest first: `Na` of `NaA`, `O` of `OW`."""
    if len(letters) <= 2:
        return [letters] if letters[1:].islower() else [letters, letters[:1]]
    return [letters[:2]] if letters[1].islower() and not letters[2].islower() else []


def _position(value: str, name: str) -> float:
    if value in (".", "?"):
        raise refuse("no position", f"a coordinate of {name} is {value!r}", "give every atom a position")
    position = number(value, f"a coordinate of {name}", "coordinates are not finite")
    if abs(position) > MAX_COORDINATE:
        raise refuse("coordinate far outside the cell", f"{position:g} of {name}", "give fractional coordinates")
    return position


def _require_atoms(block: CifBlock) -> None:
    """Require of each site atoms that have a place, which are no dummies and imply no hydrogens."""
    if odd := [name for name in block.starting("_atom_site") if "_occ" in name and name != "_atom_site_occupancy"]:
        raise refuse("partial occupancy", f"{odd[0]} is no name of CIF's", "call it _atom_site_occupancy")
    if len(set(block.column("_atom_site_disorder_group")) - {".", "?", "0", ""}) > 1:
        raise refuse("partial occupancy", "several disorder groups", "use an ordered approximant")
    hydrogens = block.column("_atom_site_attached_hydrogens")
    implied = sum(number(value, "attached hydrogens") for value in hydrogens if value not in (".", "?"))
    if implied:
        raise refuse("hydrogens without positions", f"{implied:g} implied", "add their positions")
    if "dum" in map(str.lower, block.column("_atom_site_calc_flag")):
        raise refuse("dummy atoms", "_atom_site_calc_flag is dum", "leave out what is no atom")


def _occupancies(block: CifBlock, names: list[str]) -> list[float]:
    """Return the occupancy of each site, 1 where the file does not tell."""
    given = block.column("_atom_site_occupancy") or ["."] * len(names)
    if len(given) != len(names):
        raise refuse("unparsable CIF", f"{len(given)} occupancies of {len(names)} sites", "give each site its own")
    return [
        1.0 if each in (".", "?") else number(each, f"the occupancy of {name}", "occupancy is not a number")
        for name, each in zip(names, given, strict=True)
    ]


def _require_whole(occupancies: list[float], names: list[str]) -> None:
    """Require of each site one whole atom."""
    if shared := [n for n, each in zip(names, occupancies, strict=True) if not abs(each - 1) <= WHOLE]:
        detail = f"{len(shared)} of {len(names)} sites, e.g. {shared[0]}"
        remedy = "use an ordered approximant; `crystalsweep complete` makes some"
        raise refuse("partial occupancy", detail, remedy)


def _multiplicities(block: CifBlock, count: int) -> list[int | None]:
    given = block.column("_atom_site_site_symmetry_multiplicity", "_atom_site_symmetry_multiplicity")
    if len(given) != count:
        return [None] * count
    return [int(value) if value.isascii() and value.isdigit() and len(value) < 6 else None for value in given]
