"""Which sites of a partial crystal its symmetry makes equal, and which choices of species therefore are one crystal."""

from __future__ import annotations

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


def permutations_of(partial: Crystal, kinds: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """Return (G, N) atoms onto which each operation of the space group moves every atom; the identity first.

    Atoms are moved onto those of the same kind, (N,) numbers: by default their species, masked sites one kind. The
    identity alone where nothing else is found, and where the crystal is so
    large that looking would take seconds.
    """
    import spglib

    identity = np.arange(len(partial), dtype=np.int64)[None]
    kinds = partial.species if kinds is None else kinds
    kinds = np.where(kinds == MASK, N_SPECIES, kinds)
    try:
        found = spglib.get_symmetry((partial.lattice, partial.frac, kinds), symprec=SYMPREC)
    except spglib.SpglibError:
        return identity
    if found is None or len(found["rotations"]) * len(partial) ** 2 > _PAIRS:
        return identity
    moved = (_moved(partial, *operation) for operation in zip(found["rotations"], found["translations"], strict=True))
    whole = [onto for onto in moved if len(set(onto.tolist())) == len(partial)]
    return np.unique(np.concatenate([identity, *(onto[None] for onto in whole)]), axis=0)


def _moved(partial: Crystal, rotation: NDArray[np.int64], translation: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return (N,) the atom that is nearest to where an operation moves each."""
    images = partial.frac @ rotation.T + translation
    apart = images[:, None] - partial.frac[None]
    apart -= np.rint(apart)
    return np.asarray(np.linalg.norm(apart @ partial.lattice, axis=-1).argmin(axis=1), dtype=np.int64)


def units_of(
    partial: Crystal,
    tie: Literal["none", "symmetry", "all"],
    permutations: NDArray[np.int64],
    alone: NDArray[np.bool_] | None = None,
) -> list[Unit]:
    """Return the masked sites as units that get one species each, by the first site of each.

    Args:
        partial: Masked sites have species `MASK`.
        tie: `none`: each by itself. `symmetry`: those that an operation moves onto each other. `all`: all together.
        permutations: (G, N) of the partial crystal.
        alone: (N,) atoms that are never tied.
    """
    masked = np.flatnonzero(partial.species == MASK)
    orbits = permutations.min(axis=0)  # the first atom that each is moved onto
    with_whom = {"none": np.arange(len(partial)), "symmetry": orbits, "all": np.full(len(partial), -1)}[tie]
    with_whom = with_whom if alone is None else np.where(alone, np.arange(len(partial)) + len(partial), with_whom)
    return [masked[with_whom[masked] == first] for first in dict.fromkeys(with_whom[masked].tolist())]


def images_of(species: NDArray[np.int64], permutations: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (I, N) the distinct choices of species that symmetry makes the same crystal as this one, in order."""
    return np.unique(species[permutations], axis=0)
