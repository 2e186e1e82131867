"""Properties of many crystals, predicted by several workers of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crystalsweep.evaluation.spread import Tables, Workers
from crystalsweep.inference.predicting import Prediction, Predictor
from crystalsweep.structures.crystal import Crystal

CRYSTALS_OF_A_PART = 256
"""Handed to a worker at once."""


@dataclass(frozen=True)
class Predicting:
    """A property model that is asked of crystals; a `Task` of `spread`."""

    predictor: Predictor

    def score(self, part: Sequence[Crystal]) -> Tables:
        """Return what the network answers, a row per crystal."""
        return {"outputs": pd.DataFrame(self.predictor.outputs(part))}


def spread_predictions(
    predictor: Predictor, crystals: Sequence[Crystal], workers: int, done: Callable[[int], object] | None = None
) -> dict[str, Prediction]:
    """Return what `Predictor.predict` does, to rounding; `done` hears how many are ready each time.

    Args:
        predictor: On the CPU.
        crystals: M of them.
        workers: Processes.
        done: Of the bar.
    """
    starts = range(0, len(crystals), CRYSTALS_OF_A_PART)
    parts = ((first, list(crystals[first : first + CRYSTALS_OF_A_PART])) for first in starts)
    outputs: dict[int, np.ndarray] = {}
    with Workers(workers) as pool:
        for first, tables in pool.over(Predicting(predictor), parts, len(starts)):
            outputs[first] = tables["outputs"].to_numpy(np.float64)
            if done:
                done(len(outputs[first]))
    return predictor.told(np.concatenate([outputs[first] for first in starts]))
