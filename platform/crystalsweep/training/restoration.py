"""Validation of the stages that restore crystals: the evaluation protocol on the validation split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast

import pandas as pd
import torch
from torch import nn

from crystalsweep.data import DataSet
from crystalsweep.evaluation.protocol import Chunk, evaluate_chunks, evaluate_references, evaluation_chunks
from crystalsweep.hyperparameters import CorruptionConfig, EvaluationConfig
from crystalsweep.metrics import EXTENDED, METRICS, SECONDARY, flat, headline, ranking_score, rows_table
from crystalsweep.metrics.novelty import novel_of
from crystalsweep.networks.architectures import BackboneConfig
from crystalsweep.networks.checkpoint import read_info
from crystalsweep.networks.models import Generator, graph_of
from crystalsweep.structures.batch import CrystalBatch, on_device
from crystalsweep.structures.corruption import Corrupted, corrupt
from crystalsweep.structures.crystal import Crystal
from crystalsweep.structures.graph import Graph
from crystalsweep.training.catalogue import config_from
from crystalsweep.training.config import RestorationConfig
from crystalsweep.training.records import SCORE, SCORED_FILE
from crystalsweep.training.session import Session
from crystalsweep.training.stage import Metrics, Stage, select, step_stream

TABLE = SCORED_FILE["restorations"]
"""A row per restored crystal, in every checkpoint."""

NOVELTY = next(metric for metric in EXTENDED if metric.name == "novel_vs_input")

HIGH_NOISE = "val/high_noise"
"""Begins the names of what is told of the highest test noise alone."""


class RestorationValidation:
    """Evaluates a generator, which a stage gives as `Stage.evaluated`, and keeps the per-structure table of the last
    time."""

    def __init__(
        self, generator: nn.Module, crystals: Sequence[Crystal], config: EvaluationConfig, device: torch.device
    ) -> None:
        self._generator, self._crystals = cast(Generator, generator), crystals
        self._config, self._device = config, device
        self._table: pd.DataFrame | None = None

    def run(self) -> Metrics:
        """Return all metrics with 95 % intervals over all conditions; the mean of the four headline ones is
        `val/score`.

        Also the share of new compositions, and the structural validity at the highest test noise.
        """
        self._table = evaluate_chunks(self._generator, self._chunks, self._config.keep_known, self._device)
        score = {SCORE: ranking_score(self._table, n_resamples=1).mean}
        return flat(headline(self._table, metrics=METRICS + SECONDARY)) | score | _what_sweeps_ask(self._table)

    @cached_property
    def _chunks(self) -> list[Chunk]:
        """The corrupted inputs, the same after every epoch."""
        return list(evaluation_chunks(self._crystals, self._config))

    def write(self, folder: Path) -> None:
        """Write the table of the last run, as Parquet."""
        if self._table is not None:
            self._table.to_parquet(folder / TABLE, index=False, write_page_checksum=True)


def _what_sweeps_ask(table: pd.DataFrame) -> Metrics:
    """Return novelty, and structural validity at the highest test noise, with intervals."""
    noisiest = table[table["sigma_noise"] == table["sigma_noise"].max()]
    structural = [metric for metric in METRICS if metric.name == "structural_validity"]
    novelty = headline(table.assign(novel_vs_input=novel_composition(table)), metrics=[NOVELTY])
    return flat(novelty) | flat(headline(noisiest, metrics=structural), prefix=HIGH_NOISE)


def novel_composition(table: pd.DataFrame) -> pd.Series:
    """Return (n,) what `metrics.novel_vs_input` gives, from scores alone: valid both ways, and of another composition.

    No species are needed: restored crystals have as many atoms as their parents, so that the reduced composition is the
    parent's only where the composition is.
    """
    return novel_of(table, ~table["compositional_similarity_permuted"].to_numpy().astype(bool))


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """What a generator is to restore: a corrupted batch, and its graph."""

    corrupted: Corrupted
    graph: Graph

    def to(self, device: torch.device) -> Task:
        """Return the same on another device."""
        return on_device(self, device)


def corrupted_task(
    batch: CrystalBatch, corruption: CorruptionConfig, backbone: BackboneConfig, random: torch.Generator
) -> Task:
    """Return a batch freshly corrupted, and its graph.

    Args:
        batch: On the CPU.
        corruption: How.
        backbone: What is to read it.
        random: Of masks and noise.
    """
    corrupted = corrupt(batch, corruption, random)
    return Task(corrupted=corrupted, graph=graph_of(corrupted.cart, batch.lattice, batch.counts, backbone))


class RestorationStage(Stage):
    """A stage that corrupts its crystals, and whose network `generator` is validated by the evaluation protocol."""

    config: RestorationConfig

    def __init__(self, config: RestorationConfig, data: DataSet, session: Session) -> None:
        super().__init__(config, data, session)
        self.train, self.val = (
            select(data.part(part), config, stable_only=config.stable_only, split=part) for part in ("train", "val")
        )

    @cached_property
    def validation(self) -> RestorationValidation:
        """Of the generator, once the stage has taken it."""
        return RestorationValidation(self.evaluated("generator"), self.val, self.config.evaluation, self.session.device)

    def prepare(self, batch: CrystalBatch, epoch: int, step: int) -> Task:
        """Return the batch freshly corrupted, and its graph."""
        random = step_stream(self, "corruption", epoch, step)
        return corrupted_task(batch, self.config.corruption, self.config.backbone, random)

    def validate(self) -> Metrics:
        """Measure the restoration of the validation crystals."""
        return self.validation.run()

    def write_extra(self, folder: Path) -> None:
        """Write the per-structure table of the last validation."""
        self.validation.write(folder)


def restoration_report(checkpoint: Path, data: DataSet) -> str:
    """Return the table of a checkpoint's last validation beside ceiling, identity and most common species."""
    info = read_info(checkpoint)
    config = config_from(info.stage, info.config)
    assert isinstance(config, RestorationConfig)
    val, train = (
        select(data.part(part), config, stable_only=config.stable_only, split=part) for part in ("val", "train")
    )
    references = evaluate_references(val, train, config.evaluation)
    return rows_table({info.stage: pd.read_parquet(checkpoint / TABLE, page_checksum_verification=True), **references})
