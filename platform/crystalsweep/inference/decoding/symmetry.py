"""Which sites of a partial crystal its symmetry makes equal, and which choices of species therefore are one crystal."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from crystalsweep.structures.crystal import MASK, N_SPECIES, Crystal

Unit = NDArray[np.int64]
"""Indices of masked sites that get one species, ascending."""

SYMPREC = 0.01
"""Å; how far atoms may be from where a symmetry operation puts them: spglib's and pymatgen's default."""

_IMAGES = 2_000_000
"""Atoms under all operations, up to which it is looked which atoms they are: two seconds, and some more in decoding."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Symmetry:
    """What the space group of a partial crystal does to its atoms."""

    orbits: NDArray[np.int64]
    """(N,) a number for each atom that symmetry-equal atoms share."""
    permutations: NDArray[np.int64]
    """(G, N) the atom onto which each operation moves every atom; the identity alone where there are so many that
    looking would take long."""


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
    orbits = np.asarray(found.equivalent_atoms, dtype=np.int64)
    if len(found.rotations) * len(partial) > _IMAGES:
        return Symmetry(orbits=orbits, permutations=identity[None])
    moved = _moved(partial, found.rotations, found.translations)
    onto = moved[(np.sort(moved, axis=1) == identity).all(axis=1)]
    return Symmetry(orbits=orbits, permutations=np.unique(np.concatenate([identity[None], onto]), axis=0))


def _moved(partial: Crystal, rotations: NDArray[np.int64], translations: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return (G, N) the atom that is nearest, in fractions of the cell, to where each operation moves each."""
    images = partial.frac @ np.transpose(rotations, (0, 2, 1)) + translations[:, None]
    tree = cKDTree(_within(partial.frac), boxsize=1.0)
    return np.asarray(tree.query(_within(images))[1], dtype=np.int64)


def _within(frac: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return coordinates in [0, 1)."""
    wrapped = frac % 1.0
    return np.where(wrapped >= 1.0, 0.0, wrapped)  # −1e-17 % 1 is 1.0


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
