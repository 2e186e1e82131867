"""A property model against another one on the same labelled crystals: is a new one better than the one in use?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from crystalsweep.evaluation.properties.asked import predicted_by
from crystalsweep.evaluation.properties.comparing import Told
from crystalsweep.evaluation.properties.outcome import PropertyEvaluation
from crystalsweep.evaluation.properties.report import headline_of, shown_statistics
from crystalsweep.inference.predicting import Predictor
from crystalsweep.metrics.properties.statistic import Difference, Statistic, difference_of, sampled
from crystalsweep.structures.crystal import Crystal


@dataclass(frozen=True, kw_only=True)
class HeldAgainst:
    """One property's headline figure: the evaluated model minus its rival, paired by crystal."""

    statistic: Statistic
    gap: Difference
    rival: float
    """The rival's own figure."""


def held_against(
    folder: Path, outcome: PropertyEvaluation, crystals: Sequence[Crystal], rival: Predictor, seed: int
) -> dict[str, HeldAgainst]:
    """Return by property how far an evaluated model's headline figure is from a rival's.

    Args:
        folder: Of the evaluation.
        outcome: What is in it.
        crystals: That were evaluated.
        rival: Predicts the same properties.
        seed: Of the resamples.
    """
    said, place = predicted_by(rival, crystals), {crystal.id: row for row, crystal in enumerate(crystals)}
    found = {}
    for name, each in outcome.targets.items():
        told = Told.of(folder, each.target, outcome.name)
        ids = told.table.index
        own = told.answers(ids)
        theirs = replace(own, predicted=said[name][[place[str(crystal)] for crystal in ids]])
        (shown,) = [one for one in shown_statistics(each) if one.name == headline_of(each)]
        drawn = [sampled([shown], answers, seed=seed)[shown.name] for answers in (own, theirs)]
        differing = int((own.predicted != theirs.predicted).reshape(len(ids), -1).any(axis=1).sum())
        gap = difference_of(drawn[0], drawn[1], len(ids), differing)
        found[name] = HeldAgainst(statistic=shown, gap=gap, rival=float(drawn[1][0]))
    return found
