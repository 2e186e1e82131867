"""The arms of a sweep of property models: errors of each on the validation crystals, at its best learning rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crystalsweep.metrics.geometry import Array
from crystalsweep.metrics.properties.baselines import COMPOSITION
from crystalsweep.sweeping.report.data_size import Errors
from crystalsweep.sweeping.report.frames import setting
from crystalsweep.sweeping.space.finished import FinishedSweep
from crystalsweep.sweeping.space.outcome import TrainingOutcome
from crystalsweep.training.records import SCORED_FILE

ARM, RATE = "arm", "learning_rate"
"""Keys of parameters."""


@dataclass(frozen=True, kw_only=True)
class ArmErrors:
    """What every arm errs, on the same validation crystals."""

    target: str
    """Name of the target: the first, where trainings have several."""
    arms: Sequence[str]
    """In the order of the sweep; the last is what the others are held against."""
    crystals: int
    """M, validation crystals with a label."""
    seeds: Sequence[int]
    """That every arm has at every size."""
    errors: Errors
    """Of the arms, and of the composition alone."""
    rates: dict[tuple[str, int], float]
    """By arm and number of training crystals, the learning rate of its errors."""
    rates_tried: int


def arm_errors(finished: FinishedSweep) -> ArmErrors:
    """Return errors by arm and number of training crystals; of several learning rates those of the best, on average
    over its seeds.

    A size is left out of an arm where not all of its seeds are complete. Raises `ValueError` where nothing is complete.
    """
    if not finished.done:
        raise ValueError("no training is complete")
    seeds = finished.seeds
    target = str(_table(finished.done[0])["target"].iloc[0])
    tried: dict[tuple[str, int, float], dict[int, pd.Series]] = {}
    alone: dict[int, dict[int, pd.Series]] = {}
    for outcome in finished.done:
        n = _size(finished, outcome)
        of = str(outcome.settings[ARM]), n, float(setting(outcome, RATE))
        tried.setdefault(of, {})[outcome.seed] = _of(_table(outcome), target)
        alone.setdefault(n, {})[outcome.seed] = _of(finished.composition[outcome.key].errors, target)
    ids = sorted(set.intersection(*(set(each.index) for found in tried.values() for each in found.values())))
    arrays = {of: _stacked(found, seeds, ids) for of, found in tried.items() if set(seeds) <= found.keys()}
    errors: dict[tuple[str, int], Array] = {}
    rates: dict[tuple[str, int], float] = {}
    for (arm, n, rate), array in arrays.items():
        if (arm, n) not in errors or array.mean() < errors[arm, n].mean():
            errors[arm, n], rates[arm, n] = array, rate
    whole = {n: found for n, found in alone.items() if set(seeds) <= found.keys()}
    errors |= {(COMPOSITION, n): _stacked(found, seeds, ids) for n, found in whole.items()}
    order = next(parameter.values for parameter in finished.parameters if parameter.key == ARM)
    return ArmErrors(
        target=target,
        arms=[arm for arm in order if any(name == arm for name, _ in rates)],
        crystals=len(ids),
        seeds=seeds,
        errors=errors,
        rates=rates,
        rates_tried=len({rate for *_, rate in tried}),
    )


def _size(finished: FinishedSweep, outcome: TrainingOutcome) -> int:
    return finished.composition[outcome.key].trained_on


def _table(outcome: TrainingOutcome) -> pd.DataFrame:
    assert outcome.checkpoint
    return pd.read_parquet(outcome.checkpoint / SCORED_FILE["predictions"], page_checksum_verification=True)


def _of(table: pd.DataFrame, target: str) -> pd.Series:
    return table[table["target"] == target].set_index("id")["error"]


def _stacked(found: dict[int, pd.Series], seeds: Sequence[int], ids: list[str]) -> Array:
    return np.stack([found[seed].loc[ids].to_numpy(dtype=np.float64) for seed in seeds])
