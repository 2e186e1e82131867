"""Validation of the stages that restore crystals: the evaluation protocol on the validation split."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch

from crystalsweep.crystal import Crystal
from crystalsweep.evaluation import evaluate_generator
from crystalsweep.hyperparameters import EvaluationConfig
from crystalsweep.metrics import METRICS, SECONDARY, flat, headline
from crystalsweep.models import Generator
from trainables.stage import Metrics

TABLE = "evaluation.parquet"
"""A row per restored crystal, in every checkpoint."""

SCORE = "val/score"
"""Mean of the four headline metrics, an undefined one counting as 0: what a sweep maximises."""


class RestorationValidation:
    """Evaluates a generator and keeps the per-structure table of the last time."""

    def __init__(
        self, generator: Generator, crystals: list[Crystal], config: EvaluationConfig, device: torch.device
    ) -> None:
        self._generator, self._crystals, self._config, self._device = generator, crystals, config, device
        self._table: pd.DataFrame | None = None

    def run(self) -> Metrics:
        """All metrics with 95 % intervals over all conditions; the mean of the four headline ones is `val/score`."""
        self._table = evaluate_generator(self._generator, self._crystals, self._config, self._device)
        intervals = headline(self._table, metrics=METRICS + SECONDARY)
        means = [intervals[metric.name].mean if intervals[metric.name].n else 0.0 for metric in METRICS]
        return flat(intervals, prefix="val") | {SCORE: sum(means) / len(means)}

    def write(self, folder: Path) -> None:
        """The table of the last run, as Parquet."""
        if self._table is not None:
            self._table.to_parquet(folder / TABLE, index=False)
