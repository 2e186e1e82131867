"""Figures, differences and strata of one property: the model beside what learned no structure.

Every row predicts the same crystals, and all figures of a set of crystals rest on the same resamples of them.
Holm's correction is over the comparisons of a property, and in strata over those of one stratum. Fig. 1C and S5 of Liu
et al., iScience 27, 110672 (2024), by crystal system, with intervals and baselines. doi:10.1016/j.isci.2024.110672
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalsweep.evaluation.outcome import Figure, plain
from crystalsweep.evaluation.properties.asked import PropertyTarget
from crystalsweep.evaluation.properties.outcome import Rows, Stratum, TargetOutcome, Verdict
from crystalsweep.metrics.distributions import CRYSTAL_SYSTEMS
from crystalsweep.metrics.properties.classification import confusion_matrix
from crystalsweep.metrics.properties.figures import compared_of, statistics_of
from crystalsweep.metrics.properties.statistic import (
    Answers,
    Difference,
    Statistic,
    difference_of,
    interval_of,
    sampled,
    verdict_of,
)
from crystalsweep.metrics.verdicts import holm

Array = NDArray[np.float64]

STRATA = {
    "crystal_system": (*CRYSTAL_SYSTEMS, "unknown"),
    "n_elements": ("1", "2", "3", "4", "5 or more"),
    "rare_element": ("no rare element", "a rare element"),
}
"""Bins of each, in order."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Predicted:
    """What every row says of the crystals asked, for one property."""

    target: PropertyTarget
    truth: Array
    """(M,) or (M, P); NaN where a crystal has no label."""
    rows: Mapping[str, Array]
    """By row, the model's first: (M,), (M, K) or (M, P)."""
    trained_on: int

    @property
    def scored(self) -> NDArray[np.bool_]:
        """(M,) whether a crystal has a label, and the model a number for it."""
        finite = np.isfinite(next(iter(self.rows.values()))).reshape(len(self.truth), -1).all(axis=1)
        return np.asarray(self.labelled & finite)

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """(M,)."""
        return np.asarray(~np.isnan(self.truth.reshape(len(self.truth), -1)).any(axis=1))

    def answers(self, chosen: NDArray[np.bool_]) -> dict[str, Answers]:
        """Return what is true and was predicted of some crystals, by row."""
        grid = np.asarray(self.target.grid, dtype=np.float64) if self.target.grid is not None else None
        return {
            name: Answers(truth=self.truth[chosen], predicted=values[chosen], grid=grid)
            for name, values in self.rows.items()
        }


def score(predicted: Predicted, bins: pd.DataFrame, seed: int) -> TargetOutcome:
    """Return figures of a property, of all crystals and of each stratum.

    Args:
        predicted: By every row.
        bins: (M,) rows with the columns of `STRATA`.
        seed: Of the resamples.
    """
    target, scored = predicted.target, predicted.scored
    logged = target.log10
    statistics, compared = statistics_of(target.kind, logged=logged), compared_of(target.kind, logged=logged)
    answers = predicted.answers(scored)
    drawn = {row: sampled(statistics, each, seed=seed) for row, each in answers.items()}
    tested = _tested(answers, drawn, compared)
    classified = target.kind == "classification"
    return TargetOutcome(
        target=target,
        n=int(predicted.labelled.sum()),
        unlabelled=int((~predicted.labelled).sum()),
        unpredicted=int((predicted.labelled & ~scored).sum()),
        trained_on=predicted.trained_on,
        rows=_figures(drawn, int(scored.sum())),
        undefined=_undefined(drawn, statistics),
        verdicts=_verdicts(tested, statistics),
        strata={
            by: _stratum(predicted, bins[by].to_numpy(), names, statistics, compared, seed)
            for by, names in STRATA.items()
        },
        confusion={row: confusion_matrix(each).tolist() for row, each in answers.items()} if classified else {},
    )


def _figures(drawn: Mapping[str, Mapping[str, Array]], n: int) -> Rows:
    return {
        row: {name: Figure.of(interval_of(values, n)) for name, values in found.items()} for row, found in drawn.items()
    }


def _undefined(drawn: Mapping[str, Mapping[str, Array]], statistics: Sequence[Statistic]) -> dict[str, dict[str, str]]:
    """Return by row and metric why there is no value."""
    why = {each.name: each.why_undefined for each in statistics}
    found = {row: {name: why[name] for name, v in each.items() if np.isnan(v[0])} for row, each in drawn.items()}
    return {row: each for row, each in found.items() if each}


Tested = list[tuple[str, str, Difference]]
"""Metric, baseline, and the model's difference from it."""


def _tested(answers: Mapping[str, Answers], drawn: Mapping[str, Mapping[str, Array]], metrics: Sequence[str]) -> Tested:
    model, *others = answers
    found = []
    for other in others:
        own, theirs = answers[model].predicted, answers[other].predicted
        differing = int((own != theirs).reshape(len(own), -1).any(axis=1).sum())
        for name in metrics:
            gap = difference_of(drawn[model][name], drawn[other][name], len(own), differing)
            found.append((name, other, gap))
    return found


def _verdicts(tested: Tested, statistics: Sequence[Statistic]) -> list[Verdict]:
    """Return verdicts, corrected over these comparisons."""
    direction = {each.name: each.direction for each in statistics}
    adjusted = holm([gap.p for *_, gap in tested])
    return [
        Verdict.model_validate(
            plain(asdict(gap))
            | {"metric": name, "against": other, "p_adjusted": plain(float(p))}
            | {"verdict": verdict_of(gap.difference, float(p), direction[name])}
        )
        for (name, other, gap), p in zip(tested, adjusted, strict=True)
    ]


def _stratum(
    predicted: Predicted,
    bins: NDArray[np.object_],
    names: Sequence[str],
    statistics: Sequence[Statistic],
    compared: Sequence[str],
    seed: int,
) -> list[Stratum]:
    """Return each bin that has crystals: the compared figures of every row, and verdicts on the first of them."""
    shown = [each for each in statistics if each.name in compared]
    parts = {name: chosen for name in names if (chosen := predicted.scored & (bins == name)).any()}
    answers = {name: predicted.answers(chosen) for name, chosen in parts.items()}
    drawn = {
        name: {row: sampled(shown, each, seed=seed) for row, each in rows.items()} for name, rows in answers.items()
    }
    tested = {name: _tested(answers[name], drawn[name], compared[:1]) for name in parts}
    together = iter(_verdicts([each for name in parts for each in tested[name]], statistics))
    classified = predicted.target.kind == "classification"
    return [
        Stratum(
            bin=name,
            n=int(chosen.sum()),
            rows=_figures(drawn[name], int(chosen.sum())),
            verdicts=[next(together) for _ in tested[name]],
            **(_confusions(answers[name]) if classified else {}),
        )
        for name, chosen in parts.items()
    ]


def _confusions(answers: Mapping[str, Answers]) -> dict[str, Any]:
    """Return the confusion matrix of the model, and those of the other rows by name."""
    own, *others = ((row, confusion_matrix(each).tolist()) for row, each in answers.items())
    return {"confusion": own[1], "beside": dict(others)}
