"""What a training takes on this machine: a few real steps, a validation and a checkpoint, none of them kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch

from crystalsweep.data import DataSet
from crystalsweep.training import machine
from crystalsweep.training.catalogue import stage_builder, stage_spec
from crystalsweep.training.config import RestorationConfig, StageConfig
from crystalsweep.training.loop import epoch_batches, made_ready
from crystalsweep.training.resumption import save
from crystalsweep.training.stage import Stage, used

FEW = 24
"""Crystals of a validation that is timed; one of more takes as much longer."""

LATENESS = 1.05
"""A training with a budget of minutes takes this many times as long, since it completes its last epoch."""

_REPEATS = 3
"""Steps of each kind that are timed, after one that is not."""

_PATIENCE = 3.0
"""Seconds of a first validation, which also corrupts the crystals, beyond which there is no second, which does not."""


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """One training of a stage, with nothing around it."""

    epochs: tuple[float, ...]
    """Seconds of each epoch: steps, validation, checkpoint. Empty where a budget of minutes ends it."""
    budget: float | None
    """Seconds until a budget of minutes has ended it."""
    checkpoint: int
    """Bytes of one."""

    def seconds(self, epochs: int) -> float:
        """Return the seconds of a training that ends after so many epochs."""
        return self.budget if self.budget is not None else sum(self.epochs[:epochs])


class _Nowhere:
    """The session of one of several workers that never meets the others."""

    rank = 0

    def __init__(self, workers: int, device: torch.device) -> None:
        self.world_size, self.device = workers, device

    def wrap(self, model: torch.nn.Module) -> torch.nn.Module:
        return model.to(self.device)


def rehearse(
    stage: str, config: StageConfig, data: DataSet, *, workers: int = 1, cpus: float = 1, gpu: bool = False
) -> Rehearsal:
    """Time one of `workers` on its share of real batches, with as many threads as it will have CPUs.

    With a budget of minutes nothing needs timing: the training ends after the epoch in which that is exceeded.

    Args:
        stage: Name of the stage.
        config: What it trains with.
        data: Its crystals.
        workers: That share each batch.
        cpus: Of each.
        gpu: Whether each has one.
    """
    device = torch.device("cuda" if gpu and torch.cuda.is_available() else "cpu")
    session: Any = _Nowhere(workers, device)
    machine.keep_memory()  # as the training will
    with _threads(max(1, int(cpus))):
        few, more = _brief(config, data)
        built: Stage = stage_builder(stage)(few, data, session, {})
        if config.max_minutes is not None:
            return Rehearsal(epochs=(), budget=60 * config.max_minutes * LATENESS, checkpoint=_of_weights(built))
        sizes = [config.batch_size_at(epoch) for epoch in range(config.epochs)]
        training = {size: _training_seconds(built, session, sizes.index(size)) for size in dict.fromkeys(sizes)}
        first = more * _seconds(built.validate)
        later = more * _seconds(built.validate) if first < _PATIENCE and config.epochs > 1 else first
        saving, checkpoint = _checkpoint(built)
        compiled = machine.worth_compiling(built)
    validating = [first] + [later] * (config.epochs - 1)
    if compiled:
        training = {size: seconds * machine.COMPILED for size, seconds in training.items()}
        validating[0] += machine.COMPILATION
    epochs = tuple(training[size] + spent + saving for size, spent in zip(sizes, validating, strict=True))
    return Rehearsal(epochs=epochs, budget=None, checkpoint=checkpoint)


def _brief(config: StageConfig, data: DataSet) -> tuple[StageConfig, float]:
    """Return the same with a validation of `FEW` crystals, and how many times as long the whole one takes."""
    if not isinstance(config, RestorationConfig):
        return config, 1.0
    there = len(used(data.part("val"), config, split="val")[0])
    whole = min(there, config.evaluation.max_crystals or there)
    if whole <= FEW:
        return config, 1.0
    evaluation = config.evaluation.model_copy(update={"max_crystals": FEW})
    return config.model_copy(update={"evaluation": evaluation}), whole / FEW


def _training_seconds(built: Stage, session: Any, epoch: int) -> float:
    """Return the seconds of an epoch's steps, from the median of each kind."""
    batches = epoch_batches(built, session, epoch)

    def step(number: int, batch: int) -> None:
        given = made_ready(built, batches[batch % len(batches)], epoch, number)
        losses = built.step(given, epoch, number)
        [float(value) for value in losses.values()]  # as the loop does, which waits for a GPU

    step(1, 0)
    expected, taken = 0.0, 0
    for number, share in stage_spec(built.name).step_kinds(built.config):
        times = [_seconds(lambda n=number, b=taken + k: step(n, b)) for k in range(_REPEATS)]  # type: ignore[misc]
        taken += _REPEATS
        expected += share * median(times)
    return expected * len(batches)


def _checkpoint(built: Stage) -> tuple[float, int]:
    """Return seconds to write one, and its bytes."""
    with TemporaryDirectory() as folder:
        seconds = _seconds(lambda: save(built, {"epoch": 1, "step": 1}, Path(folder)))
        return seconds, sum(path.stat().st_size for path in Path(folder).iterdir())


def _of_weights(built: Stage) -> int:
    """Return bytes of a checkpoint that was never written: weights, buffers, Adam's two moments of each weight, and the
    weights as trained beside their average."""
    models = built.models.values()
    weights = sum(p.numel() * p.element_size() for model in models for p in model.parameters())
    averaged = sum(p.numel() * p.element_size() for each in built.averages.values() for p in each.model.parameters())
    return 3 * weights + averaged + sum(b.numel() * b.element_size() for model in models for b in model.buffers())


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Use as many threads as Ray gives a worker."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began
