"""L_species + w_pos · L_position (paper, Eq. 1)."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from crystalsweep.hyperparameters import ReconstructionConfig
from crystalsweep.networks.models import Restoration
from crystalsweep.structures.batch import CrystalBatch, to_fractional
from crystalsweep.structures.corruption import Corrupted
from crystalsweep.structures.segments import segment_mean


class Reconstruction(NamedTuple):
    """The terms of Eq. 1; scalars."""

    total: Tensor
    """L_species + w_pos · L_position."""
    species: Tensor
    """L_species, nats per atom."""
    position: Tensor
    """L_position, in `position_unit`, squared unless `position_error` is `distance`."""


def reconstruction_loss(restored: Restoration, corrupted: Corrupted, config: ReconstructionConfig) -> Reconstruction:
    """Compute Eq. 1 for a batch."""
    over = corrupted.masked if config.masked_only else None
    species = species_loss(restored.logits, corrupted.pristine.species, over)
    error = corrupted.noise - restored.perturbation
    position = position_loss(error, corrupted.pristine, config.position_unit, config.position_error)
    return Reconstruction(species + config.w_pos * position, species, position)


def species_loss(logits: Tensor, species: Tensor, over: Tensor | None = None) -> Tensor:
    """Compute the negative log likelihood of (n,) species under (n, 118) logits, mean over atoms (those in `over`, if
    given)."""
    per_atom = functional.cross_entropy(logits.float(), species - 1, reduction="none")
    if over is None:
        return per_atom.mean()
    return (per_atom * over).sum() / over.sum().clamp(min=1)


def position_loss(
    error: Tensor,
    batch: CrystalBatch,
    unit: Literal["min_edge", "angstrom", "fractional"] = "min_edge",
    of: Literal["squared", "distance"] = "squared",
) -> Tensor:
    """Compute (1/N) Σ_i |Δ_i|², or (1/N) Σ_i |Δ_i|, mean over crystals.

    Args:
        error: Δ = P − P̃, (n, 3) Å.
        batch: The crystals of the n atoms.
        unit: What Δ is expressed in.
        of: The paper's square, whose minimum is the mean of the possible places of an atom and which a few far atoms
            rule, or the distance, d_m of Eq. 5, whose minimum is their median.
    """
    with torch.autocast(error.device.type, enabled=False):
        error = error.float()
        if unit == "min_edge":
            error = error / batch.min_edge[batch.crystal][:, None]
        elif unit == "fractional":
            error = to_fractional(error, batch.lattice, batch.crystal)
        per_atom = error.square().sum(dim=-1) if of == "squared" else torch.linalg.vector_norm(error, dim=-1)
        return segment_mean(per_atom, batch.crystal, len(batch)).mean()
