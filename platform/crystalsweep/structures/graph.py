"""Periodic graphs of a batch: which atoms see each other, and the edge vectors that carry gradients."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from crystalsweep.structures.batch import CrystalBatch, on_device
from crystalsweep.structures.crystal import Crystal
from crystalsweep.structures.neighbours import NeighbourList, nearest_neighbours, require_edges


@dataclass(frozen=True, kw_only=True, eq=False)
class Graph:
    """Positions and directed edges of B crystals; edge `e` tells atom `dst[e]` about atom `src[e]`."""

    cart: Tensor
    """(n, 3) Å; may require grad."""
    lattice: Tensor
    """(B, 3, 3) Å."""
    crystal: Tensor
    """(n,) int64."""
    src: Tensor
    """(E,) int64."""
    dst: Tensor
    """(E,) int64."""
    offset: Tensor
    """(E, 3) float32: whole lattice vectors added to `src`."""

    @property
    def size(self) -> int:
        """B, the number of crystals."""
        return len(self.lattice)

    def to(self, device: torch.device | str) -> Graph:
        """Return the graph on another device; see `on_device`."""
        return on_device(self, device)

    def with_an_edge(self) -> Graph:
        """Return the graph itself, or where nobody has neighbours, with an edge of length 0 from the first atom to
        itself.

        For networks whose weights would otherwise have no gradient, for which other workers wait.
        """
        if len(self.src):
            return self
        itself = self.src.new_zeros(1)
        return replace(self, src=itself, dst=itself, offset=self.offset.new_zeros(1, 3))

    def edge_vectors(self) -> Tensor:
        """Return (E, 3) from centre to neighbour, Å; float32 and differentiable in `cart`, also under autocast."""
        with torch.autocast(self.cart.device.type, enabled=False):
            shift = torch.einsum("ei,eij->ej", self.offset, self.lattice[self.crystal[self.dst]])
            return self.cart[self.src] + shift - self.cart[self.dst]


def build_graph(cart: Tensor, lattice: Tensor, counts: Tensor, cutoff: float, max_neighbours: int) -> Graph:
    """Return neighbours within `cutoff` (Å), per atom up to the `max_neighbours`-th with its whole shell.

    The search runs in float64 on the CPU; which edges exist carries no gradient, their vectors do.
    Raises `ValueError` when a position is not finite, or the edges are too many.

    Args:
        cart: (n, 3) Å; may require grad.
        lattice: (B, 3, 3) Å.
        counts: (B,) atoms per crystal.
        cutoff: Å.
        max_neighbours: Per atom.
    """
    positions = cart.detach().cpu().double().numpy()
    if not np.isfinite(positions).all():
        raise ValueError("positions are not finite: training has diverged; lower learning_rate")
    cells, bounds = lattice.cpu().double().numpy(), np.cumsum(counts.cpu().numpy())[:-1]
    found = (
        nearest_neighbours(cell, part @ inverse, cutoff, max_neighbours)
        for cell, inverse, part in zip(cells, np.linalg.inv(cells), np.split(positions, bounds), strict=True)
    )
    return _joined(cart, lattice, counts, _counted(found))


def pristine_graph(batch: CrystalBatch, cutoff: float, max_neighbours: int) -> Graph:
    """Return the same of a batch whose positions are its crystals', for each of which neighbours are searched for
    once."""
    found = (neighbours_of(crystal, cutoff, max_neighbours) for crystal in batch.crystals)
    return _joined(batch.cart, batch.lattice, batch.counts, _counted(found))


_found: WeakKeyDictionary[Crystal, dict[tuple[float, int], NeighbourList]] = WeakKeyDictionary()


def neighbours_of(crystal: Crystal, cutoff: float, max_neighbours: int) -> NeighbourList:
    """Return `nearest` of a crystal as it is; searched for once and kept as long as the crystal is."""
    kept = _found.setdefault(crystal, {})
    if (cutoff, max_neighbours) not in kept:
        kept[cutoff, max_neighbours] = nearest_neighbours(crystal.lattice, crystal.frac, cutoff, max_neighbours)
    return kept[cutoff, max_neighbours]


def _counted(found: Iterable[NeighbourList]) -> list[NeighbourList]:
    """Return the neighbours of all crystals. Raises `ValueError` as soon as they are too many for one graph."""
    lists: list[NeighbourList] = []
    edges = 0
    for each in found:
        lists.append(each)
        require_edges(edges := edges + len(each.src))
    return lists


def _joined(cart: Tensor, lattice: Tensor, counts: Tensor, found: list[NeighbourList]) -> Graph:
    device = cart.device
    sizes = counts.cpu().numpy()
    first = np.cumsum(sizes) - sizes
    src, dst = (
        np.concatenate([getattr(edges, end) + start for edges, start in zip(found, first, strict=True)])
        for end in ("src", "dst")
    )
    return Graph(
        cart=cart,
        lattice=lattice,
        crystal=torch.repeat_interleave(torch.arange(len(counts), device=device), counts),
        src=torch.from_numpy(src).to(device),
        dst=torch.from_numpy(dst).to(device),
        offset=torch.from_numpy(np.concatenate([edges.offset for edges in found])).float().to(device),
    )
