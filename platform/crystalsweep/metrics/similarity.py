"""Distances between two crystals with the same atoms: d_m and S_m of Eq. 5 (Liu et al., iScience 27, 110672 (2024)).

d_m = mean_i |x_i − x̂_i| compares the original with the generated crystal, S_m the original with the corrupted one;
the structural similarity is 1 − d_m / S_m. A rigid translation is no difference between crystals, so the headline
takes both distances after `aligned`. The functions named `all_…` do the same for the atoms of C crystals one after
another, `counts` (C,) of them each (doi:10.1016/j.isci.2024.110672).
"""

from __future__ import annotations

import numpy as np

from crystalsweep.metrics.alignment import best_of_descents
from crystalsweep.metrics.geometry import Array, Indices, cells_of, minimum_images, plane_spacings
from crystalsweep.structures.crystal import Crystal

Vectors = Array
"""(N, 3) Cartesian, Å, or a lattice (3, 3) with rows as vectors."""


def reduced_lattice(lattice: Vectors) -> Vectors:
    """Return LLL-reduced basis (3, 3), Å, of the same lattice in the same orientation; cached.

    Raises:
        numpy.linalg.LinAlgError: The lattice is not finite.
    """
    cells = cells_of(lattice[None])
    basis: Vectors = cells.basis[0] @ cells.rotation[0]
    return basis


def minimum_image(delta: Vectors, lattice: Vectors) -> Vectors:
    """Return (..., 3) Å: the shortest vectors that differ from delta (..., 3) Å by lattice vectors; exact for every
    cell."""
    flat = np.asarray(delta, dtype=np.float64).reshape(-1, 3)
    images = minimum_images(flat, cells_of(lattice[None]), np.zeros(len(flat), dtype=np.int64))
    return images.reshape(np.shape(delta))


def displacements(original: Crystal, generated: Crystal) -> Vectors:
    """Return (N, 3) Å: minimum-image displacement of each atom, generated − original.

    Fractional differences are measured in the original's lattice, so that a strained cell alone displaces nothing.

    Raises:
        ValueError: The two hold different numbers of atoms.
    """
    check_sites(original, generated)
    return all_displacements(generated.frac - original.frac, original.lattice[None], np.array([len(original)]))


def check_sites(original: Crystal, other: Crystal) -> None:
    """Check that two crystals can be compared site by site.

    Raises:
        ValueError: The two hold different numbers of atoms.
    """
    if len(original) != len(other):
        raise ValueError(
            f"{original.id!r} has {len(original)} atoms and {other.id!r} has {len(other)}: "
            "displacements are taken site by site, so pass crystals with the same sites."
        )


def all_displacements(delta: Array, lattices: Array, counts: Indices) -> Vectors:
    """Return (M, 3) Å: minimum images of fractional differences delta (M, 3) in lattices (C, 3, 3), Å.

    Let v be delta wrapped into [−½, ½)³ and h the least spacing of lattice planes. Where |v| <= h/2, v is the minimum
    image: every lattice vector is at least h long, so another image is at least h − |v| >= |v| long. The others are
    searched for, which needs the reduced cell.
    """
    crystal = np.repeat(np.arange(len(counts)), counts)
    wrapped = delta - np.floor(delta + 0.5)
    vectors: Vectors = np.einsum("mi,mij->mj", wrapped, lattices[crystal])
    reach = plane_spacings(lattices)[0].min(axis=1, initial=np.inf) / 2
    far = np.flatnonzero(~(_squared(vectors) <= np.square(reach)[crystal]))
    if len(far):
        concerned, cell = np.unique(crystal[far], return_inverse=True)
        vectors[far] = minimum_images(vectors[far], cells_of(lattices[concerned]), cell)
    return vectors


def aligned(displacement: Vectors, lattice: Vectors) -> Vectors:
    """Return (N, 3) Å: displacement (N, 3) without its rigid translation, as minimum images.

    The translation is the mean on the torus: the t with the least Σ|minimum image of (d_i − t)|². The plain mean is
    that t while all atoms lie within a quarter of the shortest lattice vector around it (Afsari, Proc. AMS 139, 655
    (2011): half the injectivity radius). Beyond, a translation may carry atoms across the boundary, and the best of
    N + 1 descents is taken: from the plain mean and from each atom's own displacement. That found the least sum in all
    of 400 random cells at sigma_noise <= 0.2 and in 99.5 % at 0.4, where the noise of a small cell fills it.
    """
    return all_aligned(displacement, lattice[None], np.array([len(displacement)]))


def all_aligned(displacement: Vectors, lattices: Array, counts: Indices) -> Vectors:
    """Return `aligned` of the displacements (M, 3), Å, of C crystals; lattices are reduced only where the bound h/4
    fails."""
    crystal = np.repeat(np.arange(len(counts)), counts)
    centred = displacement - _means(displacement, crystal, counts)[crystal]
    first = np.cumsum(counts) - counts
    extent = np.zeros(len(counts))
    occupied = counts > 0
    if occupied.any():
        extent[occupied] = np.sqrt(np.maximum.reduceat(_squared(centred), first[occupied]))
    spacing = plane_spacings(lattices)[0].min(axis=1, initial=np.inf)
    wide = np.flatnonzero(~(extent < spacing / 4))  # the shortest lattice vector is at least h long
    cells = cells_of(lattices[wide])
    still = ~(extent[wide] < cells.shortest / 4)
    wide, cells = wide[still], cells.take(np.flatnonzero(still))
    for number in np.unique(counts[wide]):
        alike = np.flatnonzero(counts[wide] == number)
        atoms = first[wide[alike], None] + np.arange(number)
        centred[atoms] = best_of_descents(displacement[atoms], cells.take(alike))
    return centred


def mean_distance(displacement: Vectors) -> float:
    """Return mean length (Å) of displacement (N, 3): d_m or S_m. NaN for no atoms."""
    return float(all_mean_distances(displacement, np.array([len(displacement)]))[0])


def all_mean_distances(displacement: Vectors, counts: Indices) -> Array:
    """Return (C,) Å: `mean_distance` of each of C crystals from displacements (M, 3)."""
    crystal = np.repeat(np.arange(len(counts)), counts)
    with np.errstate(invalid="ignore"):
        total = np.bincount(crystal, np.sqrt(_squared(displacement)), minlength=len(counts))
        return np.where(counts > 0, total / np.maximum(counts, 1), np.nan)


def _means(vectors: Vectors, crystal: Indices, counts: Indices) -> Vectors:
    sums = [np.bincount(crystal, column, minlength=len(counts)) for column in vectors.T]
    return np.stack(sums, axis=1) / np.maximum(counts, 1)[:, None]


def _squared(vectors: Vectors) -> Array:
    return np.einsum("mi,mi->m", vectors, vectors)
