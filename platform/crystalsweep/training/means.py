"""Means over the steps of an epoch, read from the device rarely, and the step at which one was not finite."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Self

import torch
import torch.distributed
from torch import Tensor

MAX = "/max"
"""Ends the name of a value whose greatest over the steps is told, not its mean."""

READ_EVERY = {"cpu": 1, "cuda": 32}
"""Steps between two readings, by kind of device: reading waits for a GPU, and on the CPU costs nothing."""


class DivergedError(ValueError):
    """A loss is no longer finite."""


class EpochMeans:
    """Values that the steps of an epoch returned; single tensors wait on their device until they are read.

    Used as a context around the steps, it raises the `DivergedError` of an earlier step instead of the `ValueError`
    that came of it.
    """

    def __init__(self, epoch: int, device: torch.device, *, read_every: int | None = None) -> None:
        self._epoch, self._device = epoch, device
        self._read_every = read_every or READ_EVERY.get(device.type, 1)
        self._waiting: list[tuple[int, Mapping[str, Tensor | float]]] = []
        self._totals: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        self._greatest: dict[str, float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ValueError | ArithmeticError):
            self.read()  # what a step could not go on from began in one before it

    def add(self, values: Mapping[str, Tensor | float], step: int) -> None:
        """Take the values of a step, counted from the run's beginning. Raises `DivergedError` as `read` does."""
        self._waiting.append((step, values))
        if len(self._waiting) >= self._read_every:
            self.read()

    def read(self) -> None:
        """Read what waits. Raises `DivergedError` naming the first value that is not finite, and its step."""
        waiting, self._waiting = self._waiting, []
        tensors = [value for _, values in waiting for value in values.values() if isinstance(value, Tensor)]
        read = iter(torch.stack([value.double() for value in tensors]).tolist() if tensors else [])
        for step, values in waiting:
            for name, value in values.items():
                self._count(name, next(read) if isinstance(value, Tensor) else float(value), step)

    def _count(self, name: str, number: float, step: int) -> None:
        if not math.isfinite(number):
            raise DivergedError(f"{name} is {number} in epoch {self._epoch + 1}, step {step + 1}; lower learning_rate")
        if name.endswith(MAX):
            self._greatest[name] = max(number, self._greatest.get(name, number))
        else:
            self._totals[name][0] += number
            self._totals[name][1] += 1

    def over_ranks(self, world_size: int) -> dict[str, float]:
        """Return means over the steps that had a value and the greatest of those that ask for it, over all ranks."""
        self.read()
        totals = torch.tensor([self._totals[name] for name in sorted(self._totals)], dtype=torch.float64)
        greatest = torch.tensor([self._greatest[name] for name in sorted(self._greatest)], dtype=torch.float64)
        if world_size > 1:
            totals, greatest = totals.to(self._device), greatest.to(self._device)
            torch.distributed.all_reduce(totals)
            if len(greatest):
                torch.distributed.all_reduce(greatest, torch.distributed.ReduceOp.MAX)
        means = {name: float(total / count) for name, (total, count) in zip(sorted(self._totals), totals, strict=True)}
        return means | dict(zip(sorted(self._greatest), greatest.tolist(), strict=True))
