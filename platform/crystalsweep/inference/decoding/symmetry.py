"""Which sites of a partial crystal its symmetry makes equal, and which choices of species therefore are one crystal."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from crystalsweep.structures.crystal import MASK, N_SPECIES, Crystal

Unit = NDArray[np.int64]
"""Indices of masked sites that get one species, ascending."""

SYMPREC = 0.01
"""Å; how far atoms may be from where a symmetry operation puts them: spglib's and pymatgen's default."""

_PAIRS = 20_000_000
"""Distances between atoms and their images under all operations, up to which they are computed."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Symmetry:
    """What the space group of a partial crystal does to its atoms."""

    orbits: NDArray[np.int64]
    """(N,) a number for each atom that symmetry-equal atoms share."""
    permutations: NDArray[np.int64]
    """(G, N) the atom onto which each operation moves every atom; the identity alone where the crystal is so large that
    looking would take seconds."""


def symmetry_of(partial: Crystal, kinds: NDArray[np.int64] | None = None) -> Symmetry:
    """Return the symmetry of a partial crystal; none where spglib finds no space group.

    Atoms are moved onto those of the same kind, (N,) numbers: by default their species, masked sites one kind.
    """
    import spglib

    identity = np.arange(len(partial), dtype=np.int64)
    kinds = partial.species if kinds is None else kinds
    kinds = np.where(kinds == MASK, N_SPECIES, kinds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # spglib's of a future change in how it reports failures
        try:
            found = spglib.get_symmetry_dataset((partial.lattice, partial.frac, kinds), symprec=SYMPREC)
        except spglib.SpglibError:
            found = None
    if found is None:
        return Symmetry(orbits=identity, permutations=identity[None])
    few = len(found.rotations) * len(partial) ** 2 <= _PAIRS
    operations = zip(found.rotations, found.translations, strict=True) if few else ()
    moved = [onto for onto in (_moved(partial, *each) for each in operations) if len(np.unique(onto)) == len(onto)]
    permutations = np.unique(np.stack([identity, *moved]), axis=0)
    return Symmetry(orbits=np.asarray(found.equivalent_atoms, dtype=np.int64), permutations=permutations)


def _moved(partial: Crystal, rotation: NDArray[np.int64], translation: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return (N,) the atom that is nearest to where an operation moves each."""
    images = partial.frac @ rotation.T + translation
    apart = images[:, None] - partial.frac[None]
    apart -= np.rint(apart)
    return np.asarray(np.linalg.norm(apart @ partial.lattice, axis=-1).argmin(axis=1), dtype=np.int64)


def units_of(
    partial: Crystal,
    tie: Literal["none", "symmetry", "all"],
    orbits: NDArray[np.int64],
    alone: NDArray[np.bool_] | None = None,
) -> list[Unit]:
    """Return the masked sites as units that get one species each, by the first site of each.

    Args:
        partial: Masked sites have species `MASK`.
        tie: `none`: each by itself. `symmetry`: those of one orbit. `all`: all together.
        orbits: (N,) of the partial crystal's atoms.
        alone: (N,) atoms that are never tied.
    """
    masked, each = np.flatnonzero(partial.species == MASK), np.arange(len(partial))
    own = {"none": each, "symmetry": orbits, "all": np.zeros_like(each)}[tie]
    own = own if alone is None else np.where(alone, each + len(each), own)
    return [masked[own[masked] == first] for first in dict.fromkeys(own[masked].tolist())]


def images_of(species: NDArray[np.int64], permutations: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (I, N) the distinct choices of species that symmetry makes the same crystal as this one, in order."""
    rows = np.ascontiguousarray(species.astype(np.uint8)[permutations])  # as texts they are sorted five times as fast
    distinct = np.unique(rows.view(f"S{rows.shape[1]}"))
    return distinct.view(np.uint8).reshape(len(distinct), -1).astype(np.int64)


def same_by_symmetry(a: NDArray[np.int64], b: NDArray[np.int64], permutations: NDArray[np.int64]) -> bool:
    """Return whether two choices of species (N,) are one crystal by these operations (G, N)."""
    return bool((a[permutations] == b).all(axis=1).any())
