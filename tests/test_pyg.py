"""Crystals as torch-geometric's graphs and back, with their edges."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader

import crystalsweep
from crystalsweep.data import load_data
from crystalsweep.networks.architectures import SIZES
from crystalsweep.networks.models import Generator, one_hot
from crystalsweep.structures.batch import collate
from crystalsweep.structures.crystal import Crystal
from crystalsweep.structures.graph import build_graph, pristine_graph
from crystalsweep.structures.pyg import from_batch, from_data, graph_of_batch, to_batch, to_data

CRYSTALS = load_data("bundled").train[:7]
NEIGHBOURS: dict[str, Any] = {"cutoff": 5.0, "max_neighbours": 8}


def same(ours: Crystal, theirs: Crystal, *, exact: bool = True) -> None:
    assert (ours.id, ours.species.tolist()) == (theirs.id, theirs.species.tolist())
    tolerance = 0.0 if exact else 1e-5
    assert np.abs(ours.lattice - theirs.lattice).max() <= tolerance
    assert np.abs(ours.frac - theirs.frac).max() <= tolerance
    assert theirs.labels == pytest.approx(ours.labels, rel=0 if exact else 1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_crystal_comes_back_as_it_was(dtype: torch.dtype) -> None:
    """In double precision to the bit."""
    for crystal in CRYSTALS:
        same(crystal, from_data(to_data(crystal, **NEIGHBOURS, dtype=dtype)), exact=dtype == torch.float64)


def test_positions_alone_are_enough() -> None:
    crystal = CRYSTALS[0]
    data = to_data(crystal, dtype=torch.float64)
    bare = Data(z=data.z, pos=data.pos + data.cell[0, 0], cell=data.cell)  # a lattice vector further
    found = from_data(bare)
    apart = np.abs(found.frac - crystal.frac)
    assert np.minimum(apart, 1 - apart).max() < 1e-9
    assert (found.id, found.labels) == ("", {})


def test_edges_are_those_of_our_graph() -> None:
    for crystal in CRYSTALS:
        data, ours = to_data(crystal, **NEIGHBOURS), pristine_graph(collate([crystal]), **NEIGHBOURS)
        assert torch.equal(data.edge_index, torch.stack([ours.src, ours.dst]))
        src, dst = data.edge_index
        vectors = data.pos[src] + data.edge_shift @ data.cell[0] - data.pos[dst]
        assert torch.allclose(vectors, ours.edge_vectors(), atol=1e-5)
        assert data.num_nodes == len(crystal)
        assert "edge_index" not in to_data(crystal)


@pytest.mark.parametrize("given", [CRYSTALS, collate(CRYSTALS)], ids=["crystals", "batch"])
def test_a_batch_comes_back_as_it_was_and_its_graph_is_ours(given: object) -> None:
    batch = to_batch(given, **NEIGHBOURS)
    for crystal, found in zip(CRYSTALS, from_batch(batch), strict=True):
        same(crystal, found, exact=False)
    whole = collate(CRYSTALS)
    ours, theirs = build_graph(whole.cart, whole.lattice, whole.counts, 5.0, 8), graph_of_batch(batch)
    assert torch.equal(theirs.crystal, ours.crystal)
    rows = [torch.cat([g.src[:, None], g.dst[:, None], g.offset], dim=1).tolist() for g in (ours, theirs)]
    assert sorted(rows[0]) == sorted(rows[1])


def test_a_network_answers_the_same_on_either_graph() -> None:
    config = SIZES["painn"]["smoke"]
    model, whole = Generator(config).eval(), collate(CRYSTALS)
    near: dict[str, Any] = {"cutoff": config.cutoff, "max_neighbours": config.max_neighbours}
    batch = to_batch(CRYSTALS, **near)
    with torch.no_grad():
        ours = model(one_hot(whole.species), pristine_graph(whole, **near))
        theirs = model(one_hot(batch.z), graph_of_batch(batch))
    assert torch.allclose(ours.logits, theirs.logits, atol=1e-5)
    assert torch.allclose(ours.perturbation, theirs.perturbation, atol=1e-5)


def test_a_label_that_some_lack_is_absent_again_afterwards() -> None:
    given = {"a": {}, "b": {"gap": 8.5}, "c": {"e_above_hull": 0.25}}
    frac = [[0, 0, 0], [0.5, 0.5, 0.5]]
    salts = [Crystal.of(name, [11, 17], 4 * np.eye(3), frac, **labels) for name, labels in given.items()]
    batch = to_batch(salts)
    assert batch.gap.isnan().tolist() == [True, False, True]
    assert [crystal.labels for crystal in from_batch(batch)] == [{}, {"gap": 8.5}, {"e_above_hull": 0.25}]


def test_torch_geometrics_loader_batches_them() -> None:
    loader = DataLoader([to_data(crystal, **NEIGHBOURS, labels=()) for crystal in CRYSTALS], batch_size=4)
    sizes = [(batch.num_graphs, batch.cell.shape[0], batch.num_nodes) for batch in loader]
    assert sizes == [(4, 4, sum(map(len, CRYSTALS[:4]))), (3, 3, sum(map(len, CRYSTALS[4:])))]


def test_what_is_no_crystal_is_told() -> None:
    with pytest.raises(ValueError, match="a graph without cell is no crystal; it has z"):
        from_data(Data(z=torch.tensor([1])))
    with pytest.raises(ValueError, match="a label cannot be called 'pos'"):
        to_data(Crystal.of("x", [1], np.eye(3), [[0, 0, 0]], pos=1.0))


def test_nothing_of_ours_imports_it() -> None:
    root = Path(crystalsweep.__file__).parent
    importers = [
        path
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == "crystalsweep.structures.pyg"
    ]
    assert importers == []
