"""How good a property model is on validation crystals, and how far off its predictions may be."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from crystalsweep.inference.target_records import TargetRecord
from crystalsweep.metrics.conformal import answer_scores, conformal_quantile, halves
from crystalsweep.metrics.property_scores import classification_scores, regression_scores

Values = NDArray[np.float64]

_ANSWERS = ("accuracy", "balanced_accuracy", "f1", "auc")


def property_metrics(record: TargetRecord, outputs: Values, wanted: Values, middle: float) -> dict[str, float]:
    """Return metrics of one target over the labelled crystals, beside what knows nothing of a crystal.

    Args:
        record: The target and its scale.
        outputs: (M, 1) scaled numbers, or (M, 2) logits.
        wanted: (M,) scaled labels, or 1 and 0; NaN where unlabelled.
        middle: Mean of the scaled labels of training crystals.
    """
    known = ~np.isnan(wanted)
    n = {"n": float(known.sum())}
    if record.target.kind == "classification":
        probability, yes = probability_of(outputs[known]), wanted[known]
        found = classification_scores(yes, probability)
        majority = max(found["prevalence"], 1 - found["prevalence"])
        return {name: found[name] for name in _ANSWERS} | {"majority_accuracy": majority} | n
    labels, predicted = record.label(wanted[known]), record.label(outputs[known, 0])
    mean = record.label(np.array([middle]))[0]
    found = regression_scores(labels, predicted)
    return found | {"mae_of_mean": float(np.abs(labels - mean).mean())} | n


def calibrated(record: TargetRecord, outputs: Values, wanted: Values, seed: int) -> TargetRecord:
    """Return the record with its margin from one half of the labelled crystals, and its coverage on the other half."""
    known = ~np.isnan(wanted)
    if record.target.kind == "classification":
        scores = answer_scores(wanted[known], probability_of(outputs[known]))
    else:
        scores = np.abs(outputs[known, 0] - wanted[known])
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


def probability_of(logits: Values) -> Values:
    """Return (M,) probabilities of yes of (M, 2) logits."""
    return np.asarray(expit(logits[:, 1] - logits[:, 0]))
