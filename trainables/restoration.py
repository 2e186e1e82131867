"""Validation of the stages that restore crystals: the evaluation protocol on the validation split."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import pandas as pd
import torch

from crystalsweep.checkpoint import read_info
from crystalsweep.crystal import Crystal
from crystalsweep.data import load
from crystalsweep.evaluation.protocol import Chunk, evaluate_chunks, evaluate_references, evaluation_chunks
from crystalsweep.hyperparameters import EvaluationConfig
from crystalsweep.metrics import METRICS, SECONDARY, flat, headline, ranking_score, rows_table
from crystalsweep.models import Generator
from trainables.catalogue import config_from
from trainables.config import RestorationConfig
from trainables.stage import Metrics, Stage, select

TABLE = "evaluation.parquet"
"""A row per restored crystal, in every checkpoint."""

SCORE = "val/score"
"""`metrics.ranking_score`: what a sweep maximises."""


class RestorationValidation:
    """Evaluates a generator and keeps the per-structure table of the last time."""

    def __init__(
        self, generator: Generator, crystals: list[Crystal], config: EvaluationConfig, device: torch.device
    ) -> None:
        self._generator, self._crystals, self._config, self._device = generator, crystals, config, device
        self._table: pd.DataFrame | None = None

    def run(self) -> Metrics:
        """All metrics with 95 % intervals over all conditions; the mean of the four headline ones is `val/score`."""
        self._table = evaluate_chunks(self._generator, self._chunks, self._config.keep_known, self._device)
        intervals = headline(self._table, metrics=METRICS + SECONDARY)
        return flat(intervals, prefix="val") | {SCORE: ranking_score(self._table, n_resamples=1).mean}

    @cached_property
    def _chunks(self) -> list[Chunk]:
        """The corrupted inputs, the same after every epoch."""
        return list(evaluation_chunks(self._crystals, self._config))

    def write(self, folder: Path) -> None:
        """The table of the last run, as Parquet."""
        if self._table is not None:
            self._table.to_parquet(folder / TABLE, index=False)


class RestorationStage(Stage):
    """A stage whose generator is validated by the evaluation protocol."""

    validation: RestorationValidation

    def validate(self) -> Metrics:
        """Restoration of the validation crystals."""
        return self.validation.run()

    def write_extra(self, folder: Path) -> None:
        """The per-structure table of the last validation."""
        self.validation.write(folder)


def restoration_report(checkpoint: Path, source: str) -> str:
    """The table of a checkpoint's last validation beside ceiling, identity and most common species."""
    info, data = read_info(checkpoint), load(source)
    config = config_from(info.stage, info.config)
    assert isinstance(config, RestorationConfig)
    val, train = (
        select(data.part(part), config, stable_only=config.stable_only, split=part) for part in ("val", "train")
    )
    references = evaluate_references(val, train, config.evaluation)
    return rows_table({info.stage: pd.read_parquet(checkpoint / TABLE), **references})
