"""Several crystals as one set of tensors: B crystals, n atoms in all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from crystalsweep.structures.crystal import Crystal

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, eq=False)
class CrystalBatch:
    """B crystals with n atoms in all; atoms of one crystal are contiguous."""

    species: Tensor
    """(n,) int64 atomic numbers, 0 where masked."""
    cart: Tensor
    """(n, 3) float32 Cartesian coordinates, Å."""
    lattice: Tensor
    """(B, 3, 3) float32 Å, rows are lattice vectors."""
    crystal: Tensor
    """(n,) int64 which crystal an atom belongs to."""
    counts: Tensor
    """(B,) int64 atoms per crystal."""
    min_edge: Tensor
    """(B,) float32 shortest periodic distance of the pristine crystal, Å."""
    stable: Tensor
    """(B,) bool: labelled with e_above_hull ≤ 0; False also where unlabelled."""
    crystals: tuple[Crystal, ...]
    """What the batch was made of."""

    def __len__(self) -> int:
        return len(self.counts)

    def to(self, device: torch.device | str) -> CrystalBatch:
        """Return the batch on another device; see `on_device`."""
        return on_device(self, device)

    def part(self, first: int, last: int) -> CrystalBatch:
        """Return crystals `first` to `last`, without the latter."""
        atoms = self.atoms(first, last)
        return CrystalBatch(
            species=self.species[atoms],
            cart=self.cart[atoms],
            lattice=self.lattice[first:last],
            crystal=self.crystal[atoms] - first,
            counts=self.counts[first:last],
            min_edge=self.min_edge[first:last],
            stable=self.stable[first:last],
            crystals=self.crystals[first:last],
        )

    def atoms(self, first: int, last: int) -> slice:
        """Return where the atoms of crystals `first` to `last` are."""
        start = int(self.counts[:first].sum())
        return slice(start, start + int(self.counts[first:last].sum()))


def on_device(item: T, device: torch.device | str) -> T:
    """Return a dataclass with its tensors on another device. A GPU is not waited for; what comes back from one is there
    when it returns, or its numbers could be read before they have come."""
    to_gpu = torch.device(device).type == "cuda"
    return with_tensors(item, lambda tensor: tensor.to(device, non_blocking=to_gpu))


def with_tensors(item: T, change: Callable[[Tensor], Tensor]) -> T:
    """Return a dataclass with every tensor in it changed, those of dataclasses within it too; all else, such as
    crystals, is left as it is."""
    if isinstance(item, Tensor):
        return cast(T, change(item))
    if not is_dataclass(item) or isinstance(item, type):
        return item
    parts = {part.name: with_tensors(getattr(item, part.name), change) for part in fields(item)}
    return replace(item, **parts)


def is_stable(crystal: Crystal) -> bool:
    """Return whether a crystal is on the convex hull: e_above_hull ≤ 0 eV/atom. False where the label is absent."""
    return crystal.labels.get("e_above_hull", np.inf) <= 0.0


def collate(crystals: Sequence[Crystal]) -> CrystalBatch:
    """Return one batch from crystals, in order. Raises `ValueError` when there are none."""
    if not crystals:
        raise ValueError("cannot make a batch of no crystals")
    counts = torch.tensor([len(c) for c in crystals])
    return CrystalBatch(
        species=torch.from_numpy(np.concatenate([c.species for c in crystals])),
        cart=torch.from_numpy(np.concatenate([c.cart for c in crystals])).float(),
        lattice=torch.from_numpy(np.stack([c.lattice for c in crystals])).float(),
        crystal=torch.repeat_interleave(torch.arange(len(crystals)), counts),
        counts=counts,
        min_edge=torch.tensor([c.min_edge for c in crystals], dtype=torch.float32),
        stable=torch.tensor([is_stable(c) for c in crystals]),
        crystals=tuple(crystals),
    )


def to_fractional(cart: Tensor, lattice: Tensor, crystal: Tensor) -> Tensor:
    """Return (n, 3) fractional coordinates f = x L⁻¹ of Cartesian ones."""
    return torch.einsum("ni,nij->nj", cart, torch.linalg.inv(lattice)[crystal])


def wrap_into_cell(cart: Tensor, lattice: Tensor, crystal: Tensor) -> Tensor:
    """Return (n, 3) positions moved into the cell by whole lattice vectors; the gradient passes unchanged."""
    shift = torch.floor(to_fractional(cart.detach(), lattice, crystal))
    return cart - torch.einsum("ni,nij->nj", shift, lattice[crystal])


def without_jumps(delta: Tensor, lattice: Tensor, crystal: Tensor) -> Tensor:
    """Return (n, 3) differences of positions, Å, less the whole lattice vectors nearest to them in the cell's own
    coordinates: how far atoms are apart that were wrapped into the cell on their own."""
    jumps = torch.round(to_fractional(delta, lattice, crystal))
    return delta - torch.einsum("ni,nij->nj", jumps, lattice[crystal])


def uncollate(cart: Tensor, species: Tensor, batch: CrystalBatch, ids: Sequence[str]) -> list[Crystal]:
    """Return crystals of `batch` with these (n, 3) positions and (n,) species, in order."""
    frac = to_fractional(cart.detach().double(), batch.lattice.double(), batch.crystal).cpu().numpy()
    bounds = np.cumsum(batch.counts.cpu().numpy())[:-1]
    parts = zip(
        ids, np.split(species.cpu().numpy(), bounds), batch.lattice.cpu().numpy(), np.split(frac, bounds), strict=True
    )
    return [Crystal.of(id, z, lattice, f) for id, z, lattice, f in parts]  # noqa: A001
