"""The one interface through which a training loop meets the world: where it runs, and what it reports."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

import torch
from torch import nn

T = TypeVar("T")

WriteCheckpoint = Callable[[Path], None]
"""Writes a checkpoint into an existing empty folder."""


class Session(Protocol):
    """What a loop knows of the process group it runs in; implemented in `local`, `stored` and `cluster`."""

    rank: int
    world_size: int
    device: torch.device

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return the model on this session's device, averaging gradients over workers; the model itself when there is
        one."""
        ...

    def resume_from(self) -> Path | None:
        """Return checkpoint of this same run to continue from."""
        ...

    def history(self) -> list[dict[str, float]]:
        """Return what was reported of the epochs up to that checkpoint; on rank 0, others may give none."""
        ...

    def steps(self, batches: Iterable[T], total: int, epoch: int) -> Iterator[T]:
        """Yield `batches`, shown as progress where somebody watches."""
        ...

    def tell(self, line: str) -> None:
        """Say a line about the run where somebody watches."""
        ...

    def report(self, metrics: dict[str, float], write_checkpoint: WriteCheckpoint, last: bool) -> None:
        """Report once per epoch on every rank: metrics of rank 0 and its checkpoint, and whether the run ends with it.

        Names under `time/` are wall-clock.
        """
        ...
