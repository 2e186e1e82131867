"""How good predicted properties are: numbers by their errors, answers by how they separate and how sure they are.

What is undefined (a rank correlation of constants, an AUC of one class) is NaN, never 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata, spearmanr
from sklearn.metrics import average_precision_score

from crystalsweep.metrics.calibration import calibration_error

Values = NDArray[np.float64]


def regression_scores(wanted: Values, predicted: Values) -> dict[str, float]:
    """Return mae, rmse, r2 and spearman of (M,) predictions against (M,) labels, both in one unit."""
    error = predicted - wanted
    spread = float(((wanted - wanted.mean()) ** 2).sum())
    ranked = len(wanted) > 1 and np.ptp(wanted) > 0 and np.ptp(predicted) > 0
    return {
        "mae": float(np.abs(error).mean()),
        "rmse": float(np.sqrt((error**2).mean())),
        "r2": 1 - float((error**2).sum()) / spread if spread > 0 else float("nan"),
        "spearman": float(spearmanr(wanted, predicted).statistic) if ranked else float("nan"),
    }


def classification_scores(wanted: Values, probability: Values) -> dict[str, float]:
    """Return how well (M,) probabilities of yes fit (M,) answers, 1 for yes; called yes from 0.5 on.

    accuracy, balanced_accuracy, precision, recall, f1; auc (of ROC), average_precision; daf, the discovery acceleration
    factor, precision over prevalence (doi:10.1038/s42256-025-01055-1); brier and ece (`calibration.calibration_error`);
    prevalence of yes.
    """
    yes, called = wanted > 0.5, probability >= 0.5
    hits, misses = float((called & yes).sum()), float((~called & yes).sum())
    alarms, rejections = float((called & ~yes).sum()), float((~called & ~yes).sum())
    prevalence = float(yes.mean())
    both = 0 < prevalence < 1
    recall, specificity = _share(hits, misses), _share(rejections, alarms)
    precision = _share(hits, alarms)
    return {
        "accuracy": float((called == yes).mean()),
        "balanced_accuracy": (recall + specificity) / 2,
        "precision": precision,
        "recall": recall,
        "f1": 2 * hits / (2 * hits + misses + alarms) if hits + misses + alarms else float("nan"),
        "auc": roc_auc(yes, probability) if both else float("nan"),
        "average_precision": float(average_precision_score(yes, probability)) if both else float("nan"),
        "daf": precision / prevalence if prevalence else float("nan"),
        "brier": float(((probability - yes) ** 2).mean()),
        "ece": calibration_error(probability, yes),
        "prevalence": prevalence,
    }


def roc_auc(yes: NDArray[np.bool_], probability: Values) -> float:
    """Return the probability that a yes is ranked above a no, ties counted half."""
    ranks, positive = rankdata(probability), int(yes.sum())
    return float((ranks[yes].sum() - positive * (positive + 1) / 2) / (positive * (len(yes) - positive)))


def _share(these: float, others: float) -> float:
    return these / (these + others) if these + others else float("nan")
