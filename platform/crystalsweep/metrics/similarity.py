"""Distances between two crystals with the same atoms: d_m and S_m of Eq. 5 (Liu et al., iScience 27, 110672 (2024)).

d_m = mean_i |x_i − x̂_i| compares the original with the generated crystal, S_m the original with the corrupted one;
the structural similarity is 1 − d_m / S_m. A rigid translation is no difference between crystals, so the headline
takes both distances after `aligned` (doi:10.1016/j.isci.2024.110672).
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crystalsweep.crystal import Crystal

Vectors = NDArray[np.float64]
"""(N, 3) Cartesian, Å, or a lattice (3, 3) with rows as vectors."""

_ROUNDS = 8
"""Steps of the mean on the torus; it has settled once no atom changes image, mostly after two or three."""


class _Cell(NamedTuple):
    """What the minimum image needs to know of a lattice."""

    lattice: Vectors
    """(3, 3) Å, reduced."""
    inverse: Vectors
    """(3, 3) 1/Å."""
    images: Vectors
    """(M, 3) Å, lattice vectors one of which leads to the minimum image; row 0 is zero."""
    reach: float
    """Å; half the shortest lattice vector."""


def reduced_lattice(lattice: Vectors) -> Vectors:
    """LLL-reduced basis (3, 3), Å, of the same lattice in the same orientation; cached."""
    return _cell(np.ascontiguousarray(lattice, dtype=np.float64).tobytes()).lattice


def minimum_image(delta: Vectors, lattice: Vectors) -> Vectors:
    """(..., 3) Å: the shortest vectors that differ from delta (..., 3) Å by lattice vectors.

    Exact for every cell. Let v be delta wrapped into [−½, ½)³ of the reduced cell and v + t its minimum image, with
    t = n L. Then |v + t| <= |v| <= ρ, half the longest body diagonal. By Cauchy–Schwarz component k of v + t is at
    most ρ|b_k|, with b_k the k-th column of L⁻¹, so |n_k| <= ½ + ρ|b_k|; and |t| <= 2ρ. All such t are tried.
    Reduction only keeps their number small (27 to about 60).
    """
    cell = _cell(np.ascontiguousarray(lattice, dtype=np.float64).tobytes())
    return _minimum_image(np.asarray(delta, dtype=np.float64), cell)


def displacements(original: Crystal, generated: Crystal) -> Vectors:
    """(N, 3) Å: minimum-image displacement of each atom, generated − original.

    Fractional differences are measured in the original's lattice, so that a strained cell alone displaces nothing.

    Raises:
        ValueError: The two hold different numbers of atoms.
    """
    if len(original) != len(generated):
        raise ValueError(
            f"{original.id!r} has {len(original)} atoms and {generated.id!r} has {len(generated)}: "
            "displacements are taken site by site, so pass crystals with the same sites."
        )
    return minimum_image((generated.frac - original.frac) @ original.lattice, original.lattice)


def aligned(displacement: Vectors, lattice: Vectors) -> Vectors:
    """(N, 3) Å: displacement (N, 3) without its rigid translation, as minimum images.

    The translation is the mean on the torus: the t with the least Σ|minimum image of (d_i − t)|². The plain mean is
    that t while all atoms lie within a quarter of the shortest lattice vector around it (Afsari, Proc. AMS 139, 655
    (2011): half the injectivity radius). Beyond, a translation may carry atoms across the boundary, and the best of
    N + 1 descents is taken: from the plain mean and from each atom's own displacement. That found the least sum in all
    of 400 random cells at sigma_noise <= 0.2 and in 99.5 % at 0.4, where the noise of a small cell fills it.
    """
    cell = _cell(np.ascontiguousarray(lattice, dtype=np.float64).tobytes())
    centred = displacement - displacement.mean(axis=0)
    if len(displacement) == 0 or np.linalg.norm(centred, axis=1).max() < cell.reach / 2:
        return centred
    starts = np.concatenate([displacement.mean(axis=0)[None], displacement])
    residual = _minimum_image(displacement - starts[:, None], cell)
    for _ in range(_ROUNDS):
        shifted = _minimum_image(residual - residual.mean(axis=1, keepdims=True), cell)
        settled = np.allclose(shifted, residual, atol=1e-9)
        residual = shifted
        if settled:
            break
    return residual[np.einsum("kni,kni->k", residual, residual).argmin()]


def mean_distance(displacement: Vectors) -> float:
    """Mean length (Å) of displacement (N, 3): d_m or S_m."""
    return float(np.sqrt(np.einsum("ni,ni->n", displacement, displacement)).mean())


def _minimum_image(delta: Vectors, cell: _Cell) -> Vectors:
    frac = delta @ cell.inverse
    wrapped = (frac - np.floor(frac + 0.5)) @ cell.lattice
    # Within half the shortest lattice vector nothing can be shorter: most displacements end here.
    far = np.einsum("...i,...i->...", wrapped, wrapped) > cell.reach**2
    if far.any():
        candidates = wrapped[far][:, None] + cell.images
        nearest = np.einsum("nmi,nmi->nm", candidates, candidates).argmin(axis=1)
        wrapped[far] = candidates[np.arange(len(candidates)), nearest]
    return wrapped


@lru_cache(maxsize=4096)
def _cell(lattice: bytes) -> _Cell:
    from pymatgen.core import Lattice

    given = np.frombuffer(lattice).reshape(3, 3)
    # pymatgen returns the reduced vectors in the orientation of the given ones.
    reduced = np.array(Lattice(given).get_lll_reduced_lattice().matrix)
    inverse = np.linalg.inv(reduced)
    widths = np.linalg.norm(inverse, axis=0)
    signs = np.array([[1, i, j] for i in (-1, 1) for j in (-1, 1)])
    radius = np.linalg.norm(signs @ reduced, axis=1).max() / 2
    shortest = np.linalg.norm(reduced, axis=1).min()  # of the basis; the lattice's own may be shorter
    limit = np.floor(np.maximum(0.5 + radius * widths, shortest * widths) + 1e-9).astype(int)
    steps = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in limit), indexing="ij"), axis=-1).reshape(-1, 3)
    images = steps @ reduced
    length = np.linalg.norm(images, axis=1)
    order = np.argsort(length, kind="stable")
    order = order[length[order] <= 2 * radius + 1e-9]
    return _Cell(reduced, inverse, images[order], float(length[order[1]]) / 2)
