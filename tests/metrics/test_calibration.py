"""Odds are measured as scikit-learn and MAPIE measure them, and what is fitted holds on cases it was not fitted on."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV, calibration_curve
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import brier_score_loss, log_loss, top_k_accuracy_score

from crystalsweep.metrics.calibration import (
    SHARPEST,
    calibration_error,
    coverage,
    divided,
    fit_divided,
    fit_sharpness,
    least_mass,
    mass_scores,
    masses_before,
    mean_log_loss,
    reliability,
    sets_by_mass,
    sets_of,
)
from crystalsweep.metrics.odds import brier_scores, log_losses, truth_ranks

Cases = tuple[NDArray[np.float64], NDArray[np.int64]]

CLASSES = 7


def drawn(n: int, sharpness: float = 1.0, seed: int = 0) -> Cases:
    """Logits that are `sharpness` times too sharp, and classes drawn from what they should say."""
    random = np.random.default_rng(seed)
    logits = random.normal(scale=1.5, size=(n, CLASSES))
    truth = np.array([random.choice(CLASSES, p=row) for row in softmax(logits, axis=1)])
    return logits * sharpness, truth


class Saying(ClassifierMixin, BaseEstimator):
    """A classifier whose features are its logits."""

    def fit(self, x: NDArray[np.float64], y: NDArray[np.int64]) -> Saying:  # noqa: ARG002 - scikit-learn's signature
        self.classes_ = np.arange(CLASSES)
        return self

    def decision_function(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return x

    def predict_proba(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return softmax(x, axis=1)

    def predict(self, x: NDArray[np.float64]) -> NDArray[np.int64]:
        return x.argmax(axis=1)


# Beside scikit-learn


def test_scores_are_those_of_scikit_learn() -> None:
    logits, truth = drawn(400)
    logs, labels = log_softmax(logits, axis=1), np.arange(CLASSES)
    assert log_losses(logs, truth).mean() == pytest.approx(log_loss(truth, np.exp(logs), labels=labels))
    assert mean_log_loss(logits, truth) == pytest.approx(log_loss(truth, np.exp(logs), labels=labels))
    whole = brier_score_loss(truth, np.exp(logs), labels=labels, scale_by_half=False)
    assert brier_scores(logs, truth).mean() == pytest.approx(whole)
    for k in (1, 3, 5):
        expected = top_k_accuracy_score(truth, logs, k=k, labels=labels)
        assert (truth_ranks(logs, truth) <= k).mean() == pytest.approx(expected)


def test_of_equal_odds_the_earlier_class_comes_first() -> None:
    assert truth_ranks(np.zeros((3, 4)), np.array([0, 1, 3])).tolist() == [1, 2, 4]


@pytest.mark.parametrize("sharpness", [0.4, 1.0, 2.5])
def test_the_temperature_is_the_one_that_scikit_learn_fits(sharpness: float) -> None:
    logits, truth = drawn(3000, sharpness)
    fitted = fit_sharpness(logits, truth)
    assert fitted == pytest.approx(1 / sharpness, rel=0.1)
    theirs = CalibratedClassifierCV(FrozenEstimator(Saying().fit(logits, truth)), method="temperature")
    theirs.fit(logits, truth)
    assert softmax(logits * fitted, axis=1) == pytest.approx(theirs.predict_proba(logits), abs=2e-3)


def test_bins_are_those_of_scikit_learn() -> None:
    logits, truth = drawn(1500, 2.0)
    confidence, hit = softmax(logits, axis=1).max(axis=1), logits.argmax(axis=1) == truth
    share, mean = calibration_curve(hit, confidence, n_bins=15, strategy="quantile")
    ours = reliability(confidence, hit)
    assert ours["n"].tolist() == [100] * 15
    assert ours["confidence"].to_numpy() == pytest.approx(mean, abs=2e-3)
    assert ours["share"].to_numpy() == pytest.approx(share, abs=0.011)  # theirs may put a case at an edge in the next
    assert calibration_error(confidence, hit) == pytest.approx(np.abs(share - mean).mean(), abs=2e-3)


# Beside MAPIE


@pytest.mark.parametrize("wanted", [0.8, 0.9, 0.95])
def test_conformal_sets_are_those_of_mapie(wanted: float) -> None:
    """But for the uniform shares, which each draws for itself."""
    pytest.importorskip("mapie", reason="MAPIE, of the dev extra, is not installed")
    from mapie.classification import SplitConformalClassifier

    (logits, truth), (new, _) = drawn(4000), drawn(500, seed=1)
    saying = Saying().fit(logits, truth)
    theirs = SplitConformalClassifier(saying, confidence_level=wanted, conformity_score="aps", prefit=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs.conformalize(logits, truth)
        held = theirs.predict_set(new, conformity_score_params={"include_last_label": True})[1][:, :, 0]
    mass = least_mass(of_sites(softmax(logits, axis=1), truth), np.arange(len(truth)), wanted)
    ours = sets_by_mass(softmax(new, axis=1), mass)
    assert (ours == held).mean() > 0.98
    assert ours.sum(axis=1).mean() == pytest.approx(held.sum(axis=1).mean(), abs=0.15)


# What is fitted


def test_overconfident_odds_are_mended_on_cases_they_were_not_fitted_on() -> None:
    logits, truth = drawn(2000, 3.0)
    new, found = drawn(4000, 3.0, seed=1)
    sharpness = fit_sharpness(logits, truth)

    def error(sharp: float) -> float:
        p = softmax(new * sharp, axis=1)
        return calibration_error(p.max(axis=1), p.argmax(axis=1) == found)

    assert error(1.0) > 0.1
    assert error(sharpness) < 0.03
    assert mean_log_loss(new * sharpness, found) < mean_log_loss(new, found) - 0.3


def test_a_fit_ends_within_its_bounds() -> None:
    logits, _ = drawn(50)
    assert fit_sharpness(logits, logits.argmax(axis=1)) <= SHARPEST
    assert fit_sharpness(logits, logits.argmin(axis=1)) >= 1 / SHARPEST
    assert fit_sharpness(logits[:0], np.zeros(0, dtype=np.int64)) == 1.0


def test_probabilities_of_candidates_come_true_as_often_as_they_say() -> None:
    """Candidates that are scored twice too sharply, by a model that gives them together more than is true."""
    random = np.random.default_rng(0)
    mass = random.uniform(0.2, 0.95, size=4000)
    honest = np.log(random.dirichlet(np.full(5, 0.5), size=4000) * mass[:, None])
    p = np.hstack([1 - mass[:, None], np.exp(honest)])
    place = np.array([random.choice(6, p=row / row.sum()) for row in p])
    scores = 2 * honest + random.normal(size=(4000, 1))  # a critic's level says nothing
    told = mass / (mass + (1 - mass) * np.exp(-1))
    sharpness, beyond = fit_divided(scores[:2000], told[:2000], place[:2000])
    assert (sharpness, beyond) == (pytest.approx(0.5, abs=0.06), pytest.approx(1.0, abs=0.15))
    found = divided(scores[2000:], told[2000:], sharpness, beyond)
    assert np.allclose(found.sum(axis=1), mass[2000:], atol=0.05)
    first = found.argmax(axis=1)
    assert calibration_error(found.max(axis=1), place[2000:] == first + 1, 10) < 0.04


@pytest.mark.parametrize("place", [0, 1])
def test_probabilities_of_candidates_are_finite_where_all_came_out_alike(place: int) -> None:
    scores, inside = np.log(np.array([[0.6, 0.2], [0.7, 0.1]] * 5)), np.array([0.8, 1.0] * 5)
    found = divided(scores, inside, *fit_divided(scores, inside, np.full(10, place)))
    assert np.isfinite(found).all()
    assert ((found[:, 0] > 0.9) == (place == 1)).all()


def test_candidates_of_which_one_must_be_right_share_all() -> None:
    scores = np.log(np.array([[0.3, 0.1, 0.0 + 1e-300]]))
    assert divided(scores, np.array([0.4]), 1.0, -np.inf).sum() == pytest.approx(1)
    plain = divided(scores[:, :2], np.array([0.4]), 1.0, 0.0)[0]
    assert plain == pytest.approx([0.3, 0.1]), "nothing is changed where nothing need be"


def of_sites(p: NDArray[np.float64], truth: NDArray[np.int64]) -> NDArray[np.float64]:
    rows = np.arange(len(truth))
    return mass_scores(masses_before(p)[rows, truth], p[rows, truth])


@pytest.mark.parametrize("wanted", [0.8, 0.9, 0.95])
def test_sets_by_mass_hold_the_truth_in_hard_cases_too(wanted: float) -> None:
    """Of sharp cases and of flat ones, to which sets by least probability give one class."""
    held: list[float] = []
    hard: list[float] = []
    for seed in range(30):
        parts = [drawn(200, sharp, seed=seed + 1000 * k) for k, sharp in enumerate((1.0, 1.0))]
        flat = [(0.3 * logits, truth) for logits, truth in parts]
        random = np.random.default_rng(seed)
        p = np.vstack([softmax(logits, axis=1) for logits, _ in parts])
        dull = np.vstack([softmax(logits, axis=1) for logits, _ in flat])
        every = np.vstack([p, dull])
        truth = np.array([random.choice(len(row), p=row / row.sum()) for row in every])
        learned = random.permutation(len(every))[: len(every) // 2]
        told = np.setdiff1d(np.arange(len(every)), learned)
        mass = least_mass(of_sites(every[learned], truth[learned]), learned, wanted)
        inside = sets_by_mass(every[told], mass)[np.arange(len(told)), truth[told]]
        held.append(inside.mean())
        hard.append(inside[told >= len(p)].mean())
    assert wanted - 0.01 <= np.mean(held)
    assert wanted - 0.02 <= np.mean(hard)


def test_groups_count_alike_in_the_mass_of_a_set() -> None:
    """Ninety easy sites of one crystal and ten hard ones of ten are eleven crystals."""
    p = np.vstack([np.tile([0.98, 0.01, 0.01], (90, 1)), np.tile([0.4, 0.35, 0.25], (10, 1))])
    truth, groups = np.array([0] * 90 + [2] * 10), np.array([0] * 90 + list(range(1, 11)))
    scores = of_sites(p, truth)
    assert least_mass(scores, groups, 0.5) > 0.75, "the hard ones need all but a part of the last class"
    assert least_mass(scores, np.arange(100), 0.5) < 0.75
    assert least_mass(scores, groups, 0.99) == 1.0, "eleven crystals promise no 99 %"
    assert least_mass(scores[:0], groups[:0], 0.8) == 1.0


def test_a_set_by_mass_is_the_shortest_that_reaches_it() -> None:
    p = np.array([[0.2, 0.5, 0.3], [0.96, 0.01, 0.03]])
    assert sets_by_mass(p, 0.75).tolist() == [[False, True, True], [True, False, False]]
    assert sets_by_mass(p, 0.0).tolist() == [[False, True, False], [True, False, False]]


def test_a_set_always_has_the_likeliest() -> None:
    assert sets_of(np.array([[0.4, 0.35, 0.25]]), 0.9).tolist() == [[True, False, False]]


def test_intervals_of_a_coverage_rest_on_parents() -> None:
    parents = np.repeat(np.arange(20), 50)
    alike = np.repeat(np.arange(20) % 2 == 0, 50)
    found = coverage(alike, parents)
    assert found.high - found.low > 0.3, "a thousand cases of twenty crystals are not a thousand crystals"
    whole = coverage(np.ones(1000), parents)
    assert (whole.mean, whole.high, whole.clusters) == (1.0, 1.0, 20)
    assert 0.8 < whole.low < 0.9, "Wilson, of twenty"


def test_nothing_gives_nothing() -> None:
    assert np.isnan(calibration_error([], []))
    assert reliability([], []).empty
    assert coverage([], []).n == 0
