"""A training as the sweep's own process knows it: where it stands, what it reported, how long it held its resources."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from crystalsweep.artifacts.checkpoint_store import CheckpointStore, StorageError
from crystalsweep.sweeping.display.display import TrainingRow
from crystalsweep.sweeping.space.outcome import TrainingState
from crystalsweep.sweeping.space.training import Training

NOTED = 5.0
"""Seconds between notes of how long a training has run: a killed sweep forgets at most so much of its budget."""

_WRITTEN = 30.0
"""Seconds after which a training that was cut has stopped writing checkpoints."""


@dataclass(kw_only=True)
class Live:
    """A training that runs, waits or has ended."""

    training: Training
    settings: Mapping[str, Any]
    """The settings that its trial has now."""
    store: CheckpointStore
    row: TrainingRow
    """What is shown of it."""
    before: float
    """Seconds for which it held its resources in earlier sessions."""
    began: float | None = None
    """When its present attempt began, by this process's clock."""
    heard: float = 0.0
    """When it last reported."""
    noted: float = 0.0
    """When its seconds were last noted in the ledger."""
    spent: float = 0.0
    """Seconds of this session's earlier attempts."""
    history: dict[int, dict[str, float]] = field(default_factory=dict)
    """What it reported, by epoch."""
    size: int = 0
    """Bytes of its checkpoints, as last seen."""
    state: TrainingState | None = None
    """How it ended; None while it has not."""
    reason: str = ""
    """Why it ended so."""
    free_at: float | None = None
    """When its checkpoints are freed, by this process's clock; its own process may still be writing one."""

    @property
    def seconds(self) -> float:
        """Seconds for which it has held its resources, in all."""
        now = time.monotonic() - self.began if self.began is not None else 0.0
        return self.before + self.spent + now

    @property
    def rows(self) -> list[dict[str, float]]:
        """What it reported, by epoch in order."""
        return [row for _, row in sorted(self.history.items())]

    def begin(self) -> None:
        """Start the clock of an attempt, unless it runs."""
        now = time.monotonic()
        self.began = now if self.began is None else self.began
        self.heard = now
        self.row.status = "running"

    def pause(self) -> None:
        """Stop the clock: the training holds nothing now."""
        if self.began is not None:
            self.spent, self.began = self.seconds - self.before, None

    def end(self, state: TrainingState, reason: str) -> None:
        """Note how the training ended; of one that was cut, the checkpoints are freed a little later."""
        self.pause()
        self.state, self.reason, self.row.status, self.row.note = state, reason, state, reason
        if state == "pruned":
            self.free_at = time.monotonic() + _WRITTEN

    def free(self) -> None:
        """Delete its checkpoints, where the storage lets it."""
        self.free_at = None
        with suppress(StorageError):
            self.store.keep_only([])
            self.size = self.store.size()
