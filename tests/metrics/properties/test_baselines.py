"""Baselines on the bundled crystals: fitted on training crystals alone, seeded, and better where they should be."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np
import pytest

from crystalsweep.data import load_bundled
from crystalsweep.metrics.properties.baselines import BASELINES, Seen, predicted_by_baselines
from crystalsweep.metrics.properties.composition import composition_features, feature_names
from crystalsweep.metrics.properties.fingerprint import blocks, fingerprints_of
from crystalsweep.metrics.properties.rarity import holds_rare_element
from crystalsweep.structures.crystal import Crystal


def labelled(part: str, label: str, n: int) -> list[Crystal]:
    return list(islice((crystal for crystal in load_bundled(part) if label in crystal.labels), n))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def train() -> list[Crystal]:
    return labelled("train", "formation_energy_per_atom", 400)


@pytest.fixture(scope="module")
def test() -> list[Crystal]:
    return labelled("test", "formation_energy_per_atom", 100)


def energies(crystals: Sequence[Crystal]) -> np.ndarray:
    return np.array([crystal.labels["formation_energy_per_atom"] for crystal in crystals])


def test_formula_beats_the_mean(train: list[Crystal], test: list[Crystal]) -> None:
    found = predicted_by_baselines("regression", Seen.of(train), energies(train), Seen.of(test))
    assert tuple(found) == BASELINES["regression"]
    error = {name: np.abs(values - energies(test)).mean() for name, values in found.items()}
    assert error["composition only"] < 0.5 * error["training mean"]
    assert error["nearest in structure"] < 0.8 * error["training mean"]
    assert np.allclose(found["training mean"], energies(train).mean())
    assert np.allclose(found["training median"], np.median(energies(train)))


def test_the_same_seed_gives_the_same(train: list[Crystal], test: list[Crystal]) -> None:
    seen, asked, stable = Seen.of(train), Seen.of(test), (energies(train) < -1).astype(float)
    a, b, c = (predicted_by_baselines("classification", seen, stable, asked, seed=seed) for seed in (0, 0, 1))
    assert all((a[name] == b[name]).all() for name in BASELINES["classification"])
    assert (a["composition only"] != c["composition only"]).any()
    assert all(np.allclose(values.sum(axis=1), 1) for values in a.values())


def test_a_class_that_training_lacks_has_no_odds(train: list[Crystal], test: list[Crystal]) -> None:
    found = predicted_by_baselines("classification", Seen.of(train), np.ones(len(train)), Seen.of(test), classes=3)
    assert all((values == [0, 1, 0]).all() for values in found.values())


def test_spectra_have_baselines_of_their_shape(train: list[Crystal], test: list[Crystal]) -> None:
    spectra = energies(train)[:, None] * np.ones(7)
    found = predicted_by_baselines("spectrum", Seen.of(train), spectra, Seen.of(test))
    assert {values.shape for values in found.values()} == {(len(test), 7)}


def test_nothing_to_fit_on_is_told(test: list[Crystal]) -> None:
    asked = Seen.of(test)
    with pytest.raises(ValueError, match="no training crystal has a label"):
        predicted_by_baselines("regression", asked, np.empty(0), asked)


def test_a_formula_has_the_features_of_its_atoms() -> None:
    salt = Crystal.of("salt", [11, 17], 4 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]])
    double = Crystal.of("double", [11, 17, 11, 17], np.diag([4, 4, 8]), np.arange(12).reshape(4, 3) / 12)
    row = dict(zip(feature_names(), composition_features([salt])[0], strict=True))
    assert row["share of Z = 11"] == row["share of Z = 17"] == 0.5
    assert row["mean atomic number"] == 14
    assert row["range atomic number"] == 6
    assert row["mean deviation atomic number"] == 3
    assert row["mean valence s electrons"] == 1.5
    assert row["maximum valence p electrons"] == 5
    assert row["maximum electronegativity"] == 3.16
    assert np.allclose(composition_features([salt]), composition_features([double]))


def test_a_supercell_has_the_fingerprint_of_its_cell() -> None:
    frac = np.array([[0, 0, 0], [0.5, 0.5, 0.47]])
    cell = Crystal.of("cell", [11, 17], np.diag([3.0, 3.5, 4.0]), frac)
    twice = np.vstack([frac / [2, 1, 1], frac / [2, 1, 1] + [0.5, 0, 0]])
    supercell = Crystal.of("supercell", [11, 17, 11, 17], np.diag([6.0, 3.5, 4.0]), twice)
    other = Crystal.of("other", [11, 17], np.diag([3.0, 3.5, 4.4]), frac)
    a, b, c = fingerprints_of([cell, supercell, other])
    assert np.allclose(a, b)
    assert np.abs(a - c).max() > 0.01
    assert blocks()[-1].stop == len(a)


def test_rare_elements_are_those_of_the_training_crystals() -> None:
    def of(z: int) -> Crystal:
        return Crystal.of(str(z), [z, 8], 4 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]])

    train = [of(11)] * 99 + [of(12)] * 2
    assert holds_rare_element([of(11), of(12), of(13)], train).tolist() == [False, False, True]
    assert holds_rare_element([of(12)], train * 2 + [of(11)] * 300).tolist() == [True]
