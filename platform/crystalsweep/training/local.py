"""A stage alone in this process: a run folder, a progress bar, no Ray and no tracking server."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn
from tqdm import tqdm

from crystalsweep.artifacts.atomic import to_disk
from crystalsweep.artifacts.sums import write_sums
from crystalsweep.data import DataSet
from crystalsweep.networks.checkpoint import damage, read_info
from crystalsweep.structures.devices import device_named
from crystalsweep.training.catalogue import stage_builder
from crystalsweep.training.config import StageConfig
from crystalsweep.training.loop import fit
from crystalsweep.training.origin import CONFIG_FILE, require_no_run
from crystalsweep.training.records import METRICS_FILE, epoch_line, record_epoch, recorded
from crystalsweep.training.session import Session, WriteCheckpoint

T = TypeVar("T")

_log = logging.getLogger(__name__)


class LocalSession(Session):
    """One process on one device, reporting into a folder.

    The folder holds `metrics.jsonl` (a line per epoch; the same for the same seed on the CPU), `timing.jsonl`
    (wall-clock) and `checkpoint/`, the last epoch's, replaced only once its successor is whole.
    """

    rank = 0
    world_size = 1

    def __init__(self, folder: Path, *, resume: bool = False, device: str | None = None, progress: bool = True) -> None:
        self.folder = folder
        self.device = torch.device(device_named(device))
        self._progress, self.resuming = progress, resume
        if not resume:
            require_no_run(folder)
        folder.mkdir(parents=True, exist_ok=True)

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return the model, moved to the device."""
        return model.to(self.device)

    def resume_from(self) -> Path | None:
        """Return the folder's last whole checkpoint, when resuming."""
        checkpoint = self.folder / "checkpoint"
        if not checkpoint.exists() and (self.folder / "previous").exists():  # killed between the two renames
            (self.folder / "previous").rename(checkpoint)
        if not self.resuming:
            return None
        if not recorded(self.folder):
            self._require_first_epoch(checkpoint)
            return None
        if not checkpoint.exists():
            raise ValueError(f"{self.folder} was trained on Ray; resume it with its --workers, or choose another --out")
        self._require_whole(checkpoint)
        info = read_info(checkpoint)
        if info.epoch > recorded(self.folder)[-1]["epoch"]:  # killed between checkpoint and metrics line
            record_epoch(self.folder, info.metrics)
        return checkpoint

    def _require_first_epoch(self, checkpoint: Path) -> None:
        """Raise `ValueError` where a record is gone that a checkpoint has gone beyond: training anew would lose it."""
        if checkpoint.exists() and not damage(checkpoint) and (epoch := read_info(checkpoint).epoch) > 1:
            raise ValueError(
                f"{self.folder / METRICS_FILE} is gone or empty, and {checkpoint} is of epoch {epoch}: copy the file "
                "from elsewhere, or train anew with another --out"
            )

    def _require_whole(self, checkpoint: Path) -> None:
        """Take the checkpoint before instead of a damaged one, where a kill left it. Raises `ValueError` where not."""
        wrong = damage(checkpoint)
        if not wrong:
            return
        previous, aside = self.folder / "previous", self.folder / f"damaged-{os.getpid()}"
        if not previous.exists() or damage(previous):
            raise ValueError(
                f"{checkpoint} is damaged ({wrong}); a run alone keeps one checkpoint, so the networks of its "
                f"{len(recorded(self.folder))} epochs are lost: train anew with another --out, or on Ray with --workers"
            )
        checkpoint.rename(aside)
        previous.rename(checkpoint)
        _log.warning(
            "%s is damaged (%s), and kept as %s; going back to epoch %d",
            checkpoint,
            wrong,
            aside.name,
            read_info(checkpoint).epoch,
        )

    def history(self) -> list[dict[str, float]]:
        """Return the folder's record."""
        return recorded(self.folder) if self.resuming else []

    def steps(self, batches: Iterable[T], total: int, epoch: int) -> Iterator[T]:
        """Yield the batches, with a bar per epoch on stderr."""
        return iter(tqdm(batches, total=total, desc=f"epoch {epoch + 1}", leave=False, disable=not self._progress))

    def tell(self, line: str) -> None:
        """Write the line above the bar."""
        if self._progress:
            tqdm.write(line)

    def report(self, metrics: dict[str, float], write_checkpoint: WriteCheckpoint, last: bool) -> None:
        """Write the checkpoint first, then the metrics line, so that a metrics line always has its checkpoint."""
        del last
        fresh = self.folder / "incomplete"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        write_checkpoint(fresh)
        write_sums(fresh)
        for path in fresh.iterdir():
            to_disk(path)
        current, previous = self.folder / "checkpoint", self.folder / "previous"
        if current.exists():
            shutil.rmtree(previous, ignore_errors=True)
            current.rename(previous)
        fresh.rename(current)
        shutil.rmtree(previous, ignore_errors=True)
        record_epoch(self.folder, metrics)
        if self._progress:
            tqdm.write(epoch_line(metrics))


def train_here(stage: str, config: StageConfig, data: DataSet, inputs: dict[str, Path], session: LocalSession) -> Path:
    """Train a stage in this process; returns its last checkpoint.

    Args:
        stage: Name of the stage.
        config: Its settings.
        data: What it trains and validates on.
        inputs: Checkpoint folders that it starts from, by what left them.
        session: Where it reports.
    """
    built = stage_builder(stage)(config, data, session, inputs)
    described = built.config.model_dump_json(indent=2) + "\n"
    if not session.resuming:
        (session.folder / CONFIG_FILE).write_text(described)
    fit(built, session)
    (session.folder / CONFIG_FILE).write_text(described)  # of a run that may go on: refused, its settings stay
    return session.folder / "checkpoint"
