"""Figures of predicted classes: right answers, the order of the odds, and whether the odds are what they say.

DAF (discovery acceleration factor): Riebesell et al., Matbench Discovery, doi:10.48550/arXiv.2308.14920. Of two
classes, class 1 is the one that is sought (stable, in Fig. 1C of Liu et al., doi:10.1016/j.isci.2024.110672); of
more, F1, ROC-AUC and average precision are means over the classes that the labels have.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from crystalsweep.metrics.calibration import BINS
from crystalsweep.metrics.geometry import Array
from crystalsweep.metrics.properties.statistic import Answers, Statistic, mean_over

_ONE_CLASS = "all labels are of one class"

Counts = Callable[[Array], Array]
"""(R, K, K) weights by true and called class -> (R,)."""


def called_of(probabilities: Array) -> NDArray[np.int64]:
    """Return (M,) likeliest class of (M, K); the first of several equally likely ones."""
    return np.asarray(probabilities.argmax(axis=1), dtype=np.int64)


def confusion_matrix(answers: Answers) -> NDArray[np.int64]:
    """Return (K, K) crystals by true (row) and called (column) class."""
    return np.asarray(_confusion(answers, np.ones((1, len(answers))))[0].round(), dtype=np.int64)


def _confusion(answers: Answers, times: Array) -> Array:
    """Return (R, K, K) sums of how often crystals count, by true and called class."""
    k = answers.predicted.shape[1]
    cell = answers.truth.astype(np.int64) * k + called_of(answers.predicted)
    return np.asarray((times @ np.eye(k * k)[cell]).reshape(-1, k, k))


def _counted(of: Counts) -> Callable[[Answers, Array], Array]:
    return lambda answers, times: of(_confusion(answers, times))


def _accuracy(matrix: Array) -> Array:
    return np.asarray(np.trace(matrix, axis1=1, axis2=2) / matrix.sum(axis=(1, 2)))


def _balanced_accuracy(answers: Answers, times: Array) -> Array:
    """Return mean recall of the classes that the labels have."""
    matrix, present = _confusion(answers, times), np.unique(answers.truth.astype(np.int64))
    if len(present) < 2:
        return np.full(len(times), np.nan)
    diagonal = np.diagonal(matrix, axis1=1, axis2=2)
    return np.asarray((diagonal / matrix.sum(axis=2))[:, present].mean(axis=1))


def _f1(answers: Answers, times: Array) -> Array:
    """Return 2 TP / (2 TP + FP + FN) of class 1, or its mean over the classes that the labels have."""
    matrix, sought = _confusion(answers, times), _sought(answers)
    if not len(sought):
        return np.full(len(times), np.nan)
    hits = np.diagonal(matrix, axis1=1, axis2=2)
    return np.asarray((2 * hits / (matrix.sum(axis=1) + matrix.sum(axis=2)))[:, sought].mean(axis=1))


def _daf(matrix: Array) -> Array:
    """Return precision / prevalence of class 1; NaN of more than two classes, and where none is called or true."""
    if matrix.shape[1] != 2:
        return np.full(len(matrix), np.nan)
    precision = matrix[:, 1, 1] / matrix[:, :, 1].sum(axis=1)
    return np.asarray(precision / (matrix[:, 1].sum(axis=1) / matrix.sum(axis=(1, 2))))


def _prevalence(matrix: Array) -> Array:
    """Return share of class 1, or of more than two classes that of the commonest."""
    shares = matrix.sum(axis=2) / matrix.sum(axis=(1, 2))[:, None]
    return np.asarray(shares[:, 1] if matrix.shape[1] == 2 else shares.max(axis=1))


def _sought(answers: Answers) -> NDArray[np.int64]:
    """Return classes that one-against-the-rest figures are of: 1 of two, else those that the labels have; none where
    all labels are of one class."""
    present = np.unique(answers.truth.astype(np.int64))
    if len(present) < 2:
        return np.empty(0, dtype=np.int64)
    return np.array([1]) if answers.predicted.shape[1] == 2 else present


def _one_against_rest(of: Callable[[Array, Array, Array], Array]) -> Callable[[Answers, Array], Array]:
    def over(answers: Answers, times: Array) -> Array:
        classes = _sought(answers)
        if not len(classes):
            return np.full(len(times), np.nan)
        return np.asarray(
            np.mean([of(answers.predicted[:, c], (answers.truth == c).astype(float), times) for c in classes], axis=0)
        )

    return over


def _by_score(score: Array, positive: Array, times: Array) -> tuple[Array, Array]:
    """Return (R, groups) weights of positives and negatives at each score, the lowest first."""
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.diff(score[order], prepend=-np.inf))
    weights, wanted = times[:, order], positive[order]
    hits, misses = (np.add.reduceat(weights * part, starts, axis=1) for part in (wanted, 1 - wanted))
    return hits, misses


def _auc(score: Array, positive: Array, times: Array) -> Array:
    """Return the chance that a positive scores above a negative, ties counting half; NaN where either is missing."""
    hits, misses = _by_score(score, positive, times)
    below = misses.cumsum(axis=1) - misses / 2
    return np.asarray((hits * below).sum(axis=1) / (hits.sum(axis=1) * misses.sum(axis=1)))


def _average_precision(score: Array, positive: Array, times: Array) -> Array:
    """Return Σ (recall_n − recall_{n−1}) precision_n from the highest score on; NaN without a positive."""
    hits, misses = (part[:, ::-1] for part in _by_score(score, positive, times))
    found, called = hits.cumsum(axis=1), (hits + misses).cumsum(axis=1)
    precision = np.divide(found, called, out=np.zeros_like(found), where=called > 0)
    return np.asarray((hits * precision).sum(axis=1) / hits.sum(axis=1))


def confidence_of(answers: Answers) -> tuple[Array, Array]:
    """Return (M,) probability and whether what it is of is so: class 1 of two classes, else the class called."""
    if answers.predicted.shape[1] == 2:
        return answers.predicted[:, 1], (answers.truth == 1).astype(np.float64)
    return answers.predicted.max(axis=1), (answers.truth == called_of(answers.predicted)).astype(np.float64)


def _brier(answers: Answers) -> Array:
    """Return (M,) squared distance of the odds from the truth; of two classes that of class 1."""
    if answers.predicted.shape[1] == 2:
        return (answers.predicted[:, 1] - answers.truth) ** 2
    truth = np.eye(answers.predicted.shape[1])[answers.truth.astype(np.int64)]
    return np.asarray(((answers.predicted - truth) ** 2).sum(axis=1))


def _calibration_error(answers: Answers, times: Array) -> Array:
    """Return `calibration.calibration_error`, in bins that stay as they are while crystals are resampled."""
    confidence, hit = confidence_of(answers)
    order = np.argsort(confidence, kind="stable")
    parts = [part for part in np.array_split(order, BINS) if len(part)]
    gaps = [np.abs(times[:, part] @ (hit - confidence)[part]) for part in parts]
    return np.asarray(np.sum(gaps, axis=0) / times.sum(axis=1))


_NONE = "no labelled crystal"

CLASSIFICATION = (
    Statistic(
        name="accuracy",
        title="Accuracy",
        definition="share of crystals whose likeliest class is theirs",
        direction="higher",
        over=_counted(_accuracy),
        why_undefined=_NONE,
    ),
    Statistic(
        name="balanced_accuracy",
        title="Balanced accuracy",
        definition="mean over classes of the share of their crystals that are called so; guessing scores 1 / classes",
        direction="higher",
        over=_balanced_accuracy,
        why_undefined=_ONE_CLASS,
    ),
    Statistic(
        name="f1",
        title="F1",
        definition="harmonic mean of precision and recall",
        direction="higher",
        over=_f1,
        why_undefined=_ONE_CLASS,
    ),
    Statistic(
        name="roc_auc",
        title="ROC-AUC",
        definition="chance that a crystal of the class has the higher odds than one that is not; 0.5 is chance",
        direction="higher",
        over=_one_against_rest(_auc),
        why_undefined=_ONE_CLASS,
    ),
    Statistic(
        name="average_precision",
        title="Average precision",
        definition="mean precision over the crystals of the class, from the highest odds on; chance is the prevalence",
        direction="higher",
        over=_one_against_rest(_average_precision),
        why_undefined=_ONE_CLASS,
    ),
    Statistic(
        name="daf",
        title="DAF",
        definition="precision / prevalence: how many times richer in the class what is called so is; 1 is chance",
        direction="higher",
        over=_counted(_daf),
        why_undefined="no crystal is of the class, or none is called so, or there are more than two classes",
    ),
    Statistic(
        name="calibration_error",
        title="Calibration error",
        definition=f"mean |odds − share that is so| over {BINS} bins of equally many crystals; chance alone makes it "
        "greater than 0, in resamples more so",
        direction="lower",
        over=_calibration_error,
        why_undefined=_NONE,
    ),
    Statistic(
        name="brier",
        title="Brier score",
        definition="mean squared difference of odds and truth",
        direction="lower",
        over=mean_over(_brier),
        why_undefined=_NONE,
    ),
    Statistic(
        name="prevalence",
        title="Prevalence",
        definition="share of crystals of the class sought, of more than two classes of the commonest",
        direction="none",
        over=_counted(_prevalence),
        why_undefined=_NONE,
    ),
)
"""In the order of every table."""

COMPARED_CLASSIFICATION = ("accuracy", "balanced_accuracy", "roc_auc", "average_precision")
"""What verdicts are given on; fewer comparisons resolve smaller differences."""
