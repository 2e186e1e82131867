"""The neighbour search against brute force, the graph built from it, and `min_edge`."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from crystalsweep.data import load_bundled
from crystalsweep.structures import graph as graphs
from crystalsweep.structures.batch import collate
from crystalsweep.structures.crystal import Crystal
from crystalsweep.structures.graph import Graph, build_graph, pristine_graph
from crystalsweep.structures.neighbours import nearest, neighbour_list, shortest_distance

Array = NDArray[np.float64]

FCC = np.array([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])
CELLS = {
    "cubic": (4.0 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]]),
    "rock salt": (5.64 * FCC, [[0, 0, 0], [0.5, 0.5, 0.5]]),
    "skewed": (np.array([[1, 0, 0], [3, 1, 0], [-2, 4, 1]]) @ (4.0 * np.eye(3)), [[0.1, 0.2, 0.3], [0.6, 0.9, 0.4]]),
    "triclinic": (np.array([[3.1, 0, 0], [1.2, 3.9, 0], [-0.8, 1.5, 5.2]]), [[0.9, 0.1, 0.5], [0.2, 0.3, 0.99]]),
    "needle": (np.diag([1.0, 1.0, 30.0]), [[0, 0, 0], [0.3, 0.4, 0.1]]),
    "one atom": (2.5 * np.eye(3), [[0.3, 0.3, 0.3]]),
    "isolated": (30.0 * np.eye(3), [[0.5, 0.5, 0.5]]),
    "left-handed": (np.array([[0, 3.0, 0], [3.5, 0, 0], [0.5, 0, 4.0]]), [[0, 0, 0], [0.4, 0.5, 0.6]]),
}


def brute_force(lattice: Array, frac: Array, cutoff: float) -> set[tuple[int, int, tuple[int, ...]]]:
    """(centre, neighbour, offset) of every pair within the cutoff, over all images that could be."""
    heights = 1 / np.linalg.norm(np.linalg.inv(lattice), axis=0)
    spread = np.ceil(np.abs(frac).max(initial=1.0)) + 1
    reach = (np.ceil(cutoff / heights) + spread).astype(int)
    pairs = set()
    for offset in itertools.product(*(range(-n, n + 1) for n in reach)):
        images = (frac + offset) @ lattice
        distance = np.linalg.norm(images[None] - (frac @ lattice)[:, None], axis=-1)
        for i, j in np.argwhere(distance <= cutoff):
            if i != j or any(offset):
                pairs.add((int(i), int(j), offset))
    return pairs


def found_pairs(lattice: Array, frac: Array, cutoff: float) -> set[tuple[int, int, tuple[int, ...]]]:
    found = neighbour_list(lattice, frac, cutoff)
    pairs = [(int(i), int(j), tuple(map(int, o))) for i, j, o in zip(found.dst, found.src, found.offset, strict=True)]
    assert len(pairs) == len(set(pairs)), "a pair is listed twice"
    return set(pairs)


@pytest.mark.parametrize("name", CELLS)
def test_pairs_are_those_of_brute_force(name: str) -> None:
    lattice, frac = CELLS[name]
    assert found_pairs(lattice, np.array(frac, float), 5.03) == brute_force(lattice, np.array(frac, float), 5.03)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 4))
def test_pairs_are_those_of_brute_force_in_any_cell(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    lattice = rng.uniform(-3, 3, (3, 3)) + np.diag(rng.choice([-1, 1], 3) * rng.uniform(3, 6, 3))
    if abs(np.linalg.det(lattice)) < 10:
        lattice = lattice + 8 * np.eye(3)
    frac = rng.uniform(-0.5, 1.5, (n, 3))
    assert found_pairs(lattice, frac, 4.1) == brute_force(lattice, frac, 4.1)


def test_every_pair_is_seen_from_both_ends() -> None:
    lattice, frac = CELLS["triclinic"]
    pairs = found_pairs(lattice, np.array(frac), 6.0)
    assert pairs == {(j, i, tuple(-k for k in o)) for i, j, o in pairs}


def test_listed_distances_are_those_between_images() -> None:
    lattice, frac = CELLS["skewed"]
    found = neighbour_list(lattice, np.array(frac), 6.0)
    cart = np.array(frac) @ lattice
    vectors = cart[found.src] + found.offset @ lattice - cart[found.dst]
    assert np.allclose(np.linalg.norm(vectors, axis=1), found.distance, atol=1e-9)


def test_rock_salt_has_its_shells() -> None:
    lattice, frac = CELLS["rock salt"]
    distance = neighbour_list(lattice, np.array(frac), 5.0).distance / 5.64
    values, counts = np.unique(distance.round(6), return_counts=True)
    assert values.tolist() == pytest.approx([0.5, 0.5**0.5, 0.75**0.5], abs=1e-6)
    assert (counts / 2).tolist() == [6, 12, 8]


# Nearest: whole shells


@pytest.mark.parametrize(("most", "kept"), [(1, 6), (6, 6), (7, 18), (18, 18), (19, 26), (1000, 26)])
def test_nearest_keeps_whole_shells(most: int, kept: int) -> None:
    lattice, frac = CELLS["rock salt"]
    edges = nearest(neighbour_list(lattice, np.array(frac), 5.0), most)
    assert np.bincount(edges.dst).tolist() == [kept, kept]


@pytest.mark.parametrize("name", ["rock salt", "fcc"])
@pytest.mark.parametrize("most", [4, 8, 12, 16])
def test_nearest_does_not_depend_on_atom_order(name: str, most: int) -> None:
    """In conventional cells, where a cut through a shell would keep whichever atoms come first."""
    corners = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    frac = np.concatenate([corners, corners + np.array([0.5, 0, 0])]) if name == "rock salt" else corners
    lattice = (5.64 if name == "rock salt" else 3.61) * np.eye(3)
    expected = degrees_and_distances(lattice, frac, most)
    assert len({degree for degree, _ in expected}) == 1
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(frac))
        shuffled = degrees_and_distances(lattice, frac[order], most)
        assert shuffled == [expected[i] for i in order]


def degrees_and_distances(lattice: Array, frac: Array, most: int) -> list[tuple[int, tuple[float, ...]]]:
    edges = nearest(neighbour_list(lattice, frac, 6.0), most)
    atoms = [edges.distance[edges.dst == i] for i in range(len(frac))]
    return [(len(distances), tuple(np.sort(distances).round(6))) for distances in atoms]


def test_nearest_of_nothing_is_nothing() -> None:
    lattice, frac = CELLS["isolated"]
    assert len(nearest(neighbour_list(lattice, np.array(frac), 5.0), 3).src) == 0


def test_nearest_cuts_each_centre_by_its_own_distance() -> None:
    """An atom with close company keeps fewer, nearer pairs than its lonely neighbour."""
    frac = np.array([[0, 0, 0], [0.1, 0, 0], [0.5, 0.5, 0.5]])
    edges = nearest(neighbour_list(10.0 * np.eye(3), frac, 12.0), 1)
    assert edges.distance[edges.dst == 0].tolist() == pytest.approx([1.0])
    assert edges.distance[edges.dst == 2].min() > 8


# Graphs


def graph_of_cell(lattice: Array, cart: Array, cutoff: float = 5.0, most: int = 12) -> Graph:
    tensors = torch.from_numpy(np.asarray(cart)).float(), torch.from_numpy(lattice).float()[None]
    return build_graph(*tensors, torch.tensor([len(cart)]), cutoff, most)


@pytest.fixture(scope="module")
def crystals() -> list[Crystal]:
    return sorted(load_bundled("val"), key=lambda crystal: (len(crystal), crystal.id))[100:108]


def edge_table(graph: Graph) -> list[tuple[int, ...]]:
    """Ends of every edge and its vector in 1/1000 Å, sorted: the graph whatever its offsets are counted from."""
    vectors = (graph.edge_vectors() * 1000).round().long().tolist()
    return sorted((i, j, *v) for i, j, v in zip(graph.dst.tolist(), graph.src.tolist(), vectors, strict=True))


def near(a: list[tuple[int, ...]], b: list[tuple[int, ...]]) -> bool:
    """Equal up to rounding of the vectors, which may also swap neighbours in the sorted tables."""
    if len(a) != len(b):
        return False
    left, right = torch.tensor(a), torch.tensor(b)
    apart = (left[:, None] - right[None]).abs()
    return bool((apart.amax(dim=-1) <= 1).any(dim=1).all()) and bool((apart.amax(dim=-1) <= 1).any(dim=0).all())


def test_unwrapped_coordinates_give_the_same_graph(crystals: list[Crystal]) -> None:
    rng = np.random.default_rng(0)
    for crystal in crystals:
        whole = rng.integers(-3, 4, crystal.cart.shape)
        moved = graph_of_cell(crystal.lattice, crystal.cart + whole @ crystal.lattice)
        assert near(edge_table(graph_of_cell(crystal.lattice, crystal.cart)), edge_table(moved)), crystal.id


def test_edge_vectors_are_as_long_as_their_distances(crystals: list[Crystal]) -> None:
    for crystal in crystals:
        graph = graph_of_cell(crystal.lattice, crystal.cart)
        expected = nearest(neighbour_list(crystal.lattice, crystal.frac, 5.0), 12).distance
        lengths = graph.edge_vectors().norm(dim=1).numpy()
        assert np.allclose(np.sort(lengths), np.sort(expected), atol=1e-4), crystal.id


def test_edge_vectors_point_from_centre_to_neighbour() -> None:
    graph = graph_of_cell(20.0 * np.eye(3), np.array([[0.0, 0, 0], [1.0, 2.0, 3.0]]))
    forward = graph.edge_vectors()[graph.dst == 0]
    assert forward.tolist() == [[1.0, 2.0, 3.0]]


def test_gradient_flows_through_edge_vectors() -> None:
    cart = torch.tensor([[0.0, 0, 0], [1.0, 2.0, 2.0]], requires_grad=True)
    graph = build_graph(cart, 20.0 * torch.eye(3)[None], torch.tensor([2]), 5.0, 12)
    lengths = graph.edge_vectors().norm(dim=1)
    (gradient,) = torch.autograd.grad(lengths.sum(), cart)
    assert gradient[1].tolist() == pytest.approx([2 / 3, 4 / 3, 4 / 3])
    assert gradient[0].tolist() == pytest.approx([-2 / 3, -4 / 3, -4 / 3])


def test_edge_vectors_are_the_same_under_autocast() -> None:
    """In bfloat16 a lattice vector of 4.12 Å is off by 0.01 Å."""
    graph = graph_of_cell(4.123456 * np.eye(3), np.array([[0.123456, 0, 0], [1.0, 2.0, 2.0]]))
    expected = graph.edge_vectors()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(graph.edge_vectors(), expected)


def test_edges_stay_within_their_crystal(crystals: list[Crystal]) -> None:
    cart = torch.from_numpy(np.concatenate([crystal.cart for crystal in crystals])).float()
    lattice = torch.from_numpy(np.stack([crystal.lattice for crystal in crystals])).float()
    counts = torch.tensor([len(crystal) for crystal in crystals])
    graph = build_graph(cart, lattice, counts, 5.0, 12)
    assert torch.equal(graph.crystal[graph.src], graph.crystal[graph.dst])
    assert len(torch.unique(graph.dst)) == len(cart)
    assert graph.size == len(crystals)


def test_positions_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match=r"not finite.*lower learning.rate"):
        graph_of_cell(4.0 * np.eye(3), np.array([[np.nan, 0, 0]]))


# min_edge


@pytest.mark.parametrize(
    ("lattice", "frac", "expected"),
    [
        (3.0 * np.eye(3), [[0.2, 0.3, 0.4]], 3.0),
        (np.diag([5.0, 5.0, 2.0]), [[0, 0, 0], [0.5, 0.5, 0.5]], 2.0),
        (10.0 * np.eye(3), [[0.02, 0.5, 0.5], [0.97, 0.5, 0.5]], 0.5),
        (10.0 * np.eye(3), [[0.01, 0.01, 0.01], [0.99, 0.99, 0.99]], 0.2 * 3**0.5),
        (np.diag([1.0, 1.0, 30.0]), [[0, 0, 0], [0, 0, 0.5]], 1.0),
        (30.0 * np.eye(3), [[0, 0, 0]], 30.0),
        (5.64 * FCC, [[0, 0, 0], [0.5, 0.5, 0.5]], 2.82),
        (np.array([[1.0, 0, 0], [3, 1, 0], [-2, 4, 1]]) * 4.0, [[0, 0, 0]], 4.0),
        (np.array([[4.0, 0, 0], [3.9, 1.0, 0], [0, 0, 8.0]]), [[0, 0, 0]], 1.01**0.5),
        (4.0 * np.eye(3), [[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]], 0.0),
    ],
    ids=["one atom", "own image", "a face", "a corner", "needle", "lonely", "rock salt", "skewed", "flat", "same site"],
)
def test_min_edge_of_cells_computed_by_hand(lattice: Array, frac: list[list[float]], expected: float) -> None:
    assert shortest_distance(lattice, np.array(frac, float)) == pytest.approx(expected, abs=1e-9)
    assert Crystal.of("x", [1] * len(frac), lattice, frac).min_edge == pytest.approx(expected, abs=1e-9)


# Neighbours that are kept


def test_pristine_graph_is_the_graph_of_the_batch(crystals: list[Crystal]) -> None:
    batch = collate(crystals)
    kept, built = pristine_graph(batch, 5.0, 12), build_graph(batch.cart, batch.lattice, batch.counts, 5.0, 12)
    assert torch.equal(kept.crystal, built.crystal)
    assert edge_set(kept) == edge_set(built)


def edge_set(graph: Graph) -> set[tuple[int, ...]]:
    return set(map(tuple, torch.stack([graph.dst, graph.src, *graph.offset.long().T], dim=1).tolist()))


def test_neighbours_of_a_crystal_are_searched_for_once(
    crystals: list[Crystal], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = collate(crystals)
    first = pristine_graph(batch, 4.9, 12)
    monkeypatch.setattr(graphs, "nearest_neighbours", None)
    assert torch.equal(pristine_graph(batch, 4.9, 12).src, first.src)
    with pytest.raises(TypeError):
        pristine_graph(batch, 4.9, 11)


def test_kept_neighbours_go_with_their_crystal() -> None:
    crystal = Crystal.of("x", [29], 2.5 * np.eye(3), [[0, 0, 0]])
    before = len(graphs._found)
    graphs.neighbours_of(crystal, 5.0, 12)
    assert len(graphs._found) == before + 1
    del crystal
    assert len(graphs._found) == before
