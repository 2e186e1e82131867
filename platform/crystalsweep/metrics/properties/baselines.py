"""What anything that learned no structure predicts: the majority or mean, a formula's guess, a similar crystal's label.

Each is fitted on the training crystals of the model it stands beside, and on no others; in the space that the
model learned in (log10 of K and G, say), so that both are asked the same. Fig. 1C of Liu et al., iScience 27, 110672
(2024), has no such row. doi:10.1016/j.isci.2024.110672
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crystalsweep.metrics.geometry import Array
from crystalsweep.metrics.properties.composition import composition_features
from crystalsweep.metrics.properties.fingerprint import FINGERPRINT, blocks, fingerprints_of
from crystalsweep.metrics.properties.statistic import Kind
from crystalsweep.structures.crystal import Crystal

TREES = 200
"""Of the forest over composition."""

NEIGHBOURS = 5
"""Training crystals whose labels are averaged, by the inverse of their distance."""

MAJORITY, MEAN, MEDIAN = "majority class", "training mean", "training median"
COMPOSITION, NEAREST = "composition only", "nearest in structure"

BASELINES: dict[Kind, tuple[str, ...]] = {
    "classification": (MAJORITY, COMPOSITION, NEAREST),
    "regression": (MEAN, MEDIAN, COMPOSITION, NEAREST),
    "spectrum": (MEAN, COMPOSITION, NEAREST),
}
"""Rows beside a model, by the kind of property, in the order of every table."""

EXPLAINED = {
    MAJORITY: "says the commonest class of the training crystals of every crystal, with the training shares as odds",
    MEAN: "says the mean of the training labels of every crystal, taken in the space that the model learned in",
    MEDIAN: "says the median of the training labels, which no other constant beats in MAE on those",
    COMPOSITION: f"{TREES} randomised trees (scikit-learn's extra-trees) on shares of the elements and statistics of "
    "their properties: what the formula alone tells",
    NEAREST: f"the labels of the {NEIGHBOURS} nearest training crystals, by {FINGERPRINT}",
}
"""What each row is."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """Crystals as the baselines see them; made once for all properties."""

    composition: Array
    """(M, F)."""
    fingerprint: Array
    """(M, D)."""

    @classmethod
    def of(cls, crystals: Sequence[Crystal], *, progress: bool = False) -> Seen:
        """Compute both views of some crystals."""
        return cls(composition=composition_features(crystals), fingerprint=fingerprints_of(crystals, progress=progress))

    def take(self, rows: NDArray[np.bool_]) -> Seen:
        """Return the views of some of them."""
        return Seen(composition=self.composition[rows], fingerprint=self.fingerprint[rows])


def predicted_by_baselines(
    kind: Kind, train: Seen, labels: Array, asked: Seen, *, classes: int = 2, seed: int = 0
) -> dict[str, Array]:
    """Return each baseline's predictions of the crystals asked, as a model's would be; by name, `BASELINES[kind]`.

    Args:
        kind: Of the property.
        train: The training crystals that have a label.
        labels: (T,) class indices or values, or (T, P) spectra, of those; in the space that the model learned in.
        asked: What is predicted.
        classes: K, of classes.
        seed: Of the trees.

    Raises:
        ValueError: There is no training crystal.
    """
    if not len(labels):
        raise ValueError("no training crystal has a label: there is nothing to fit a baseline on")
    n = len(asked.composition)
    values = np.eye(classes)[labels.astype(np.int64)] if kind == "classification" else labels
    constant = {MAJORITY if kind == "classification" else MEAN: values.mean(axis=0)}
    if kind == "regression":
        constant[MEDIAN] = np.median(values, axis=0)
    found = {name: np.repeat(np.asarray(value)[None], n, axis=0) for name, value in constant.items()}
    found[COMPOSITION] = predicted_by_composition(
        kind, train.composition, labels, asked.composition, classes=classes, seed=seed
    )
    found[NEAREST] = _by_neighbours(train.fingerprint, values, asked.fingerprint)
    return {name: found[name] for name in BASELINES[kind]}


def predicted_by_composition(
    kind: Kind, train: Array, labels: Array, asked: Array, *, classes: int = 2, seed: int = 0
) -> Array:
    """Return what the composition alone tells: (M,) values, (M, K) odds or (M, P) spectra.

    Args:
        kind: Of the property.
        train: (T, F) features of the training crystals (`composition_features`).
        labels: (T,) class indices or values, or (T, P) spectra, of those.
        asked: (M, F) features of what is predicted.
        classes: K, of classes.
        seed: Of the trees.
    """
    from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

    if kind == "classification":
        trees = ExtraTreesClassifier(n_estimators=TREES, max_features="sqrt", random_state=seed)
        trees.fit(train, labels.astype(np.int64))
        odds = np.zeros((len(asked), classes))
        odds[:, trees.classes_.astype(int)] = trees.predict_proba(asked)
        return odds
    trees = ExtraTreesRegressor(n_estimators=TREES, max_features=1 / 3, random_state=seed)
    return np.asarray(trees.fit(train, labels).predict(asked))


def _by_neighbours(train: Array, values: Array, asked: Array) -> Array:
    """Return means of `values` over the nearest training crystals; of one at no distance, its own."""
    from sklearn.neighbors import KNeighborsRegressor

    scale = _scale(train)
    nearest = KNeighborsRegressor(n_neighbors=min(NEIGHBOURS, len(train)), weights="distance", algorithm="brute")
    return np.asarray(nearest.fit(train * scale, values).predict(asked * scale))


def _scale(train: Array) -> Array:
    """Return (D,) factors that give each block of the fingerprint the same variance over the training crystals."""
    scale = np.ones(train.shape[1])
    for block in blocks():
        spread = float(np.sqrt(train[:, block].var(axis=0).sum()))
        scale[block] = 1 / spread if spread > 0 else 0.0
    return scale
