"""What a sweep is going to do, resolved and priced before anything starts."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from tabulate import tabulate

from crystalsweep.batch import collate
from crystalsweep.config import leaves
from crystalsweep.data import DataSet
from trainables.catalogue import stage_builder
from trainables.cluster import Resources
from trainables.config import StageConfig
from trainables.gan.config import GanConfig
from trainables.loop import epoch_batches

STARTUP_SECONDS = 35.0
"""Of a trial, beside its training: processes, imports, data, upload. Measured on two cores with two trials at once."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A resolved sweep."""

    question: str
    stages: dict[str, StageConfig]
    """In order; the last is the one that is swept."""
    points: Sequence[dict[str, Any]]
    """Settings of the first trials, in order."""
    num_samples: int
    """Trials in all; those beyond `points` are proposed by Optuna."""
    resources: Resources
    max_concurrent: int
    source: str
    storage: Path
    tracking_uri: str

    @property
    def swept(self) -> GanConfig:
        """Config of the stage that is swept, before a trial's settings."""
        config = self.stages["gan"]
        assert isinstance(config, GanConfig)
        return config

    @property
    def proposed(self) -> int:
        """Trials left to Optuna."""
        return max(0, self.num_samples - len(self.points))

    def describe(self, minutes: dict[str, float]) -> str:
        """The plan for a person: trials, configs, resources, expected minutes."""
        rows = [{"trial": i + 1, **point} for i, point in enumerate(self.points[: self.num_samples])]
        trials = tabulate(rows, headers="keys")
        more = f"\n…and {self.proposed} proposed by Optuna (TPE)" if self.proposed else ""
        configs = "\n\n".join(f"[{stage}]\n{_settings(config)}" for stage, config in self.stages.items())
        each = f"{self.resources.workers} worker(s) × {self.resources.cpus_per_worker:g} CPU"
        gpu = " + 1 GPU" if self.resources.use_gpu else ""
        priced = "\n".join(f"  {stage:10} {value:6.1f}" for stage, value in minutes.items())
        return (
            f"{self.question}\n\n{trials}{more}\n\n{configs}\n\n"
            f"data       {self.source}\nresources  {each}{gpu} per trial, {self.max_concurrent} trials at once\n"
            f"storage    {self.storage}\ntracking   {self.tracking_uri}\n\n"
            f"expected minutes (from steps timed just now; a cached stage takes none)\n{priced}\n"
            f"  {'total':10} {sum(minutes.values()):6.1f}"
        )

    def expected_minutes(self, data: DataSet) -> dict[str, float]:
        """Minutes per stage, from steps and validations timed on this machine."""
        minutes = {}
        for stage, config in self.stages.items():
            swept = stage == list(self.stages)[-1]
            rounds = math.ceil(self.num_samples / self.max_concurrent) if swept else 1
            speedup = self.resources.workers * (1 if swept else self.max_concurrent)
            minutes[stage] = rounds * (STARTUP_SECONDS + _training_seconds(stage, config, data, speedup)) / 60
        return minutes


def _settings(config: StageConfig) -> str:
    return "\n".join(f"{leaf.path} = {leaf.value}" for leaf in leaves(config))


class _Rehearsal:
    """A session that goes nowhere: for timing steps."""

    rank, world_size, device = 0, 1, torch.device("cpu")

    def wrap(self, model: torch.nn.Module) -> torch.nn.Module:
        return model

    def resume_from(self) -> None:
        return None


def _training_seconds(stage: str, config: StageConfig, data: DataSet, speedup: int, timed_steps: int = 4) -> float:
    """Seconds of one training run: its steps, shared by `speedup` workers, and its validations."""
    torch.set_num_threads(1)  # as Ray's one-CPU workers do
    session: Any = _Rehearsal()
    built = stage_builder(stage)(config, data, session, {})
    batches = epoch_batches(built, session, 0)
    steps = [_seconds(lambda i=i: built.step(collate(batches[i]), 0, i)) for i in range(min(timed_steps, len(batches)))]
    return config.epochs * (median(steps) * len(batches) / speedup + _seconds(built.validate))


def _seconds(action: Any) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began
