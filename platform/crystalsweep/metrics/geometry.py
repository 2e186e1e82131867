"""Minimum images in any cell, for many displacements and many cells at once.

Every lattice is taken in its LLL-reduced basis, turned so that the basis is lower triangular; the closest lattice
point is then found by Babai's nearest plane and its neighbours (Babai, Combinatorica 6, 1 (1986)).
"""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

_SHORT = np.array([n for n in itertools.product(range(-2, 3), repeat=3) if n > (0, 0, 0)], dtype=np.float64)
"""(62, 3) multiples of a reduced basis among which, up to sign, is the shortest lattice vector."""


class Cells(NamedTuple):
    """C lattices in their reduced bases a = `basis` @ `rotation`."""

    basis: Array
    """(C, 3, 3) Å, lower triangular."""
    rotation: Array
    """(C, 3, 3), orthogonal."""
    shortest: Array
    """(C,) Å, length of the shortest lattice vector."""

    def take(self, index: Indices) -> Cells:
        """Return the cells of (K,) indices, repeats allowed."""
        return Cells(self.basis[index], self.rotation[index], self.shortest[index])


def cells_of(lattices: Array) -> Cells:
    """Return the reduced cells of lattices (C, 3, 3), Å; the reduction of each lattice is cached.

    Raises:
        numpy.linalg.LinAlgError: A lattice is not finite.
    """
    contiguous = np.ascontiguousarray(lattices, dtype=np.float64)
    found = [_cell(lattice.tobytes()) for lattice in contiguous]
    if not found:
        return Cells(np.zeros((0, 3, 3)), np.zeros((0, 3, 3)), np.zeros(0))
    return Cells(*(np.array(parts) for parts in zip(*found, strict=True)))


def plane_spacings(lattices: Array) -> tuple[Array, Array]:
    """Return spacings (C, 3) Å of the lattice planes spanned by two of the three vectors, and volumes (C,) Å³.

    A lattice vector n₁a₁ + n₂a₂ + n₃a₃ is at least |n_k| h_k long for every k. Zero for a flat cell; no overflow.
    """
    size = np.abs(lattices).max(axis=(1, 2), initial=0)
    unit = lattices / np.where(size > 0, size, 1)[:, None, None]
    normals = np.cross(unit[:, [1, 2, 0]], unit[:, [2, 0, 1]])
    area = np.sqrt(np.einsum("cki,cki->ck", normals, normals))
    volume = np.abs(np.einsum("ci,ci->c", unit[:, 0], normals[:, 0]))
    with np.errstate(over="ignore"):
        return size[:, None] * volume[:, None] / np.where(area > 0, area, 1), volume * size * size * size


def minimum_images(delta: Array, cells: Cells, cell: Indices) -> Array:
    """Return (M, 3) Å: the shortest vectors that differ from delta (M, 3) Å by vectors of lattice `cell` (M,)."""
    turned = np.einsum("mj,mij->im", delta, cells.rotation[cell])
    wrap(turned, _lower(cells.basis[cell]), cells.shortest[cell])
    return np.einsum("im,mij->mj", turned, cells.rotation[cell])


def wrap(vectors: Array, lower: Array, shortest: Array) -> None:
    """Replace vectors (3, ...), in the turned frame, by their minimum images.

    `lower` (6, ...) holds a₁₁, a₂₁, a₂₂, a₃₁, a₃₂, a₃₃ and `shortest` (...) the shortest vectors; both broadcast.

    Exact: let the rows of the basis have diagonal r₁, r₂, r₃, and let c₁r₁, c₂r₂, c₃r₃ be the components of an image.
    Rounding from the third to the first gives an image with |c_k| <= ½ (Babai). A shorter one has |c₃| no smaller, so
    c₂² r₂² < ¼ (r₁² + r₂²), and c₃² r₃² < ¼ (r₁² + r₂² + r₃²). In an LLL-reduced basis r₁² <= 2r₂² <= 4r₃², hence
    |c₂| < 0.87 and |c₃| < 1.33: one step either way from the rounded c₃, then one from the rounded c₂, hold it, with
    c₁ rounded. What is within half the shortest lattice vector is already shortest.
    """
    _round_off(vectors, lower)
    far = _squared(vectors) > np.square(shortest) / 4
    if not far.any():
        return
    best, basis = vectors[:, far], np.broadcast_to(lower, (6, *vectors.shape[1:]))[:, far]
    start, least = best.copy(), _squared(best)
    for third, second in itertools.product((0, -1, 1), repeat=2):
        image = start.copy()
        image += third * basis[3:]
        n = np.rint(image[1] / basis[2]) - second
        image[:2] -= n * basis[1:3]
        image[0] -= np.rint(image[0] / basis[0]) * basis[0]
        length = _squared(image)
        shorter = length < least * (1 - 1e-12)  # keep the first of equals
        np.copyto(best, image, where=shorter)
        np.copyto(least, length, where=shorter)
    vectors[:, far] = best


def lower_entries(cells: Cells) -> Array:
    """Return (6, C) entries of the triangular bases, as `wrap` takes them."""
    return _lower(cells.basis)


def _lower(basis: Array) -> Array:
    return np.stack([basis[:, i, j] for i in range(3) for j in range(i + 1)])


def _round_off(vectors: Array, lower: Array) -> None:
    vectors -= np.rint(vectors[2] / lower[5]) * lower[3:]
    vectors[:2] -= np.rint(vectors[1] / lower[2]) * lower[1:3]
    vectors[0] -= np.rint(vectors[0] / lower[0]) * lower[0]


def _squared(vectors: Array) -> Array:
    """Return (...) squared lengths of (3, ...)."""
    return np.einsum("i...,i...->...", vectors, vectors)


@lru_cache(maxsize=1 << 15)
def _cell(lattice: bytes) -> tuple[Array, Array, np.float64]:
    from pymatgen.core import Lattice

    given = np.frombuffer(lattice).reshape(3, 3)
    if not np.isfinite(given).all():
        raise np.linalg.LinAlgError("the lattice is not finite")
    # pymatgen returns the reduced vectors in the orientation of the given ones.
    reduced = np.array(Lattice(given).get_lll_reduced_lattice().matrix)
    rotation, basis = np.linalg.qr(reduced.T)
    # The shortest vector v <= r₁ has |n₃| r₃ and so on within r₁: with the ratios above no |n_k| exceeds 2.
    return basis.T, rotation.T, np.linalg.norm(_SHORT @ reduced, axis=1).min()
