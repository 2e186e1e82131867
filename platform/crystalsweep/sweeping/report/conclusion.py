"""A finished sweep in one sentence, and the least differences that it could have seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from crystalsweep.metrics.verdicts import hopeless
from crystalsweep.sweeping.report.comparison import Comparison, Pair, metric_title
from crystalsweep.sweeping.space.objectives import Objective

_ALPHA = 0.05
"""Corrected p below which a difference is resolved: what `verdicts` takes."""


def adversary_conclusion(frame: pd.DataFrame) -> str:
    """Return whether the adversary helped.

    Args:
        frame: Verdicts of trials (a) minus the control arms (b) that are their exact counterparts.
    """
    better, worse = (_resolved(frame, verdict) for verdict in ("better", "worse"))
    if frame.empty:
        return "Whether the adversary helps cannot be told: no trial and its control arm are both complete."
    if better and worse:
        return f"The adversary improved {better}, and worsened {worse}."
    if better:
        return f"The adversary helped: it improved {better}, and nothing was shown to get worse."
    if worse:
        return f"The adversary did not help: it worsened {worse}, and nothing was shown to get better."
    return (
        f"The adversary was not shown to make a difference: of {len(frame)} comparisons with the same training without "
        "it, none shows more than chance gives."
    )


def best_conclusion(best: str, objective: Objective, comparison: Comparison, pairs: Sequence[Pair]) -> str:
    """Return which trial is best, and whether that is more than chance gives.

    Args:
        best: The best trial as text.
        objective: By which it is best.
        comparison: Verdicts of it (a) minus others (b).
        pairs: The best with each other trial.
    """
    if not pairs:
        return f"One trial is complete, {best}: there is no other to compare it with."
    beaten = sum("better" in set(comparison.of([pair])["verdict"]) for pair in pairs)
    others = f"{len(pairs)} other trial{'' if len(pairs) == 1 else 's'}"
    if beaten:
        return f"Best by {objective.title} is {best}, shown to be better in some metric than {beaten} of {others}."
    return f"Best by {objective.title} is {best}, which was not shown to be better in any metric than any of {others}."


def visible_sentence(frame: pd.DataFrame, n: int) -> str:
    """Return differences that every comparison would have shown, by metric; empty where none has an interval.

    A difference is resolved where it exceeds a 95 % interval's half-width by the factor that Holm's correction asks of
    the first of `n` comparisons, of Student's t with the parents' degrees of freedom. As many parents must
    differ as p takes (`least_p`), each by no more than 1. None is told where so many are compared that nothing could be
    resolved, and over seeds, where it goes by how far they happened to lie apart.
    """
    over_seeds = "seeds" in frame and bool(frame["seeds"].notna().any())
    if over_seeds or frame.empty or hopeless(n, int(frame["clusters"].max())):
        return ""
    freedom = np.maximum(frame["clusters"].astype(float) - 1, 1)
    factor = stdtrit(freedom, _ALPHA / 2 / max(n, 1)) / stdtrit(freedom, 0.025)
    half = (frame["high"] - frame["low"]).astype(float) / 2
    fewest = (np.floor(1 + np.log2(max(n, 1) / _ALPHA)) + 1) / frame["clusters"].astype(float)
    seen = np.maximum(half * factor, fewest).where(half > 0, 0.0).groupby(frame["metric"], sort=False).max()
    told = [f"{metric_title(str(metric)).lower()} {each:.2g}" for metric, each in seen.items() if each > 0]
    if not told:
        return ""
    which = "in every comparison that could be made"
    return f"Differences of about these sizes would have been seen {which}: {', '.join(told)}."


def _resolved(frame: pd.DataFrame, verdict: str) -> str:
    """Return metrics with this verdict, and in how many of their comparisons."""
    parts = [
        f"{metric_title(str(metric)).lower()} in {int((group['verdict'] == verdict).sum())} of {len(group)} comparisons"
        for metric, group in frame.groupby("metric", sort=False)
        if (group["verdict"] == verdict).any()
    ]
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
