"""Minimum images and plane spacings against brute force in boxes, sheared cells and needles."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from crystalsweep.metrics.geometry import cells_of, minimum_images, plane_spacings

Array = NDArray[np.float64]


def random_cell(generator: np.random.Generator, shear: int) -> tuple[Array, Array]:
    """A compact lattice, and the same lattice in vectors sheared by up to `shear` steps."""
    compact = np.diag(generator.uniform(2.0, 6.0, 3)) + generator.normal(scale=0.5, size=(3, 3))
    assume((np.linalg.norm(np.linalg.inv(compact), axis=0) < 1 / 1.3).all())  # else six cells are too few below
    steps = np.eye(3, dtype=int)
    for row, column in itertools.permutations(range(3), 2):
        elementary = np.eye(3, dtype=int)
        elementary[row, column] = generator.integers(-shear, shear + 1)
        steps = elementary @ steps
    return compact, steps @ compact


def brute_force(delta: Array, compact: Array) -> Array:
    """(N,) lengths of the shortest of the images within six cells of the wrapped ones."""
    frac = delta @ np.linalg.inv(compact)
    wrapped = (frac - np.round(frac)) @ compact
    steps = np.array(list(itertools.product(range(-6, 7), repeat=3)))
    return np.linalg.norm(wrapped[:, None] + (steps @ compact)[None], axis=2).min(axis=1)


@given(seed=st.integers(0, 2**32 - 1), shear=st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_minimum_images_of_several_cells_at_once_are_exact(seed: int, shear: int) -> None:
    generator = np.random.default_rng(seed)
    pairs = [random_cell(generator, shear) for _ in range(3)]
    cell = np.array([0, 0, 1, 1, 2, 2, 0])
    delta = np.einsum("mi,mij->mj", generator.uniform(-2, 2, (7, 3)), np.array([pairs[k][0] for k in cell]))
    lattices = np.array([sheared for _, sheared in pairs])
    images = minimum_images(delta, cells_of(lattices), cell)
    for k, (compact, _) in enumerate(pairs):
        expected = brute_force(delta[cell == k], compact)
        assert np.linalg.norm(images[cell == k], axis=1) == pytest.approx(expected, abs=1e-9)
    steps = np.einsum("mi,mij->mj", images - delta, np.linalg.inv(lattices)[cell])
    assert steps == pytest.approx(np.round(steps), abs=1e-6)


@given(seed=st.integers(0, 2**32 - 1), shear=st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_no_lattice_vector_is_shorter_than_the_least_plane_spacing(seed: int, shear: int) -> None:
    compact, sheared = random_cell(np.random.default_rng(seed), shear)
    steps = np.array([n for n in itertools.product(range(-8, 9), repeat=3) if any(n)])
    shortest = np.linalg.norm(steps @ compact, axis=1).min()
    assert cells_of(sheared[None]).shortest[0] == pytest.approx(shortest, abs=1e-9)
    spacings, volumes = plane_spacings(np.array([compact, sheared]))
    assert (spacings.min(axis=1) <= shortest + 1e-9).all()
    assert volumes == pytest.approx(abs(np.linalg.det(compact)))
    assert spacings == pytest.approx(1 / np.linalg.norm(np.linalg.inv([compact, sheared]), axis=1), rel=1e-6)


@pytest.mark.parametrize("thin", [1e-3, 1e-6])
def test_needles_take_no_longer_and_are_exact(thin: float) -> None:
    lattice = np.diag([thin, 900.0, 2e4])
    lattice[1, 0], lattice[2, :2] = 0.3 * thin, (123.4 * thin, 401.0)
    image = minimum_images(np.array([[0.7, 449.0, 9999.0]]), cells_of(lattice[None]), np.array([0]))[0]
    candidates = [(449.0 - 900 * j - 401 * k, 9999.0 - 2e4 * k) for j in range(-2, 3) for k in range(-2, 3)]
    least = min(np.hypot(*candidate) for candidate in candidates)  # the first component is at most thin/2
    assert np.linalg.norm(image) == pytest.approx(least, abs=1e-6)


def test_extreme_cells_have_spacings_without_a_warning() -> None:
    spacings, volumes = plane_spacings(np.array([np.zeros((3, 3)), np.diag([4.0, 4.0, 0.0]), 1e200 * np.eye(3)]))
    assert spacings[:2].min(axis=1).tolist() == [0, 0]
    assert spacings[2] == pytest.approx(1e200)
    assert volumes.tolist() == [0, 0, np.inf]


def test_a_lattice_that_is_not_finite_is_an_error() -> None:
    with pytest.raises(np.linalg.LinAlgError, match="not finite"):
        cells_of(np.full((1, 3, 3), np.nan))
