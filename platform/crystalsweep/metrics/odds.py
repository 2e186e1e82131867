"""What predicted probabilities of elements are worth: per site the truth's rank, log-loss and Brier score.

Scoring rules after Gneiting and Raftery, J. Am. Stat. Assoc. 102, 359 (2007), doi:10.1198/016214506000001437.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalsweep.metrics.summary import Metric
from crystalsweep.structures.crystal import MASK, Crystal

TOP = (1, 3, 5)
"""Numbers of elements, or of joint choices, among which the truth may be."""


def truth_ranks(log_probabilities: NDArray[np.float64], truth: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (M,) places of the true classes among all, 1 for the likeliest; of equals the earlier class comes first.

    Args:
        log_probabilities: (M, K).
        truth: (M,) columns.
    """
    of_truth = np.take_along_axis(log_probabilities, truth[:, None], axis=1)
    earlier = np.arange(log_probabilities.shape[1]) < truth[:, None]
    before = (log_probabilities > of_truth) | ((log_probabilities == of_truth) & earlier)
    return np.asarray(before.sum(axis=1) + 1, dtype=np.int64)


def log_losses(log_probabilities: NDArray[np.float64], truth: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return (M,) −log p of the true classes, nats; arguments as for `truth_ranks`."""
    return np.asarray(-np.take_along_axis(log_probabilities, truth[:, None], axis=1)[:, 0])


def brier_scores(log_probabilities: NDArray[np.float64], truth: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return (M,) Σ_k (p_k − [k is true])², 0…2 (Brier 1950); arguments as for `truth_ranks`."""
    p = np.exp(log_probabilities)
    return np.asarray((p**2).sum(axis=1) - 2 * np.take_along_axis(p, truth[:, None], axis=1)[:, 0] + 1)


def site_columns(
    originals: Sequence[Crystal], corrupteds: Sequence[Crystal], log_probabilities: Sequence[NDArray[np.float64]]
) -> pd.DataFrame:
    """Return what a model's odds of masked sites are worth, a row per crystal.

    Sums over its masked sites: `site_top1`, `site_top3`, `site_top5` (the truth is among so many), `site_log_loss`
    (nats) and `site_brier`. Lists of them: `site_confidence`, the probability of the likeliest element, and
    `site_rank`, the place of the true one.

    Args:
        originals: The true crystals.
        corrupteds: The same sites, some masked.
        log_probabilities: (N, 118) of each, index = Z − 1.
    """
    return pd.DataFrame(
        [
            _site_row(logs[masked := corrupted.species == MASK], original.species[masked] - 1)
            for original, corrupted, logs in zip(originals, corrupteds, log_probabilities, strict=True)
        ]
    )


def _site_row(logs: NDArray[np.float64], truth: NDArray[np.int64]) -> dict[str, object]:
    ranks = truth_ranks(logs, truth)
    return {f"site_top{k}": int((ranks <= k).sum()) for k in TOP} | {
        "site_log_loss": float(log_losses(logs, truth).sum()),
        "site_brier": float(brier_scores(logs, truth).sum()),
        "site_confidence": np.exp(logs.max(axis=1, initial=-np.inf)),
        "site_rank": ranks,
    }


def odds_cases(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return what was told with a probability, and whether it is so: columns confidence and hit.

    Of `sites`, a row for each masked site's likeliest element, and of `joint`, one for each crystal's first candidate;
    what a table has no columns of is left out.
    """
    cases: dict[str, pd.DataFrame] = {}
    if "site_confidence" in table and len(table):
        confidence = np.concatenate([np.asarray(each, dtype=np.float64) for each in table["site_confidence"]])
        ranks = np.concatenate([np.asarray(each) for each in table["site_rank"]])
        cases["sites"] = pd.DataFrame({"confidence": confidence, "hit": ranks == 1})
    if "joint_rank" in table:
        cases["joint"] = pd.DataFrame({"confidence": table["joint_probability"], "hit": table["joint_rank"] == 1})
    return {name: found for name, found in cases.items() if len(found)}


def _per_site(column: str, title: str, definition: str, direction: str = "higher") -> Metric:
    return Metric(
        name=column,
        title=title,
        definition=f"{definition}; each site by itself, in one pass",
        values=lambda table: table[column].astype(float),
        weights=lambda table: table["n_masked"].astype(float),
        direction="higher" if direction == "higher" else "lower",
    )


def _among(k: int) -> Metric:
    return Metric(
        name=f"joint_top{k}",
        title=f"Joint top-{k}",
        definition=f"share of crystals whose true elements on all masked sites are among the first {k} candidates"
        + (", arrangements that symmetry makes equal counted as one" if k == 1 else ""),
        values=lambda table: table["joint_rank"].between(1, k).astype(float).where(table["joint_rank"].notna()),
    )


ODDS = (
    *(
        _per_site(f"site_top{k}", f"Site top-{k}", f"share of masked sites whose element is in the first {k}")
        for k in TOP
    ),
    _per_site("site_log_loss", "Site log-loss", "−log p of the true element, nats per masked site", "lower"),
    _per_site("site_brier", "Site Brier score", "Σ (p − truth)² over elements per masked site, 0…2", "lower"),
    *(_among(k) for k in TOP),
    Metric(
        name="joint_probability",
        title="First candidate's probability",
        definition="mean of what the model says of its first candidate; equal to joint top-1 where odds are calibrated",
        values=lambda table: table["joint_probability"].astype(float),
    ),
)
"""Of models that give odds. Joint ones are told where a decoder keeps several candidates."""
