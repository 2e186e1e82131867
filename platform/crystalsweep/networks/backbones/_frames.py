"""Frames of the edges, by fairchem-core, in float32 also under autocast."""

from __future__ import annotations

import torch
from fairchem.core.models.uma.common.quaternion.quaternion_wigner_utils import WignerDataModule
from fairchem.core.models.uma.common.quaternion.wigner_d_hybrid import axis_angle_wigner_hybrid
from torch import Tensor


def wigner_matrices(vectors: Tensor, lmax: int, tables: WignerDataModule, *, rolled: bool) -> tuple[Tensor, Tensor]:
    """Return (E, L, L) Wigner matrices that turn (E, 3) edge vectors, Å, onto +y, and back.

    The roll about the edge is random where `rolled`, as in training, and else 0: one input then has one output.
    """
    roll = None if rolled else vectors.new_zeros(len(vectors))
    with torch.autocast(vectors.device.type, enabled=False):
        into, back = axis_angle_wigner_hybrid(
            vectors,
            lmax,
            gamma=roll,
            coeffs=tables.coeffs,
            U_blocks=tables.U_blocks,
            custom_kernels=tables.custom_kernels,
        )
    return into, back
