"""What every stage can be told. Imports without torch; bounds are those of `hyperparameters`: beyond any experiment."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from crystalsweep.config import Config
from crystalsweep.hyperparameters import (
    GREATEST,
    CorruptionConfig,
    EvaluationConfig,
    Positive,
    ReconstructionConfig,
    Seed,
)
from crystalsweep.networks.architectures import AnyBackbone, PaiNNConfig
from crystalsweep.training.directions import better_when

Many = Annotated[int, Field(gt=0, le=1 << 53)]
"""More than any data set has, and what JSON and MLflow keep exactly."""

Epochs = Annotated[int, Field(gt=0, le=10_000_000)]

BatchSize = Annotated[int, Field(gt=0, le=10_000_000)]

FirstEpoch = Annotated[int, Field(ge=0, le=10_000_000)]


class StageConfig(Config):
    """Settings shared by all stages."""

    seed: Seed = 0
    """Seeds weights, data order and corruption; the same seed on the CPU gives the same metrics."""
    epochs: Epochs = 10
    """Passes over the training crystals."""
    max_minutes: Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)] | None = None
    """Stop after the epoch in which this wall-clock time is exceeded."""
    batch_size: BatchSize | Annotated[dict[FirstEpoch, BatchSize], Field(min_length=1)] = 32
    """Crystals per step over all workers, or a schedule {first epoch: size}; the paper's is {0: 1, 25: 3, 45: 5}."""
    batch_atoms: Annotated[int, Field(gt=0, le=1_000_000_000)] | None = None
    """Atoms per step over all workers, instead of batch_size; a larger crystal makes a batch of its own. Edges go with
    atoms: multiply by edges per atom for a limit on these."""
    ahead: Annotated[int, Field(ge=0, le=64)] = 0
    """Batches corrupted and given their neighbours in a thread ahead of the step, which on a GPU then need not wait for
    them; 0 makes each in its step. The numbers are the same."""
    learning_rate: Positive = 1e-4
    """Of the optimizer, before the schedule; for the generator in the GAN stage."""
    optimizer: Literal["adam", "adamw"] = "adam"
    """Adam is the paper's; adamw also decays weights (doi:10.48550/arXiv.1711.05101)."""
    weight_decay: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] = 0.0
    """Of adamw, per step and learning rate; biases, norms and embeddings of species do not decay."""
    clip_norm: Annotated[float, Field(gt=0, le=GREATEST, allow_inf_nan=False)] | None = None
    """Greatest norm of a step's gradient, per optimizer; also logs grad_norm before clipping, its mean and its max."""
    ema_decay: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] | None = None
    """Average weights over steps with this decay (0.999: a thousand steps), which begins low and is reached slowly; the
    average is validated, evaluated and what later stages start from. In the GAN stage of the generator only."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Learning rate: constant is the paper's; cosine decays over all `epochs`, also where max_minutes ends earlier."""
    schedule_by: Literal["epoch", "step"] = "epoch"
    """How often the cosine changes the learning rate: with every epoch, or smoothly with every step."""
    final_factor: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.0
    """What the cosine ends at, as a share of learning_rate."""
    warmup_steps: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    """First steps over which the learning rate rises from near zero, under either schedule."""
    patience: Annotated[int, Field(gt=0, le=10_000_000)] | None = None
    """Stop after so many epochs of which none was better than the best before, by `best_by`."""
    keep_best: bool = False
    """Leave the weights of the best epoch by `best_by` instead of the last, from which resuming goes on."""
    best_by: str = "val/score"
    """Metric of an epoch by which the best is told; for finetune it is val/loss."""
    best_mode: Literal["auto", "max", "min"] = "auto"
    """Whether `best_by` is better greater or smaller; auto takes it from its name: losses and errors smaller."""
    stable_only: bool = True
    """Train on crystals with e_above_hull ≤ 0 only, as the paper does; off, all count as real in the GAN stage."""
    max_atoms: Many | None = None
    """Leave out crystals with more atoms per cell."""
    max_crystals: Many | None = None
    """Train on a seeded sample of this many crystals."""
    backbone: AnyBackbone = PaiNNConfig()
    """The network; later stages take the one of the checkpoint they start from."""

    @model_validator(mode="after")
    def _means_what_it_says(self) -> Self:
        """Refuse settings that nothing would read."""
        if self.weight_decay and self.optimizer != "adamw":
            raise ValueError("weight_decay is of adamw: set optimizer=adamw too, or leave weight_decay at 0")
        if self.schedule != "cosine" and (self.final_factor or self.schedule_by == "step"):
            raise ValueError("final_factor and schedule_by are of the cosine: set schedule=cosine too")
        if self.best_mode == "auto" and better_when(self.best_by) is None:
            raise ValueError(
                f"best_by={self.best_by}: no loss, error, accuracy or other figure whose better side its name tells; "
                "mend it, or set best_mode=max or best_mode=min too"
            )
        return self

    def require_read(self) -> None:
        """Raise `ValueError` for a setting that a new run would never read; older runs may have it."""
        if self.best_by != type(self).model_fields["best_by"].default and not self.keep_best and self.patience is None:
            raise ValueError("best_by decides nothing alone: set keep_best=true or patience too, or leave it out")

    @property
    def unread(self) -> dict[str, str]:
        """Settings that nothing reads beside the others, and what it is that would: none but where a stage says so.
        They are no mistake, for sweeps vary what they go with."""
        return {}

    @property
    def better(self) -> Literal["max", "min"]:
        """Whether `best_by` is better greater or smaller."""
        if self.best_mode != "auto":
            return self.best_mode
        found = better_when(self.best_by)
        assert found, "checked when the settings were made"
        return found

    @property
    def twice_differentiated(self) -> bool:
        """Whether a loss needs gradients of gradients, which compiled networks do not give."""
        return False

    def share(self, split: str) -> float:
        """Return the share of a part's crystals, after all filters, that a training uses."""
        del split
        return 1.0

    @property
    def least_batch_size(self) -> int:
        """Smallest batch of any epoch; more workers than this cannot share it."""
        if self.batch_atoms is not None:
            return self.batch_atoms  # a batch by atoms has a crystal for every worker
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
