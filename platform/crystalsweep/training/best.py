"""Which epoch is best by validation: when to stop for want of a better one, and what its checkpoint had."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from crystalsweep.artifacts.checkpoint_store import HISTORY, INFO
from crystalsweep.artifacts.sums import SUMS
from crystalsweep.networks.checkpoint import TRAINING
from crystalsweep.training.config import StageConfig
from crystalsweep.wording.mistakes import suggestion

_OF_THE_EPOCH = {INFO, TRAINING, HISTORY, SUMS}
"""Files of a checkpoint that are of its own epoch, whichever is best: how training goes on, and what came so far."""


def best_epoch(rows: Sequence[Mapping[str, float]], config: StageConfig) -> int:
    """Return the epoch that is best by `config.best_by`; of equal ones the earlier, and NaN is worst.

    Raises:
        ValueError: No validation gives a metric of that name.
    """
    sign = -1.0 if config.better == "max" else 1.0

    def rank(row: Mapping[str, float]) -> tuple[bool, float]:
        value = row[config.best_by]
        return (True, 0.0) if math.isnan(value) else (False, sign * value)

    if unknown := [row for row in rows if config.best_by not in row]:
        meant = suggestion(config.best_by, unknown[0])
        raise ValueError(f"best_by is {config.best_by!r}, which no epoch of this stage gives; {meant}")
    return int(min(rows, key=rank)["epoch"])


def patience_is_over(rows: Sequence[Mapping[str, float]], config: StageConfig) -> bool:
    """Return whether the last `config.patience` epochs were no better than one before them."""
    if config.patience is None or not rows:
        return False
    return int(rows[-1]["epoch"]) - best_epoch(rows, config) >= config.patience


class BestFiles:
    """Files of the best epoch's checkpoint, in a temporary folder: its weights, and what the stage writes beside."""

    def __init__(self) -> None:
        self._temporary: TemporaryDirectory[str] | None = None

    def take(self, checkpoint: Path) -> None:
        """Keep those of this checkpoint, and no others any more."""
        self.close()
        self._temporary = TemporaryDirectory(prefix="best-", ignore_cleanup_errors=True)
        _copy(checkpoint, Path(self._temporary.name))

    def give(self, checkpoint: Path) -> None:
        """Put those that are kept in the place of a later checkpoint's."""
        assert self._temporary, "the best epoch's checkpoint is taken before it is given"
        _copy(Path(self._temporary.name), checkpoint)

    def close(self) -> None:
        """Remove what is kept."""
        if self._temporary:
            self._temporary.cleanup()


def _copy(source: Path, target: Path) -> None:
    for file in source.iterdir():
        if file.name not in _OF_THE_EPOCH:
            shutil.copyfile(file, target / file.name)
