"""Crystals and graphs as torch-geometric's `Data` and `Batch`, and back, for models and tools that speak it.

Nothing here imports this module, since torch-geometric takes seconds to import: ask for it where you need it.

    from crystalsweep.structures.pyg import to_batch
    batch = to_batch(crystals, cutoff=5.0, max_neighbours=12)

A crystal's `Data` has `z` (N,), `pos` (N, 3) Å, `frac` (N, 3) float64, `cell` (1, 3, 3) Å with lattice vectors as rows,
`id`, and each label under its own name, (1,). With neighbours also `edge_index` (2, E), from neighbour to centre, and
`edge_shift` (E, 3), whole lattice vectors: an edge's vector is `pos[src] + edge_shift @ cell - pos[dst]`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch_geometric.data import Batch, Data

from crystalsweep.structures.batch import CrystalBatch
from crystalsweep.structures.crystal import Crystal
from crystalsweep.structures.graph import Graph, neighbours_of

_OWN = frozenset({"z", "pos", "frac", "cell", "id", "edge_index", "edge_shift", "batch", "ptr"})


def to_data(
    crystal: Crystal,
    *,
    cutoff: float | None = None,
    max_neighbours: int = 12,
    labels: Iterable[str] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Data:
    """Return a crystal as one graph.

    Args:
        crystal: The crystal.
        cutoff: Å, within which it has edges; none without it.
        max_neighbours: Of an atom, whole shells.
        labels: Names of those to give, NaN where it has none of that name; all that it has.
        dtype: Of `pos`, `cell`, `edge_shift` and labels.

    Raises:
        ValueError: A label has the name of something else in the graph.
    """
    names = list(crystal.labels if labels is None else labels)
    if taken := sorted(_OWN.intersection(names)):
        raise ValueError(f"a label cannot be called {taken[0]!r}, which is another thing in a graph; rename it")
    data = Data(
        z=torch.from_numpy(crystal.species.copy()),
        pos=torch.from_numpy(crystal.cart.copy()).to(dtype),
        frac=torch.from_numpy(crystal.frac.copy()),
        cell=torch.from_numpy(crystal.lattice.copy())[None].to(dtype),
        id=crystal.id,
        **{name: torch.tensor([crystal.labels.get(name, np.nan)], dtype=dtype) for name in names},
    )
    if cutoff is not None:
        found = neighbours_of(crystal, cutoff, max_neighbours)
        data.edge_index = torch.from_numpy(np.stack([found.src, found.dst]))
        data.edge_shift = torch.from_numpy(found.offset.copy()).to(dtype)
    return data


def from_data(data: Data) -> Crystal:
    """Return the crystal of a graph: of `frac` where it is there, else of `pos`; edges are left out.

    What else has one number is a label. Raises `ValueError` where `z`, `cell` or positions are missing.
    """
    for names in (("z",), ("cell",), ("frac", "pos")):
        if not any(name in data for name in names):
            there = ", ".join(map(str, data.keys()))
            raise ValueError(f"a graph without {' or '.join(names)} is no crystal; it has {there}")
    lattice = data.cell.detach().cpu().double().numpy().reshape(3, 3)
    if "frac" in data:
        frac = data.frac.detach().cpu().double().numpy()
    else:
        frac = data.pos.detach().cpu().double().numpy() @ np.linalg.inv(lattice)
    labels = {name: float(value) for name, value in data.to_dict().items() if name not in _OWN and _is_number(value)}
    return Crystal.of(str(data.id) if "id" in data else "", data.z.cpu().numpy(), lattice, frac, **labels)


def to_batch(
    crystals: Sequence[Crystal] | CrystalBatch,
    *,
    cutoff: float | None = None,
    max_neighbours: int = 12,
    dtype: torch.dtype = torch.float32,
) -> Batch:
    """Return crystals, or those that a batch was made of, as one graph; each has every label, NaN where it has none.

    Args:
        crystals: In order.
        cutoff: Å; see `to_data`, as for the others.
        max_neighbours: Of an atom.
        dtype: Of floating-point tensors but `frac`.
    """
    given = crystals.crystals if isinstance(crystals, CrystalBatch) else crystals
    labels = sorted({name for crystal in given for name in crystal.labels})
    return Batch.from_data_list(
        [to_data(c, cutoff=cutoff, max_neighbours=max_neighbours, labels=labels, dtype=dtype) for c in given]
    )


def from_batch(batch: Batch) -> list[Crystal]:
    """Return the crystals of a batch, in order. Raises `ValueError` as `from_data` does."""
    return [from_data(data) for data in batch.to_data_list()]


def graph_of_batch(batch: Batch) -> Graph:
    """Return the graph that backbones read, of a batch with edges; gradients of `pos` flow."""
    src, dst = batch.edge_index
    return Graph(
        cart=batch.pos,
        lattice=batch.cell.to(batch.pos.dtype),
        crystal=batch.batch,
        src=src,
        dst=dst,
        offset=batch.edge_shift.to(batch.pos.dtype),
    )


def _is_number(value: object) -> bool:
    if isinstance(value, torch.Tensor):
        return value.numel() == 1
    return isinstance(value, int | float) and not isinstance(value, bool)
