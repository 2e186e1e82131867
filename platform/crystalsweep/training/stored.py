"""A run whose epochs are kept in a `CheckpointStore`, from which it goes on wherever it is started again."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from torch import nn

from crystalsweep.artifacts.addresses import Address
from crystalsweep.artifacts.checkpoint_store import HISTORY, CheckpointStore, StorageError
from crystalsweep.artifacts.sums import write_sums
from crystalsweep.networks.checkpoint import damage
from crystalsweep.training.session import Session, WriteCheckpoint

T = TypeVar("T")

_log = logging.getLogger(__name__)


class StoredRun:
    """The epochs of one run: its history, and a checkpoint of each, which the store keeps or frees.

    Damaged checkpoints after the newest whole one are set aside, and told. Raises `StorageError` at once where the
    store cannot be written.
    """

    def __init__(self, store: CheckpointStore) -> None:
        store.require_writable()
        self._store = store
        _set_damaged_aside(store)
        self.history: list[dict[str, float]] = store.history()
        """Metrics and timing of all epochs so far."""

    def resume_from(self) -> Path | None:
        """Return the latest complete checkpoint."""
        epoch = self._store.latest()
        return None if epoch is None else self._store.fetch(epoch)

    def record(self, metrics: dict[str, float], write_checkpoint: WriteCheckpoint) -> None:
        """Add an epoch and send its checkpoint in the background. Raises the `StorageError` of the one before."""
        row = {name: float(value) for name, value in metrics.items()}
        self.history = [*(old for old in self.history if old["epoch"] < row["epoch"]), row]
        with _local_disk():
            folder = Path(tempfile.mkdtemp(prefix="checkpoint-"))
        try:
            with _local_disk():
                write_checkpoint(folder)
                (folder / HISTORY).write_text("".join(json.dumps(old, sort_keys=True) + "\n" for old in self.history))
                write_sums(folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self._store.put(folder, int(row["epoch"]))

    def finish(self) -> None:
        """Wait until the last checkpoint is complete. Raises its `StorageError`."""
        self._store.flush()


def _set_damaged_aside(store: CheckpointStore) -> None:
    """Leave the newest whole checkpoint as the latest; say what was wrong with those after it, and what is lost."""
    while (latest := store.latest()) is not None and (wrong := damage(store.fetch(latest), latest)):
        kept = store.set_aside(latest)
        before = store.latest()
        lost = "no other is there: training begins anew" if before is None else f"going back to epoch {before}"
        _log.warning(
            "the checkpoint of epoch %d in %s is damaged (%s), and kept as %s; %s",
            latest,
            Address(store.address),
            wrong,
            kept,
            lost,
        )


class StoredSession(Session):
    """One process on one device; each epoch is kept in a store, then told to `on_report(metrics, last)`."""

    rank = 0
    world_size = 1

    def __init__(
        self, store: CheckpointStore, device: torch.device, on_report: Callable[[dict[str, float], bool], None]
    ) -> None:
        self.device = device
        self.run = StoredRun(store)
        self._on_report = on_report

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return the model, moved to the device."""
        return model.to(self.device)

    def resume_from(self) -> Path | None:
        """Return the store's latest checkpoint."""
        return self.run.resume_from()

    def history(self) -> list[dict[str, float]]:
        """Return all epochs up to that checkpoint."""
        return self.run.history

    def steps(self, batches: Iterable[T], total: int, epoch: int) -> Iterator[T]:
        """Yield the batches as they come."""
        del total, epoch
        return iter(batches)

    def tell(self, line: str) -> None:
        """Write the line to the worker's log."""
        _log.info("%s", line)

    def report(self, metrics: dict[str, float], write_checkpoint: WriteCheckpoint, last: bool) -> None:
        """Record first; the last epoch is told once its checkpoint is complete."""
        self.run.record(metrics, write_checkpoint)
        if last:
            self.run.finish()
        self._on_report(self.run.history[-1], last)


@contextmanager
def _local_disk() -> Iterator[None]:
    """Turn what each writer of a checkpoint says of a full disk into a `StorageError`."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        torchs_writer = any(sign in str(error) for sign in ("PytorchStreamWriter", "inline_container"))
        if isinstance(error, RuntimeError) and not torchs_writer:
            raise
        raise StorageError(
            f"cannot write a checkpoint into the temporary folder {tempfile.gettempdir()}: {error}; free some space "
            "there, or set TMPDIR to a folder on another disk, then resume: what is complete in the storage is kept"
        ) from error
