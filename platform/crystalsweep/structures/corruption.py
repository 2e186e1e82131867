"""Corrupting crystals: masked species and displaced atoms (paper, Fig. 1B), vectorised over the batch.

Departures from the released code, which draws one mask type per batch, never masks the last atom, draws with
replacement and scales noise by a distance without periodicity, are listed in CONTRIBUTING.md.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from crystalsweep.hyperparameters import CorruptionConfig, Range, mask_fraction
from crystalsweep.structures.batch import CrystalBatch, on_device, wrap_into_cell
from crystalsweep.structures.crystal import MASK
from crystalsweep.structures.segments import segment_max, segment_mean, segment_rank


@dataclass(frozen=True, kw_only=True, eq=False)
class Corrupted:
    """A batch, and what was done to it."""

    pristine: CrystalBatch
    """The originals."""
    species: Tensor
    """(n,) species with masked atoms set to the mask token."""
    cart: Tensor
    """(n, 3) x' = x + P, wrapped into the cell, Å."""
    masked: Tensor
    """(n,) bool, true where the species is hidden."""
    noise: Tensor
    """(n, 3) P, Å."""

    def to(self, device: torch.device | str) -> Corrupted:
        """Return the corrupted batch on another device."""
        return on_device(self, device)

    def part(self, first: int, last: int) -> Corrupted:
        """Return crystals `first` to `last`, without the latter."""
        atoms = self.pristine.atoms(first, last)
        tensors = {f.name: getattr(self, f.name)[atoms] for f in fields(self) if f.name != "pristine"}
        return Corrupted(pristine=self.pristine.part(first, last), **tensors)


def corrupt(batch: CrystalBatch, config: CorruptionConfig, generator: torch.Generator) -> Corrupted:
    """Return `batch` with one mask type and one noise level drawn per crystal."""
    masked = draw_mask(batch, config.mask_types, generator)
    sigma_noise = draw_sigma_noise(config.sigma_noise, len(batch), generator)
    return apply(batch, masked, draw_noise(batch, sigma_noise, config.center_noise, generator))


def apply(batch: CrystalBatch, masked: Tensor, noise: Tensor) -> Corrupted:
    """Return `batch` with these (n,) atoms masked and this (n, 3) noise, Å, added."""
    return Corrupted(
        pristine=batch,
        species=batch.species.masked_fill(masked, MASK),
        cart=wrap_into_cell(batch.cart + noise, batch.lattice, batch.crystal),
        masked=masked,
        noise=noise,
    )


def draw_mask(batch: CrystalBatch, mask_types: dict[str, float], generator: torch.Generator) -> Tensor:
    """Return (n,) bool; a mask type is drawn per crystal with the given weights, in whatever order these are given."""
    names = sorted(mask_types, key=lambda name: mask_fraction(name) or 0.0)
    weights = torch.tensor([mask_types[name] for name in names])
    drawn = torch.multinomial(weights, len(batch), replacement=True, generator=generator)
    masks = torch.stack([mask_of_type(batch, name, generator) for name in names])
    return masks[drawn[batch.crystal], torch.arange(len(batch.species))]


def mask_of_type(batch: CrystalBatch, mask_type: str, generator: torch.Generator) -> Tensor:
    """Return (n,) bool; every crystal masked by the same mask type."""
    fraction = mask_fraction(mask_type)
    return species_mask(batch, generator) if fraction is None else random_mask(batch, fraction, generator)


def random_mask(batch: CrystalBatch, fraction: float, generator: torch.Generator) -> Tensor:
    """Return (n,) bool: exactly ceil(fraction · N) distinct atoms of each crystal, uniformly (β, γ)."""
    rank = segment_rank(torch.randperm(len(batch.species), generator=generator), batch.crystal, batch.counts)
    wanted = torch.ceil(fraction * batch.counts.double() - 1e-9)  # 0.15 · 20 is 3, not 4
    return rank < wanted[batch.crystal]


def species_mask(batch: CrystalBatch, generator: torch.Generator) -> Tensor:
    """Return (n,) bool: every atom of one species of each crystal, uniform over its distinct species (α)."""
    pairs, pair_of_atom = torch.unique(torch.stack([batch.crystal, batch.species]), dim=1, return_inverse=True)
    keys = torch.rand(pairs.shape[1], generator=generator, dtype=torch.float64)
    highest = segment_max(keys, pairs[0], len(batch))
    return (keys == highest[pairs[0]])[pair_of_atom]


def draw_sigma_noise(sigma_noise: float | tuple[float, ...] | Range, size: int, generator: torch.Generator) -> Tensor:
    """Return (size,) noise levels in units of min_edge, one per crystal."""
    if isinstance(sigma_noise, Range):
        return sigma_noise.low + (sigma_noise.high - sigma_noise.low) * torch.rand(size, generator=generator)
    levels = torch.tensor(sigma_noise if isinstance(sigma_noise, tuple) else (sigma_noise,), dtype=torch.float32)
    return levels[torch.randint(len(levels), (size,), generator=generator)]


def draw_noise(batch: CrystalBatch, sigma_noise: Tensor, center: bool, generator: torch.Generator) -> Tensor:
    """Return (n, 3) P ~ N(0, σ² I), Å, with σ = sigma_noise · min_edge per crystal; zero mean per crystal where
    `center`."""
    sigma = (sigma_noise * batch.min_edge)[batch.crystal]
    noise = torch.randn(len(batch.species), 3, generator=generator) * sigma[:, None]
    if center:
        noise = noise - segment_mean(noise, batch.crystal, len(batch))[batch.crystal]
    return noise
