"""What every stage can be told. Imports without torch; bounds are those of `hyperparameters`: beyond any experiment."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from crystalsweep.config import Config
from crystalsweep.hyperparameters import (
    CorruptionConfig,
    EvaluationConfig,
    Positive,
    ReconstructionConfig,
    Seed,
)
from crystalsweep.networks.architectures import AnyBackbone, PaiNNConfig

Many = Annotated[int, Field(gt=0, le=1 << 53)]
"""More than any data set has, and what JSON and MLflow keep exactly."""

Epochs = Annotated[int, Field(gt=0, le=10_000_000)]

BatchSize = Annotated[int, Field(gt=0, le=10_000_000)]


class StageConfig(Config):
    """Settings shared by all stages."""

    seed: Seed = 0
    """Seeds weights, data order and corruption; the same seed on the CPU gives the same metrics."""
    epochs: Epochs = 10
    """Passes over the training crystals."""
    max_minutes: Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)] | None = None
    """Stop after the epoch in which this wall-clock time is exceeded."""
    batch_size: BatchSize | dict[Annotated[int, Field(ge=0, le=10_000_000)], BatchSize] = 32
    """Crystals per step over all workers, or a schedule {first epoch: size}; the paper's is {0: 1, 25: 3, 45: 5}."""
    learning_rate: Positive = 1e-4
    """Of Adam; for the generator in the GAN stage."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Learning rate over epochs: constant is the paper's; cosine decays to zero."""
    stable_only: bool = True
    """Train on crystals with e_above_hull ≤ 0 only, as the paper does; off, all count as real in the GAN stage."""
    max_atoms: Many | None = None
    """Leave out crystals with more atoms per cell."""
    max_crystals: Many | None = None
    """Train on a seeded sample of this many crystals."""
    backbone: AnyBackbone = PaiNNConfig()
    """The network; later stages take the one of the checkpoint they start from."""

    @property
    def least_batch_size(self) -> int:
        """Smallest batch of any epoch; more workers than this cannot share it."""
        return self.batch_size if isinstance(self.batch_size, int) else min(self.batch_size.values())

    def batch_size_at(self, epoch: int) -> int:
        """Return crystals per step in this epoch, counted from 0."""
        if isinstance(self.batch_size, int):
            return self.batch_size
        begun = [first for first in self.batch_size if first <= epoch]
        return self.batch_size[max(begun)] if begun else self.batch_size[min(self.batch_size)]


class RestorationConfig(StageConfig):
    """Settings of the stages that restore corrupted crystals: pretrain and gan."""

    corruption: CorruptionConfig = CorruptionConfig()
    """How inputs are made."""
    reconstruction: ReconstructionConfig = ReconstructionConfig()
    """L_species + w_pos · L_position."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """How restored validation crystals are scored after each epoch."""
