"""How good a property model is on validation crystals, and how far off its predictions may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import softmax

from crystalsweep.inference.target_records import TargetRecord
from crystalsweep.metrics.bootstrap import clustered_mean
from crystalsweep.metrics.conformal import answer_scores, conformal_quantile, halves
from crystalsweep.metrics.properties.classification import CLASSIFICATION
from crystalsweep.metrics.properties.spectra import SPECTRUM
from crystalsweep.metrics.properties.statistic import Answers, errors_of, sampled
from crystalsweep.metrics.property_scores import classification_scores, regression_scores

Values = NDArray[np.float64]

_ANSWERS = ("accuracy", "balanced_accuracy", "f1", "auc")


def property_metrics(record: TargetRecord, outputs: Values, wanted: Values, middle: Values) -> dict[str, float]:
    """Return metrics of one target over the labelled crystals, beside what knows nothing of a crystal.

    Args:
        record: The target and its scale.
        outputs: (M, 1) scaled numbers, (M, P) scaled spectra, or (M, K) logits.
        wanted: (M,) scaled labels, (M, P) of spectra, or the index of the answer; NaN where unlabelled.
        middle: (1,) or (P,) mean of the scaled labels of training crystals.
    """
    known = _known(wanted)
    n = {"n": float(known.sum())}
    if record.spectrum is not None:
        return _spectrum_metrics(record, outputs[known], wanted[known], middle) | n
    if record.target.classed:
        return _class_metrics(outputs[known], wanted[known]) | n
    if record.target.kind == "classification":
        probability, yes = softmax(outputs[known], axis=1)[:, 1], wanted[known]
        found = classification_scores(yes, probability)
        majority = max(found["prevalence"], 1 - found["prevalence"])
        return {name: found[name] for name in _ANSWERS} | {"majority_accuracy": majority} | n
    labels, predicted = record.label(wanted[known]), record.label(outputs[known, 0])
    found = regression_scores(labels, predicted)
    return found | {"mae_of_mean": float(np.abs(labels - record.label(middle)).mean())} | n


def learnt_errors(record: TargetRecord, outputs: Values, wanted: Values) -> Values:
    """Return (M,) how far off each prediction is, NaN where unlabelled: |error| of what is learnt (of a logarithm in
    log10), its mean over the grid of a spectrum, or 1 for a wrong answer and 0 for a right one.

    Args:
        record: The target and its scale.
        outputs: (M, 1) scaled numbers, (M, P) scaled spectra, or (M, K) logits.
        wanted: (M,) scaled labels, (M, P) of spectra, or the index of the answer; NaN where unlabelled.
    """
    if record.spectrum is not None:
        return errors_of("spectrum", Answers(truth=wanted, predicted=outputs)) * record.std
    if record.target.kind == "classification":
        return np.where(np.isnan(wanted), np.nan, errors_of("classification", Answers(truth=wanted, predicted=outputs)))
    return errors_of("regression", Answers(truth=wanted, predicted=outputs[:, 0])) * record.std


def mean_error(errors: Values) -> dict[str, float]:
    """Return `error`, the mean of (M,) errors without those that are NaN, with its 95 % interval over crystals."""
    known = errors[~np.isnan(errors)]
    found = clustered_mean(known, np.arange(len(known)))
    return {"error": found.mean, "error/low": found.low, "error/high": found.high}


def errors_table(ids: Sequence[str], errors: Mapping[str, Values]) -> pd.DataFrame:
    """Return a row per target and labelled crystal: target, id, error."""
    each = [pd.DataFrame({"target": name, "id": ids, "error": found}) for name, found in errors.items()]
    return pd.concat(each, ignore_index=True).dropna(subset=["error"]).reset_index(drop=True)


def calibrated(record: TargetRecord, outputs: Values, wanted: Values, seed: int) -> TargetRecord:
    """Return the record with its margin from one half of the labelled crystals, and its coverage on the other half.

    The band of a spectrum holds all of it: its score is the greatest error over the grid (conformal bands with a
    constant width; Diquigiovanni et al., J. Multivar. Anal. 189, 104879 (2022), doi:10.1016/j.jmva.2021.104879).
    """
    known = _known(wanted)
    if record.target.kind == "classification":
        scores = answer_scores(wanted[known], softmax(outputs[known], axis=1))
    else:
        apart = np.abs(outputs[known] - wanted[known].reshape(int(known.sum()), -1))
        scores = apart.max(axis=1)
    first, second = halves(len(scores), seed)
    margin = conformal_quantile(scores[first], record.coverage)
    finite = bool(np.isfinite(margin))
    covered = float((scores[second] <= margin).mean()) if finite and len(second) else None
    return record.model_copy(
        update={
            "margin": margin if finite else None,
            "calibrated_on": len(first),
            "covered": covered,
            "checked_on": len(second) if finite else 0,
        }
    )


def _known(wanted: Values) -> NDArray[np.bool_]:
    """Return (M,) whether each of (M,) or (M, P) labels is there."""
    return np.asarray(~np.isnan(wanted.reshape(len(wanted), -1)).any(axis=1))


def _spectrum_metrics(record: TargetRecord, outputs: Values, wanted: Values, middle: Values) -> dict[str, float]:
    """Return figures of (M, P) scaled spectra, in the label's unit, beside those of the mean spectrum."""
    assert record.spectrum is not None
    truth, grid = record.label(wanted), record.spectrum.grid.values
    answers = Answers(truth=truth, predicted=record.label(outputs), grid=grid)
    found = {name: float(values[0]) for name, values in sampled(SPECTRUM, answers, n_resamples=0).items()}
    return found | {"mae_of_mean": float(np.abs(truth - record.label(middle)).mean())}


def _class_metrics(logits: Values, wanted: Values) -> dict[str, float]:
    """Return figures of (M, K) logits of classes, beside the share of the commonest class."""
    answers = Answers(truth=wanted, predicted=softmax(logits, axis=1))
    shown = [each for each in CLASSIFICATION if each.name in ("accuracy", "balanced_accuracy", "f1", "roc_auc")]
    found = {name: float(values[0]) for name, values in sampled(shown, answers, n_resamples=0).items()}
    commonest = np.bincount(wanted.astype(np.int64)).max() if len(wanted) else np.nan
    return {**found, "majority_accuracy": float(commonest / max(len(wanted), 1))}
