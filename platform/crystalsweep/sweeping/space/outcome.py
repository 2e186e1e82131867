"""How one training of a sweep ended: what reports are made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from crystalsweep.artifacts.kept import kept_row
from crystalsweep.metrics import summarise
from crystalsweep.training.restoration import TABLE

TrainingState = Literal["complete", "pruned", "failed", "stopped"]
"""complete: to its last epoch; pruned: cut by the scheduler; failed: with a reason; stopped: by a cap, resumable."""


@dataclass(frozen=True, kw_only=True)
class TrainingOutcome:
    """One training: a trial of the study with one seed."""

    number: int
    """Of the trial in the study."""
    seed: int
    key: str
    """`0007-s0`."""
    state: TrainingState
    reason: str
    """Why it failed, was cut or stopped; empty when complete."""
    settings: Mapping[str, Any]
    """By parameter key; of a mutated trial the last ones."""
    control: bool
    """Whether it is a control arm."""
    run: str
    """MLflow run id."""
    history: list[dict[str, float]]
    """Metrics and timing of every epoch."""
    checkpoint: Path | None
    """Local folder with the last checkpoint's `evaluation.parquet` and `checkpoint.json`, at least; None if none."""
    seconds: float
    """For which it held its resources, over all attempts."""

    @property
    def metrics(self) -> Mapping[str, float]:
        """Of the epoch that the checkpoint has the weights of: the last, or the best where `keep_best` asks for it."""
        return kept_row(self.history)

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row per restored crystal, of that epoch's validation."""
        assert self.checkpoint
        return pd.read_parquet(self.checkpoint / TABLE, page_checksum_verification=True)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """Metrics per mask type and test sigma, as `metrics.summarise` gives them."""
        return summarise(self.table)
