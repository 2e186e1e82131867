"""Structural and compositional validity of crystals (Liu et al., iScience 27, 110672 (2024), Fig. 4).

Structure: the shortest periodic distance against 0.5 Å, as in CDVAE (Xie et al., ICLR 2022), whose own check misses
an atom's images. Composition: charge neutrality with electronegativity ordering as in SMACT 4 (Davies et al.,
J. Open Source Softw. 4, 1361 (2019)). doi:10.1016/j.isci.2024.110672
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from crystalsweep.metrics.charge_balance import charge_balanced, metals_alone
from crystalsweep.metrics.geometry import Array, Indices, cells_of, minimum_images, plane_spacings
from crystalsweep.metrics.settings import DEFAULT_RULES, CompositionRules, StructureRules
from crystalsweep.structures.crystal import MASK, Crystal

LAST_IN_SMACT = 103
"""Lr, the last element SMACT holds data for."""

_STRUCTURE = StructureRules()

_PAIRS = 1 << 16
"""Pairs of atoms compared at once, which bounds the memory it takes."""

Verdicts = NDArray[np.bool_]


def structurally_valid(crystal: Crystal, rules: StructureRules = _STRUCTURE) -> bool:
    """Return whether every periodic distance is > `rules.min_distance` and the volume >= `rules.min_volume`.

    Non-finite coordinates, flat cells and empty crystals are invalid, never an error.
    """
    return bool(all_structurally_valid([crystal], rules)[0])


def all_structurally_valid(crystals: Sequence[Crystal], rules: StructureRules = _STRUCTURE) -> Verdicts:
    """Return (C,) `structurally_valid` of each.

    Let t be the least distance and h_k the spacings of a cell's lattice planes. An image of a pair with fractional
    components c_k is at least |c_k| h_k long. If every h_k > 2t, one within t has all |c_k| < ½: it is the difference
    wrapped into [−½, ½), and no atom is that close to its own image. Other cells are reduced and searched.
    """
    valid = np.array([_well_formed(crystal) for crystal in crystals], dtype=bool)
    lattices = np.array([c.lattice if ok else np.zeros((3, 3)) for c, ok in zip(crystals, valid, strict=True)])
    spacings, volumes = plane_spacings(lattices.reshape(-1, 3, 3))
    valid &= (volumes >= rules.min_volume) & (volumes > 0)
    roomy = spacings.min(axis=1, initial=np.inf) > 2 * rules.min_distance
    for index in np.flatnonzero(valid & ~roomy).tolist():
        valid[index] = _searched(crystals[index], rules)
    counts = np.array([len(crystal) for crystal in crystals], dtype=np.int64)
    for number in np.unique(counts[valid & roomy]):
        members = np.flatnonzero(valid & roomy & (counts == number))
        size = max(1, 2 * _PAIRS // (number * number))
        for part in (members[first : first + size] for first in range(0, len(members), size)):
            frac = np.stack([crystals[index].frac for index in part])
            valid[part] = ~_collide(frac - np.floor(frac), lattices[part], rules.min_distance)
    return valid


def _well_formed(crystal: Crystal) -> bool:
    shaped = crystal.frac.shape == (len(crystal), 3) and crystal.lattice.shape == (3, 3) and len(crystal) > 0
    return shaped and bool(np.isfinite(crystal.lattice).all() and np.isfinite(crystal.frac).all())


def _collide(frac: Array, lattices: Array, distance: float) -> Verdicts:
    """Return (B,) whether any two of N atoms (B, N, 3) are within `distance` by their wrapped differences."""
    first, second = _pairs(frac.shape[1])
    found = np.zeros(len(frac), dtype=bool)
    for start in range(0, len(first), _PAIRS):
        part = slice(start, start + _PAIRS)
        delta = frac[:, first[part]] - frac[:, second[part]]
        delta -= np.rint(delta)
        with np.errstate(over="ignore", invalid="ignore"):  # a cell of 1e200 Å
            vectors = delta @ lattices
            found |= (np.einsum("bpi,bpi->bp", vectors, vectors) <= distance * distance).any(axis=1)
    return found


def _searched(crystal: Crystal, rules: StructureRules) -> bool:
    """Return the distances of any cell, from exact minimum images in its reduced form."""
    try:
        cell = cells_of(crystal.lattice[None])
    except np.linalg.LinAlgError:
        return False
    if rules.own_images and cell.shortest[0] <= rules.min_distance:
        return False
    first, second = _pairs(len(crystal))
    frac = crystal.frac - np.floor(crystal.frac)
    for start in range(0, len(first), _PAIRS):
        part = slice(start, start + _PAIRS)
        delta = (frac[first[part]] - frac[second[part]]) @ crystal.lattice
        images = minimum_images(delta, cell, np.zeros(len(delta), dtype=np.int64))
        if (np.linalg.norm(images, axis=1) <= rules.min_distance).any():
            return False
    return True


@lru_cache(maxsize=64)
def _pairs(number: int) -> tuple[Indices, Indices]:
    first, second = np.triu_indices(number, 1)
    return first, second


def compositionally_valid(species: NDArray[np.int64], rules: CompositionRules = DEFAULT_RULES) -> bool:
    """Return whether species (N,) pass SMACT 4's `smact_validity` under `rules`; cached by reduced composition.

    False for empty crystals, mask tokens and Z > 103, and where SMACT has no data.
    """
    numbers, counts = np.unique(species, return_counts=True)
    if not len(numbers) or numbers[0] <= MASK or numbers[-1] > LAST_IN_SMACT:
        return False
    divisor = np.gcd.reduce(counts)
    return _balanced(tuple(numbers.tolist()), tuple((counts // divisor).tolist()), rules)


def exempt_composition(species: NDArray[np.int64]) -> bool:
    """Return whether species (N,) are one element or metals alone, which no charge balance is asked of by default.

    False for empty crystals, mask tokens and Z > 103.
    """
    numbers = np.unique(species).tolist()
    if not numbers or numbers[0] <= MASK or numbers[-1] > LAST_IN_SMACT:
        return False
    return len(numbers) == 1 or metals_alone(numbers)


@lru_cache(maxsize=1 << 18)
def _balanced(numbers: tuple[int, ...], counts: tuple[int, ...], rules: CompositionRules) -> bool:
    return charge_balanced(numbers, counts, rules)
