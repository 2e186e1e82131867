"""Sites that several elements share, made whole: the smallest cell in which every element has a whole number of them.

Which atom sits where is then chosen by the decoder, as for masked sites, each sublattice with its own elements and
counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crystalsweep.data.checks import Problem
from crystalsweep.data.readers import FileSites
from crystalsweep.inference.decoding.constraints import Sublattice
from crystalsweep.inference.decoding.symmetry import SYMPREC, symmetry_of
from crystalsweep.structures.crystal import N_SPECIES, Crystal
from crystalsweep.structures.elements import element_symbol
from crystalsweep.structures.quiet import quiet_spglib

MAX_CELLS = 27
"""Of the file's cell, in the cell that is ordered."""

MAX_ATOMS_ORDERED = 200
"""In that cell: its arrangements are looked at for many seconds."""

ROUNDED = 0.007
"""By how much a share may differ from the one given: two digits, made to add up to 1."""

NEAR = 0.03
"""Of a share: a cell whose shares differ by no more, and by no more than `ROUNDED`, is taken before a smaller one that
is merely within that."""

MAX_ATOMS_NEAR = 140
"""In such a cell: beyond, arrangements take ten times as long."""


Shape = tuple[int, int, int]
"""How often a cell is repeated along each vector."""


class Ordering(NamedTuple):
    """A crystal whose shared sites are to be ordered."""

    crystal: Crystal
    """Of a supercell where one was needed; shared sites have species `MASK`."""
    sublattices: tuple[Sublattice, ...]
    """What they may become."""
    note: str
    """What was made of the file."""


def ordering_of(crystal: Crystal, sites: FileSites, shape: Shape | None = None) -> Ordering | Problem:
    """Return a crystal with shared sites in a cell that can be ordered, or why there is none.

    Args:
        crystal: Shared sites have species `MASK`.
        sites: Which the atoms are of, and what shares them.
        shape: How often the cell is repeated along each vector.  [default: the smallest cell that holds whole numbers]
    """
    shared = _shared(crystal, sites)
    if shape and (atoms := len(crystal) * int(np.prod(shape))) > MAX_ATOMS_ORDERED:
        detail = f"{atoms} of at most {MAX_ATOMS_ORDERED}"
        return Problem("too many atoms to order", detail, "give a smaller --supercell, or leave it out")
    most = min(MAX_CELLS, MAX_ATOMS_ORDERED // len(crystal))
    asked = [shape] if shape else [_shape(crystal.lattice, cells) for cells in range(1, most + 1)]
    close = [each for each in asked if len(crystal) * int(np.prod(each)) <= MAX_ATOMS_NEAR]
    for near, shapes in ((NEAR, close), (np.inf, asked)):
        for each in shapes:
            counts = [_counts(part.shares, len(part.atoms) * int(np.prod(each)), near) for part in shared]
            if all(counts):
                return _ordering(crystal, shared, counts, each)
    if not shape and (reduced := _primitive(crystal, sites)):
        found = ordering_of(*reduced)
        if not isinstance(found, Problem):
            return found._replace(note=f"{found.note}; in the primitive cell, of which the file's has several")
    shares = ", ".join(f"{element_symbol(z)} {share:.4g}" for z, share in shared[0].shares.items())
    cell = f"{shape[0]} × {shape[1]} × {shape[2]} cells of at most" if shape else "no cell of at most"
    holds = "do not hold" if shape else "holds"
    detail = f"{shares}: {cell} {MAX_ATOMS_ORDERED} atoms {holds} whole numbers of them"
    remedy = "give another --supercell, or leave it out" if shape else "round the occupancies"
    return Problem("partial occupancy", detail, f"{remedy}, or give an ordered approximant")


def shape_of(given: str | Sequence[int]) -> Shape:
    """Return three numbers of cells, given as `2x2x1` or (2, 2, 1). Raises `ValueError` for anything else."""
    text = given if isinstance(given, str) else "x".join(map(str, given))
    words = text.lower().replace("×", "x").split("x")
    if len(words) != 3 or not all(word.isascii() and word.isdigit() and 1 <= int(word) <= MAX_CELLS for word in words):
        raise ValueError(f"{text[:40]!r} is no supercell; write three numbers of 1 to {MAX_CELLS}, as 2x2x1")
    return int(words[0]), int(words[1]), int(words[2])


@dataclass(frozen=True, kw_only=True)
class _Shared:
    """Atoms that symmetry makes equal, on which the same elements are."""

    atoms: tuple[int, ...]
    shares: Mapping[int, float]


def _shared(crystal: Crystal, sites: FileSites) -> list[_Shared]:
    """Return the shared sites; those that a file lists one by one are put together where symmetry makes them equal."""
    mixtures = [sites.mixtures.get(int(number)) for number in sites.numbers]
    kinds = [tuple(sorted(each.items())) for each in mixtures if each is not None]
    distinct = {kind: N_SPECIES + 1 + place for place, kind in enumerate(dict.fromkeys(kinds))}
    of_atom = np.array([0 if each is None else distinct[tuple(sorted(each.items()))] for each in mixtures])
    orbits = symmetry_of(crystal, np.where(of_atom > 0, of_atom, crystal.species)).orbits
    return [
        _Shared(
            atoms=tuple(np.flatnonzero((orbits == orbit) & (of_atom == kind)).tolist()), shares=mixtures[orbit] or {}
        )
        for orbit, kind in dict.fromkeys(zip(orbits[of_atom > 0].tolist(), of_atom[of_atom > 0].tolist(), strict=True))
    ]


def _counts(shares: Mapping[int, float], n: int, near: float) -> dict[int, int]:
    """Return how many of n sites each element has; none where no whole numbers, each at least 1, come near enough.

    Args:
        shares: By atomic number.
        n: Sites.
        near: By how much of itself a share may differ, if that is less than `ROUNDED`.
    """
    counts = {z: round(share * n) for z, share in shares.items()}
    fits = all(
        counts[z] >= 1 and abs(counts[z] / n - share) <= min(ROUNDED, near * share) for z, share in shares.items()
    )
    return counts if fits and sum(counts.values()) == n else {}


def _primitive(crystal: Crystal, sites: FileSites) -> tuple[Crystal, FileSites] | None:
    """Return the crystal in its primitive cell, and its sites, a number each; None where its own is one or spglib
    finds none."""
    import spglib

    mixtures = [sites.mixtures.get(int(number)) for number in sites.numbers]
    shares = [None if each is None else tuple(sorted(each.items())) for each in mixtures]
    atoms = list(zip(crystal.species.tolist(), shares, strict=True))
    kinds = list(dict.fromkeys(atoms))
    numbers = [kinds.index(atom) for atom in atoms]
    try:
        with quiet_spglib():
            found = spglib.find_primitive((crystal.lattice, crystal.frac, numbers), symprec=SYMPREC)
    except spglib.SpglibError:
        return None
    if found is None or len(found[2]) == len(crystal):
        return None
    lattice, frac, chosen = found
    held = [kinds[kind] for kind in chosen]
    reduced = Crystal.of(crystal.id, [species for species, _ in held], lattice, frac)
    own = {number: dict(each) for number, (_, each) in enumerate(held, start=1) if each is not None}
    return reduced, FileSites(np.arange(1, len(held) + 1), own)


def _shape(lattice: NDArray[np.float64], cells: int) -> Shape:
    """Return how often the cell is repeated along each vector so that it is as compact as can be."""
    lengths = np.linalg.norm(lattice, axis=1)
    divisors = [n for n in range(1, cells + 1) if cells % n == 0]
    shapes = [(a, b, cells // a // b) for a in divisors for b in divisors if cells % (a * b) == 0]
    return min(shapes, key=lambda shape: (round(float(np.max(lengths * shape)), 6), shape[::-1]))


def _ordering(
    crystal: Crystal, shared: Sequence[_Shared], counts: Sequence[Mapping[int, int]], shape: Shape
) -> Ordering:
    copies, n = int(np.prod(shape)), len(crystal)
    sublattices = tuple(
        Sublattice(atoms=tuple(atom + copy * n for copy in range(copies) for atom in each.atoms), counts=numbers)
        for each, numbers in zip(shared, counts, strict=True)
    )
    told = "; ".join(", ".join(f"{n} {element_symbol(z)}" for z, n in each.items()) for each in counts)
    other = [
        f"{element_symbol(z)} {n / sum(numbers.values()):.3g} where the file has {each.shares[z]:.3g}"
        for each, numbers in zip(shared, counts, strict=True)
        for z, n in numbers.items()
        if abs(n / sum(numbers.values()) - each.shares[z]) > min(ROUNDED, NEAR * each.shares[z])
    ]
    told += f" ({', '.join(other)})" if other else ""
    cell = f" in {shape[0]} × {shape[1]} × {shape[2]} cells" if copies > 1 else ""
    return Ordering(_repeated(crystal, shape), sublattices, f"shared sites are ordered{cell}: {told}")


def _repeated(crystal: Crystal, shape: Shape) -> Crystal:
    """Return the crystal repeated along its vectors, copy after copy."""
    cells = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).reshape(-1, 1, 3)
    frac = ((crystal.frac[None] + cells) / shape).reshape(-1, 3)
    lattice = crystal.lattice * np.array(shape)[:, None]
    return Crystal.of(crystal.id, np.tile(crystal.species, len(cells)), lattice, frac)
