"""Which control arm a trial of a GAN sweep is held against.

A control arm is the same training without the adversary: w_W = 0, or species_gradient = none, which cuts the adversary
off as the released code of Liu et al., iScience 27, 110672 (2024) does. Settings of the adversary and of the
discriminator then do not reach the generator, so a control is a trial's exact counterpart when all other parameters
agree. Where none does, as in a random search, the nearest stands in: each parameter counts by its distance over the
sweep's range, on its own scale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from crystalsweep.metrics import KEYS
from crystalsweep.plots.scales import Ruler
from crystalsweep.sweeping.report.frames import setting
from crystalsweep.sweeping.space.outcome import TrainingOutcome
from crystalsweep.sweeping.space.parameters import Parameter

W, CARRIER = "adversarial.w_wasserstein", "adversarial.species_gradient"

_OFF = ("adversarial.", "discriminator_")
"""Beginnings of settings that do not reach a control arm's generator."""

_SCORED = (
    *("structural_validity", "compositional_validity", "compositional_similarity", "structural_similarity"),
    "masked_correct",
)
"""Columns by which two tables say the same."""


@dataclass(frozen=True, kw_only=True)
class Counterpart:
    """A trial and the control arm that it is held against."""

    trial: int
    control: int
    kind: str
    """`w_W = 0` or `species_gradient = none`."""
    differs: tuple[str, ...]
    """Titles of parameters that differ and that reach the generator of a control; empty for an exact counterpart."""


def counterparts(outcomes: Sequence[TrainingOutcome], parameters: Sequence[Parameter]) -> list[Counterpart]:
    """Return, for each trial that is no control and each kind of control, the nearest control, by number of the
    trial."""
    first = {outcome.number: outcome for outcome in reversed(outcomes)}
    shared = [parameter for parameter in parameters if not parameter.key.startswith(_OFF)]
    places = {parameter.title: _places(parameter, first) for parameter in shared}
    controls: dict[str, list[int]] = {}
    for number in sorted(first):
        if first[number].control:
            controls.setdefault(_kind(first[number]), []).append(number)
    found = []
    for number in sorted(number for number, outcome in first.items() if not outcome.control):
        for kind, arms in controls.items():
            apart = {arm: {title: abs(at[number] - at[arm]) for title, at in places.items()} for arm in arms}
            nearest = min(arms, key=lambda arm: sum(gap**2 for gap in apart[arm].values()))
            differs = tuple(title for title, gap in apart[nearest].items() if gap > 1e-9)
            found.append(Counterpart(trial=number, control=nearest, kind=kind, differs=differs))
    return found


def without_repetition(
    pairs: Sequence[Counterpart], tables: Mapping[int, pd.DataFrame]
) -> tuple[list[Counterpart], bool]:
    """Return the counterparts less those whose control restored the same crystals as another control of that trial.

    The second value says whether any was left out.
    """
    kept: list[Counterpart] = []
    for pair in pairs:
        others = [each.control for each in kept if each.trial == pair.trial]
        if not any(_same(tables[pair.control], tables[other]) for other in others):
            kept.append(pair)
    return kept, len(kept) < len(pairs)


def adversary_weight(outcome: TrainingOutcome) -> float:
    """Return the w_W that reaches the generator: 0 also where the adversary is cut off."""
    return 0.0 if setting(outcome, CARRIER) == "none" else float(setting(outcome, W) or 0.0)


def _kind(control: TrainingOutcome) -> str:
    return "species_gradient = none" if setting(control, CARRIER) == "none" else "w_W = 0"


def _places(parameter: Parameter, first: Mapping[int, TrainingOutcome]) -> dict[int, float]:
    """Return, by number of the trial, where its value stands between 0 and 1 of the sweep's range; names one apart."""
    values = [setting(outcome, parameter.key) for outcome in first.values()]
    ruler = Ruler(values, log=parameter.log)
    at = ruler.at(values)
    known: Any = at[np.isfinite(at)]
    span = float(np.ptp(known)) if ruler.numeric and len(known) and np.ptp(known) > 0 else 1.0
    return dict(zip(first, np.nan_to_num(at / span, nan=-1.0).tolist(), strict=True))


def _same(a: pd.DataFrame, b: pd.DataFrame) -> bool:
    """Return whether both tables hold the same rows with the same scores."""
    columns, keys = [column for column in _SCORED if column in a and column in b], [*KEYS, "seed"]
    left, right = (table.sort_values(keys)[[*keys, *columns]].reset_index(drop=True) for table in (a, b))
    return left.equals(right)
