"""What knows less than the network, fitted on the same training crystals: the rows that give a figure its meaning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from crystalsweep.data import pick
from crystalsweep.data.target_values import target_values
from crystalsweep.evaluation.properties.features import composition_features, structure_features
from crystalsweep.structures.crystal import Crystal
from crystalsweep.structures.targets import Target

Values = NDArray[np.float64]

MEAN, MAJORITY, COMPOSITION, NEAREST = "mean", "majority", "composition only", "nearest structure"

MOST = 10_000
"""Training crystals that the trees and the search are given; of more, a seeded sample."""

TREES = 300


@dataclass(frozen=True, kw_only=True)
class Baselines:
    """What each predicts for the evaluated crystals, and what it was fitted on."""

    rows: dict[str, Values]
    """(M,) by name: what is learnt (a logarithm where that is), or the probability of yes."""
    fitted_on: int
    """Labelled training crystals of the constant row."""
    sampled: int
    """Of them, those that the other rows saw."""


def fit_baselines(target: Target, training: Sequence[Crystal], crystals: Sequence[Crystal], seed: int) -> Baselines:
    """Return the predictions of every baseline.

    mean or majority: the same for all. composition only: extremely randomised trees over shares of elements and
    statistics of their properties. nearest structure: the label of the nearest training crystal, by composition and
    radial distribution, each feature in units of its deviation.

    Args:
        target: What is predicted.
        training: The crystals that the model was trained on, those without the label among them.
        crystals: To predict.
        seed: Of the sample and the trees.
    """
    values = target_values(training, target)
    known = np.flatnonzero(~np.isnan(values))
    sample = known
    if len(known) > MOST:
        sample = np.sort(np.random.default_rng(seed).choice(known, MOST, replace=False))
    seen, labels = [*pick(training, sample)], values[sample]
    asked = target.kind == "classification"
    constant = float(values[known].mean())
    ours, theirs = composition_features(seen), composition_features(crystals)
    trees = (ExtraTreesClassifier if asked else ExtraTreesRegressor)(
        n_estimators=TREES, min_samples_leaf=2, max_features=0.3, random_state=seed, n_jobs=1
    ).fit(ours, labels)
    if not asked:
        guessed = trees.predict(theirs)
    elif len(trees.classes_) == 1:
        guessed = np.full(len(crystals), float(trees.classes_[0]))
    else:
        guessed = trees.predict_proba(theirs)[:, 1]
    scale = StandardScaler().fit(whole := np.hstack([ours, structure_features(seen)]))
    search = NearestNeighbors(n_neighbors=1).fit(scale.transform(whole))
    nearest = search.kneighbors(scale.transform(np.hstack([theirs, structure_features(crystals)])))[1][:, 0]
    rows = {
        COMPOSITION: np.asarray(guessed, dtype=np.float64),
        NEAREST: labels[nearest],
        (MAJORITY if asked else MEAN): np.full(len(crystals), constant),
    }
    return Baselines(rows=rows, fitted_on=len(known), sampled=len(sample))
