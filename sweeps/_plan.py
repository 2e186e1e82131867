"""What a sweep is going to do, resolved and priced before anything starts."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from tabulate import tabulate

from crystalsweep.batch import collate
from crystalsweep.config import Leaf, as_parameters, leaves
from crystalsweep.data import DataSet
from sweeps._spec import Resolved
from sweeps._trial import configured
from trainables.catalogue import stage_builder
from trainables.cluster import Resources
from trainables.config import RestorationConfig, StageConfig
from trainables.loop import epoch_batches

STARTUP_SECONDS = 35.0
"""Of a trial, beside its training: processes, imports, data, upload. Measured on two cores with two trials at once."""

LATENESS = 1.05
"""A training with a budget of minutes takes this many times as long, since it completes its last epoch."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A resolved sweep."""

    question: str
    resolved: Resolved
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
    def stage(self) -> str:
        """The stage that is swept."""
        return list(self.resolved.stages)[-1]

    @property
    def prerequisites(self) -> dict[str, StageConfig]:
        """The stages before it, in order."""
        return {stage: config for stage, config in self.resolved.stages.items() if stage != self.stage}

    @property
    def swept(self) -> RestorationConfig:
        """Config of the stage that is swept, before a trial's settings."""
        config = self.resolved.stages[self.stage]
        assert isinstance(config, RestorationConfig)
        return config

    @property
    def chosen(self) -> dict[str, StageConfig]:
        """The swept config by what is chosen by name, as `painn`; by its stage where nothing is."""
        base = self.swept.model_dump(mode="json")
        return {
            name: configured(self.stage, base, {key: name}, self.resolved.choices)
            for key, names in self.resolved.choices.items()
            for name in names
        } or {self.stage: self.swept}

    def parameters(self) -> dict[str, str]:
        """What all trials share, before their settings, and the names that they choose from."""
        choices = self.resolved.choices
        shared = {path: value for path, value in as_parameters(self.swept).items() if not self._is_chosen(path)}
        return shared | {key: ", ".join(names) for key, names in choices.items()}

    @property
    def proposed(self) -> int:
        """Trials left to Optuna."""
        return max(0, self.num_samples - len(self.points))

    def describe(self, minutes: dict[str, float]) -> str:
        """The plan for a person: trials, configs, resources, expected minutes."""
        rows = [{"trial": i + 1, **point} for i, point in enumerate(self.points[: self.num_samples])]
        trials = tabulate(rows, headers="keys")
        more = f"\n…and {self.proposed} proposed by Optuna (TPE)" if self.proposed else ""
        configs = "\n\n".join(f"[{title}]\n{settings}" for title, settings in self._configs())
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
        workers, rounds = self.resources.workers, math.ceil(self.num_samples / self.max_concurrent)
        minutes = {
            stage: (STARTUP_SECONDS + _training_seconds(stage, config, data, workers * self.max_concurrent)) / 60
            for stage, config in self.prerequisites.items()
        }
        longest = max(_training_seconds(self.stage, config, data, workers) for config in self.chosen.values())
        return minutes | {self.stage: rounds * (STARTUP_SECONDS + longest) / 60}

    def _configs(self) -> Iterator[tuple[str, str]]:
        """Settings of every stage, and apart from them what is chosen by name."""
        for stage, config in self.prerequisites.items():
            yield stage, _settings(leaves(config))
        yield self.stage, _settings(leaf for leaf in leaves(self.swept) if not self._is_chosen(leaf.path))
        if self.resolved.choices:
            for name, config in self.chosen.items():
                yield f"{self.stage} {name}", _settings(leaf for leaf in leaves(config) if self._is_chosen(leaf.path))

    def _is_chosen(self, path: str) -> bool:
        """Whether a setting is among those that a name stands for."""
        keys = {key for names in self.resolved.choices.values() for meant in names.values() for key in meant}
        return any(path == key or path.startswith(f"{key}.") for key in keys)


def _settings(shown: Iterable[Leaf]) -> str:
    return "\n".join(f"{leaf.path} = {leaf.value}" for leaf in shown)


class _Rehearsal:
    """A session that goes nowhere: for timing steps."""

    rank, world_size, device = 0, 1, torch.device("cpu")

    def wrap(self, model: torch.nn.Module) -> torch.nn.Module:
        return model

    def resume_from(self) -> None:
        return None


def _training_seconds(stage: str, config: StageConfig, data: DataSet, speedup: int, timed_steps: int = 4) -> float:
    """Seconds of one training run: its steps, shared by `speedup` workers, and its validations.

    With a budget of minutes nothing needs timing: it ends after the epoch in which that is exceeded.
    """
    if config.max_minutes is not None:
        return 60 * config.max_minutes * LATENESS
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
