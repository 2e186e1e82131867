"""Figures of predictions agree with scikit-learn and scipy, also of resamples, and are NaN where undefined."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr, wasserstein_distance
from sklearn import metrics as theirs

from crystalsweep.metrics.calibration import calibration_error
from crystalsweep.metrics.properties.classification import CLASSIFICATION, confusion_matrix
from crystalsweep.metrics.properties.regression import REGRESSION
from crystalsweep.metrics.properties.spectra import SPECTRUM, mean_frequency, wasserstein
from crystalsweep.metrics.properties.statistic import Answers, difference_of, interval_of, sampled, verdict_of

ROUNDED = 8
"""Scores are rounded so far that there are ties."""


def classes(seed: int, n: int = 40, k: int = 2) -> Answers:
    generator = np.random.default_rng(seed)
    truth = np.concatenate([np.arange(k), generator.integers(k, size=n - k)])
    odds = np.round(generator.dirichlet(np.ones(k), n) * ROUNDED) + 0.5 + (truth[:, None] == np.arange(k))
    return Answers(truth=truth.astype(float), predicted=odds / odds.sum(axis=1, keepdims=True))


def numbers(seed: int, n: int = 40) -> Answers:
    generator = np.random.default_rng(seed)
    truth = np.round(generator.normal(size=n), 1)
    return Answers(truth=truth, predicted=np.round(truth + generator.normal(size=n), 1))


def estimates(statistics: tuple, answers: Answers) -> dict[str, float]:  # type: ignore[type-arg]
    return {name: values[0] for name, values in sampled(statistics, answers, n_resamples=2).items()}


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000))
def test_of_two_classes(seed: int) -> None:
    answers = classes(seed)
    truth, odds, found = answers.truth, answers.predicted[:, 1], estimates(CLASSIFICATION, answers)
    called = answers.predicted.argmax(axis=1)
    assert found["accuracy"] == pytest.approx(theirs.accuracy_score(truth, called))
    assert found["balanced_accuracy"] == pytest.approx(theirs.balanced_accuracy_score(truth, called))
    assert found["f1"] == pytest.approx(theirs.f1_score(truth, called))
    assert found["roc_auc"] == pytest.approx(theirs.roc_auc_score(truth, odds))
    assert found["average_precision"] == pytest.approx(theirs.average_precision_score(truth, odds))
    assert found["brier"] == pytest.approx(theirs.brier_score_loss(truth, odds))
    assert found["calibration_error"] == pytest.approx(calibration_error(odds, truth))
    assert found["prevalence"] == pytest.approx(truth.mean())
    if called.any():
        assert found["daf"] == pytest.approx(theirs.precision_score(truth, called) / truth.mean())
    assert (confusion_matrix(answers) == theirs.confusion_matrix(truth, called)).all()


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000))
def test_of_three_classes(seed: int) -> None:
    answers = classes(seed, k=3)
    found, called = estimates(CLASSIFICATION, answers), answers.predicted.argmax(axis=1)
    assert found["f1"] == pytest.approx(theirs.f1_score(answers.truth, called, average="macro"))
    assert found["roc_auc"] == pytest.approx(theirs.roc_auc_score(answers.truth, answers.predicted, multi_class="ovr"))
    assert np.isnan(found["daf"])


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000))
def test_of_numbers(seed: int) -> None:
    answers = numbers(seed)
    found = estimates(REGRESSION, answers)
    assert found["mae"] == pytest.approx(theirs.mean_absolute_error(answers.truth, answers.predicted))
    assert found["rmse"] == pytest.approx(theirs.root_mean_squared_error(answers.truth, answers.predicted))
    assert found["r2"] == pytest.approx(theirs.r2_score(answers.truth, answers.predicted))
    assert found["spearman"] == pytest.approx(spearmanr(answers.truth, answers.predicted).statistic)


@pytest.mark.parametrize(
    ("statistics", "answers"), [(CLASSIFICATION, classes(1)), (REGRESSION, numbers(1))], ids=["classes", "numbers"]
)
def test_a_resample_is_the_figure_of_the_crystals_drawn(statistics: tuple, answers: Answers) -> None:  # type: ignore[type-arg]
    """Counting a crystal twice is giving it twice; a calibration error alone keeps the bins of all crystals."""
    drawn = np.random.default_rng(3).integers(len(answers), size=len(answers))
    times = np.bincount(drawn, minlength=len(answers))[None].astype(float)
    for each in statistics:
        if each.name != "calibration_error":
            again = each.over(answers.take(drawn), np.ones((1, len(drawn))))
            assert each.over(answers, times) == pytest.approx(again, nan_ok=True), each.name


def test_intervals_are_those_of_repeated_sets() -> None:
    """Over 200 sets drawn anew, a 95 % interval of the AUC holds the true one about so often."""

    held = 0
    for seed in range(200):
        generator = np.random.default_rng(seed)
        label = (generator.random(150) < 0.4).astype(float)
        odds = generator.random(150)
        answers = Answers(truth=label, predicted=np.stack([1 - odds, odds], axis=1))
        auc = [each for each in CLASSIFICATION if each.name == "roc_auc"]
        found = interval_of(sampled(auc, answers, n_resamples=300, seed=seed)["roc_auc"], 150)
        held += found.low <= 0.5 <= found.high
    assert 180 <= held <= 199


def test_one_class_and_constant_labels_have_no_value() -> None:
    one = Answers(truth=np.zeros(5), predicted=np.tile([0.8, 0.2], (5, 1)))
    found = estimates(CLASSIFICATION, one)
    assert found["accuracy"] == 1
    assert all(np.isnan(found[name]) for name in ("balanced_accuracy", "f1", "roc_auc", "average_precision", "daf"))
    constant = estimates(REGRESSION, Answers(truth=np.full(5, 0.1), predicted=np.arange(5.0)))
    assert np.isnan(constant["r2"])
    assert np.isnan(constant["spearman"])
    assert constant["mae"] == pytest.approx(1.94)


def test_of_no_crystals_there_is_no_value() -> None:
    found = sampled(REGRESSION, Answers(truth=np.empty(0), predicted=np.empty(0)))
    assert all(np.isnan(values).all() for values in found.values())
    assert str(interval_of(found["mae"], 0)) == "n = 0"


def test_spectra() -> None:
    grid = np.array([0.0, 1.0, 2.0, 4.0])
    a, b = np.array([[1.0, 2.0, 1.0, 0.0]]), np.array([[0.0, 1.0, 3.0, -1.0]])
    weights = np.array([0.5, 1.0, 1.5, 1.0])
    expected = wasserstein_distance(grid, grid, a[0] * weights, b[0].clip(0) * weights)
    assert wasserstein(a, b, grid)[0] == pytest.approx(expected)
    assert mean_frequency(a, grid)[0] == pytest.approx((2 * 1 + 1.5 * 2) / (0.5 + 2 + 1.5))
    empty = np.zeros((1, 4))
    answers = Answers(truth=np.vstack([a, a]), predicted=np.vstack([b, empty]), grid=grid)
    found = estimates(SPECTRUM, answers)
    assert found["mse"] == pytest.approx((7 / 4 + 6 / 4) / 2)
    assert found["wasserstein"] == pytest.approx(expected)  # of the one that is a density
    assert np.isnan(wasserstein(a, empty, grid)[0])


def test_differences_are_paired() -> None:
    """A model that is a little better on every crystal is resolved, though the intervals of both overlap."""
    answers = numbers(2, n=60)
    closer = Answers(truth=answers.truth, predicted=answers.truth + 0.9 * (answers.predicted - answers.truth))
    first, second = (sampled(REGRESSION, each)["mae"] for each in (closer, answers))
    found = difference_of(first, second, 60, int((closer.predicted != answers.predicted).sum()))
    assert found.low < found.difference < found.high < 0
    assert verdict_of(found.difference, found.p, "lower") == "better"
    assert interval_of(first, 60).high > interval_of(second, 60).low
    same = difference_of(first, first, 60, 0)
    assert same.difference == 0
    assert same.p == 1
