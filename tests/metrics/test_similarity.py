"""Distances against brute force and cells computed by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from crystalsweep.metrics.similarity import (
    aligned,
    all_aligned,
    all_displacements,
    all_mean_distances,
    displacements,
    mean_distance,
    minimum_image,
    reduced_lattice,
)
from crystalsweep.structures.crystal import Crystal

Triple = tuple[float, float, float]
Array = NDArray[np.float64]
CUBE = 5.0 * np.eye(3)


def brute_force(delta: Array, lattice: Array, reach: int = 9) -> Array:
    """(N,) lengths of the shortest of all images within `reach` cells."""
    steps = np.array(list(itertools.product(range(-reach, reach + 1), repeat=3)))
    return np.linalg.norm(delta[:, None] + (steps @ lattice)[None], axis=2).min(axis=1)


@given(
    lengths=st.tuples(*[st.floats(1.5, 6.0)] * 3),
    shear=st.tuples(*[st.floats(-4.0, 4.0)] * 3),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None)
def test_minimum_image_is_exact_in_skewed_cells(lengths: Triple, shear: Triple, seed: int) -> None:
    lattice = np.diag(lengths)
    lattice[1] += shear[0] * lattice[0]
    lattice[2] += shear[1] * lattice[0] + shear[2] * np.diag(lengths)[1]
    delta = np.random.default_rng(seed).uniform(-0.5, 0.5, (6, 3)) @ np.diag(lengths)
    image = minimum_image(delta, lattice)
    assert np.linalg.norm(image, axis=1) == pytest.approx(brute_force_sheared(delta, lattice, lengths), abs=1e-9)
    cells = (image - delta) @ np.linalg.inv(lattice)
    assert cells == pytest.approx(np.round(cells), abs=1e-7)


def brute_force_sheared(delta: Array, lattice: Array, lengths: Triple) -> Array:
    """All images with |t| at most twice the orthogonal diagonal, found row by row from the triangular lattice."""
    radius = 2 * np.linalg.norm(lengths)
    vectors = []
    for k in range(-int(radius / lengths[2]) - 1, int(radius / lengths[2]) + 2):
        base = k * lattice[2]
        middle = round(-base[1] / lengths[1])
        for j in range(middle - int(radius / lengths[1]) - 1, middle + int(radius / lengths[1]) + 2):
            row = base + j * lattice[1]
            first = round(-row[0] / lengths[0])
            span = int(radius / lengths[0]) + 1
            vectors.append(row + np.arange(first - span, first + span + 1)[:, None] * lattice[0])
    return np.linalg.norm(delta[:, None] + np.concatenate(vectors)[None], axis=2).min(axis=1)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_minimum_image_is_exact_in_random_cells(seed: int) -> None:
    generator = np.random.default_rng(seed)
    lattice = np.diag(generator.uniform(2, 5, 3)) + generator.normal(size=(3, 3))
    if abs(np.linalg.det(lattice)) < 8:
        return
    delta = generator.uniform(-0.5, 0.5, (8, 3)) @ lattice
    assert np.linalg.norm(minimum_image(delta, lattice), axis=1) == pytest.approx(brute_force(delta, lattice), abs=1e-9)


def test_minimum_image_by_hand() -> None:
    assert minimum_image(np.array([[4.5, 0.0, -3.0]]), CUBE) == pytest.approx(np.array([[-0.5, 0.0, 2.0]]))


def test_reduction_keeps_the_orientation() -> None:
    lattice = np.array([[4.0, 0, 0], [12.0, 4.0, 0], [-8.0, 4.0, 4.0]])
    cells = reduced_lattice(lattice) @ np.linalg.inv(lattice)
    assert cells == pytest.approx(np.round(cells), abs=1e-9)
    assert np.sort(np.linalg.norm(reduced_lattice(lattice), axis=1)) == pytest.approx([4.0, 4.0, 4.0])


def test_displacements_cross_faces() -> None:
    a = Crystal.of("a", [1, 1], CUBE, [[0.02, 0, 0], [0.5, 0.5, 0.5]])
    b = Crystal.of("b", [1, 1], CUBE, [[0.98, 0, 0], [0.5, 0.5, 0.6]])
    moved = displacements(a, b)
    assert moved == pytest.approx(np.array([[-0.2, 0, 0], [0, 0, 0.5]]))
    assert mean_distance(moved) == pytest.approx(0.35)


def test_other_number_of_atoms_is_an_error() -> None:
    a = Crystal.of("a", [1, 1], CUBE, np.zeros((2, 3)))
    with pytest.raises(ValueError, match="'a' has 2 atoms"):
        displacements(a, Crystal.of("b", [1], CUBE, np.zeros((1, 3))))


def test_strain_alone_displaces_nothing() -> None:
    a = Crystal.of("a", [1, 1], CUBE, [[0.1, 0.2, 0.3], [0.5, 0.5, 0.5]])
    b = Crystal.of("b", [1, 1], 1.1 * CUBE, a.frac)
    assert mean_distance(displacements(a, b)) == 0


@pytest.mark.parametrize("shift", [0.3, 2.49, 2.5, 2.51, 4.9])
def test_alignment_removes_any_translation(shift: float) -> None:
    generator = np.random.default_rng(0)
    noise = generator.normal(scale=0.2, size=(10, 3))
    noise -= noise.mean(axis=0)
    translated = minimum_image(noise + np.array([shift, 1.0, -shift]), CUBE)
    assert aligned(translated, CUBE) == pytest.approx(noise, abs=1e-9)


def test_alignment_in_small_cells_is_never_beaten_by_the_plain_mean() -> None:
    generator = np.random.default_rng(3)
    for _ in range(100):
        lattice = np.diag(generator.uniform(2.5, 5, 3)) + 0.5 * generator.normal(size=(3, 3))
        moved = minimum_image(generator.normal(scale=0.8, size=(4, 3)), lattice)
        plain = minimum_image(moved - moved.mean(axis=0), lattice)
        assert (aligned(moved, lattice) ** 2).sum() <= (plain**2).sum() + 1e-9


def test_one_atom_is_aligned_to_nothing() -> None:
    assert mean_distance(aligned(np.array([[0.4, -0.1, 0.2]]), CUBE)) == 0


def several_cells(generator: np.random.Generator, sigma: float) -> tuple[Array, Array, NDArray[np.int64]]:
    """Fractional differences, lattices and counts (0 to 6 atoms) of ten crystals, every third one sheared."""
    lattices = np.array([np.diag(generator.uniform(2.5, 5, 3)) + generator.normal(size=(3, 3)) / 2 for _ in range(10)])
    lattices[::3] = (np.eye(3) + np.tril(generator.integers(-4, 5, (3, 3)), -1)) @ lattices[::3]
    counts = np.array([3, 0, 1, 2, 6, 5, 4, 6, 2, 5])
    noise = generator.normal(scale=sigma, size=(counts.sum(), 3))
    return np.einsum("mi,mij->mj", noise, np.repeat(np.linalg.inv(lattices), counts, axis=0)), lattices, counts


@given(seed=st.integers(0, 2**32 - 1), sigma=st.floats(0.05, 3.0))
@settings(max_examples=25, deadline=None)
def test_all_displacements_are_minimum_images(seed: int, sigma: float) -> None:
    delta, lattices, counts = several_cells(np.random.default_rng(seed), sigma)
    moved = all_displacements(delta, lattices, counts)
    first = counts.cumsum()[:-1]
    for part, lattice, image in zip(np.split(delta, first), lattices, np.split(moved, first), strict=True):
        reduced = reduced_lattice(lattice)
        frac = part @ lattice @ np.linalg.inv(reduced)
        expected = brute_force((frac - np.round(frac)) @ reduced, reduced, reach=4)
        assert np.linalg.norm(image, axis=1) == pytest.approx(expected, abs=1e-9)


def descents(moved: Array, lattice: Array) -> Array:
    """The best of N + 1 descents, image by image."""
    reduced = reduced_lattice(lattice)
    images = np.array(list(itertools.product(range(-2, 3), repeat=3))) @ reduced
    best = np.full(moved.shape, np.inf)
    for start in [moved.mean(axis=0), *moved]:
        residual = moved - start
        for _ in range(9):
            frac = residual @ np.linalg.inv(reduced)
            candidates = ((frac - np.round(frac)) @ reduced)[:, None] + images
            nearest = (candidates**2).sum(axis=2).argmin(axis=1)
            last = candidates[np.arange(len(moved)), nearest]
            residual = last - last.mean(axis=0)
        if (last**2).sum() < (best**2).sum() - 1e-9:
            best = last
    return best


@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.0, 2.0])
def test_all_aligned_are_the_best_of_the_descents(sigma: float) -> None:
    plain = 0
    for seed in range(10):
        delta, lattices, counts = several_cells(np.random.default_rng(seed), sigma)
        moved = all_displacements(delta, lattices, counts)
        found = all_mean_distances(all_aligned(moved, lattices, counts), counts)
        for distance, part, lattice in zip(found, np.split(moved, counts.cumsum()[:-1]), lattices, strict=True):
            if not len(part):
                assert np.isnan(distance)
                continue
            assert distance == pytest.approx(mean_distance(descents(part, lattice)), abs=1e-9)
            assert distance == pytest.approx(mean_distance(aligned(part, lattice)), abs=1e-12)
            plain += distance == pytest.approx(mean_distance(part - part.mean(axis=0)), abs=1e-9)
    assert plain < 90 if sigma > 0.5 else plain > 60


def test_no_crystals_and_no_atoms() -> None:
    nothing, none = np.zeros((0, 3)), np.zeros(0, dtype=np.int64)
    assert all_aligned(nothing, np.zeros((0, 3, 3)), none).shape == (0, 3)
    assert all_displacements(nothing, np.zeros((0, 3, 3)), none).shape == (0, 3)
    assert aligned(nothing, CUBE).shape == (0, 3)
    assert np.isnan(mean_distance(nothing))
