"""What a stage is: models, optimizers, one training step, one validation. The loop around it: `training.loop`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from crystalsweep.data import DataSet, Note, atom_counts, label_values, pick, used_of
from crystalsweep.data.labels import has_label, told_labels
from crystalsweep.data.selection import sampled_rows, shared_rows
from crystalsweep.networks.models import pristine_graph_of
from crystalsweep.seeding import stream
from crystalsweep.structures.batch import CrystalBatch, collate
from crystalsweep.structures.crystal import Crystal
from crystalsweep.training.averaging import WeightAverage
from crystalsweep.training.config import StageConfig
from crystalsweep.training.means import MAX
from crystalsweep.training.optimization import BETAS, descend, optimizer_of
from crystalsweep.training.session import Session

Metrics = dict[str, float]

Losses = dict[str, Tensor | float]
"""What a step returns; tensors stay on the device, so that no step waits for it."""


class Stage(ABC):
    """One stage of the paper, ready to train; `learn` takes its networks, `update` changes them."""

    name: str
    train: Sequence[Crystal]
    val: Sequence[Crystal]

    def __init__(self, config: StageConfig, data: DataSet, session: Session) -> None:
        self.config = config
        self.data = data
        self.session = session
        self.models: dict[str, nn.Module] = {}
        """Networks by the name their weights are saved under; bare, not wrapped."""
        self.optimizers: dict[str, Optimizer] = {}
        """By the name of the network that they update."""
        self.averages: dict[str, WeightAverage] = {}
        """Averaged weights, by the name of the network; none unless `ema_decay` asks for them."""
        self.dropped: list[str] = []
        """Tensors of the checkpoints it started from that did not fit."""
        self.ancestry: list[dict[str, str]] = []
        """The trainings that led to these checkpoints (`checkpoint.lineage`)."""
        self.compiled: list[bool] | None = None
        """Of each backbone, whether the run that is resumed had it compiled; None of a run that begins."""

    def learn(
        self,
        name: str,
        model: nn.Module,
        learning_rate: float,
        *,
        betas: tuple[float, float] = BETAS,
        averaged: bool = True,
        factors: Mapping[str, float] | None = None,
    ) -> nn.Module:
        """Take a network that this stage trains, and return it as it is to be called in a step.

        Args:
            name: Under which its weights are saved.
            model: The network; what of it requires no gradient is not updated.
            learning_rate: Before the schedule.
            betas: Of Adam.
            averaged: Whether `ema_decay` is about this network too.
            factors: What the learning rate of each weight is multiplied with, by its name; 1 where left out.
        """
        wrapped = self.session.wrap(model)
        self.models[name] = model
        self.optimizers[name] = optimizer_of(model, self.config, learning_rate, betas, factors)
        if averaged and self.config.ema_decay is not None:
            self.averages[name] = WeightAverage(model, self.config.ema_decay)
        return wrapped

    def evaluated(self, name: str) -> nn.Module:
        """Return the network that is validated and that others start from: with averaged weights, where there are
        some."""
        return self.averages[name].model if name in self.averages else self.models[name]

    def update(self, name: str, loss: Tensor) -> Losses:
        """Make one update of the network of this name; returns its gradient's norm where that is clipped."""
        norm = descend(self.optimizers[name], loss, self.config.clip_norm)
        if name in self.averages:
            self.averages[name].follow(self.models[name])
        if norm is None:
            return {}
        told = "grad_norm" if len(self.optimizers) == 1 else f"grad_norm/{name}"
        return {told: norm, f"{told}{MAX}": norm}

    @cached_property
    def atoms(self) -> list[int]:
        """Atoms of each training crystal."""
        return [int(count) for count in atom_counts(self.train)]

    def prepare(self, batch: CrystalBatch, epoch: int, step: int) -> Any:
        """Return what a step on the batch is given: a dataclass of what can be computed on the CPU without weights.

        May run in a thread, while an earlier step does; draws from random streams of its own, as `step_stream`.
        """
        del epoch, step
        return batch

    @abstractmethod
    def step(self, batch: Any, epoch: int, step: int) -> Losses:
        """Update on what `prepare` made of a batch, which is on the CPU still; `step` counts from the run's beginning.

        Returns losses to average over the epoch.
        """

    @abstractmethod
    def validate(self) -> Metrics:
        """Measure the validation split; called on rank 0."""

    def write_extra(self, folder: Path) -> None:  # noqa: B027  most stages have nothing to add
        """Write further files for the checkpoint."""


def step_stream(stage: Stage, purpose: str, epoch: int, step: int) -> torch.Generator:
    """Return the random stream of one step on one rank."""
    return stream(stage.config.seed, purpose, epoch, step, stage.session.rank)


def select(crystals: Sequence[Crystal], config: StageConfig, *, stable_only: bool, split: str) -> Sequence[Crystal]:
    """Return the crystals of a split that a stage uses. Raises `ValueError` when none are left, naming the filter."""
    chosen = pick(crystals, _fitting(crystals, config))
    if not len(chosen):
        raise ValueError(f"none of the {len(crystals)} {split} crystals has at most max_atoms={config.max_atoms} atoms")
    if stable_only:
        stable = pick(chosen, np.flatnonzero(_on_hull(chosen)))
        if not len(stable):
            labelled = int((~np.isnan(label_values(chosen, "e_above_hull"))).sum())
            raise ValueError(
                f"none of the {len(chosen)} {split} crystals is stable ({labelled} have an e_above_hull label); "
                "add an e_above_hull column (eV/atom) or, for pretrain and gan, pass --set stable_only=false"
            )
        chosen = stable
    return pick(chosen, sampled_rows(len(chosen), config.max_crystals, config.seed)) if split == "train" else chosen


def _fitting(crystals: Sequence[Crystal], config: StageConfig) -> NDArray[np.int64]:
    """Return the rows of crystals that have few enough atoms."""
    if config.max_atoms is None:
        return np.arange(len(crystals))
    return np.flatnonzero(atom_counts(crystals) <= config.max_atoms)


def _on_hull(crystals: Sequence[Crystal]) -> NDArray[np.bool_]:
    """Return (M,) what `is_stable` says of each."""
    return np.asarray(label_values(crystals, "e_above_hull") <= 0.0)


def used(
    crystals: Sequence[Crystal],
    config: StageConfig,
    *,
    split: str,
    labels: Sequence[str] = (),
    notes: Sequence[Note] = (),
) -> tuple[Sequence[Crystal], str]:
    """Return what `select` gives of the crystals with any of the labels, and in a line how many those are and why not
    more.

    Args:
        crystals: Of one split.
        config: Settings that leave some out.
        split: Its name.
        labels: Of which a crystal must have one; none asks for nothing.
        notes: How the data was read, which may say why a column is no label.

    Raises:
        ValueError: None is left; says which filter.
    """
    given = [has_label(crystals, label) for label in labels]
    labelled = pick(crystals, np.flatnonzero(np.any(given, axis=0))) if labels else crystals
    if labels and not len(labelled):
        raise ValueError(
            f"none of the {len(crystals)} {split} crystals has a label {' or '.join(labels)}; the labels there are: "
            f"{told_labels(crystals, labels, notes)}"
        )
    fitting = pick(labelled, _fitting(labelled, config))
    sampled = select(labelled, config, stable_only=config.stable_only, split=split)
    share = config.share(split)
    chosen = pick(sampled, shared_rows(len(sampled), share, config.seed))
    stable = int(_on_hull(fitting).sum()) if config.stable_only else len(fitting)
    left_out = {
        f"without {' or '.join(labels)}": len(crystals) - len(labelled),
        f"over max_atoms={config.max_atoms}": len(labelled) - len(fitting),
        "not stable (stable_only)": len(fitting) - stable,
        f"beyond a sample of max_crystals={config.max_crystals}": stable - len(sampled),
        f"beyond {split}_share={share:g}": len(sampled) - len(chosen),
    }
    return chosen, used_of(f"{len(chosen):,} of {len(crystals):,} {split} crystals used", left_out)


def average_degree(crystals: Sequence[Crystal], config: StageConfig, sample: int = 512) -> float:
    """Return edges per atom over a sample of the training crystals; scales the backbone's messages."""
    picks = np.random.default_rng(config.seed).permutation(len(crystals))[:sample]
    batch = collate([crystals[i] for i in sorted(picks)])
    graph = pristine_graph_of(batch, config.backbone)
    return max(len(graph.src) / len(batch.species), 1.0)
