"""A stage on Ray Train: one or more workers, CPU or GPU, restarted from its last checkpoint when one dies.

Checkpoints go to a `CheckpointStore`; Ray Train is told metrics only.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import ray.train
import torch
import torch.distributed
from ray.train import Checkpoint, FailureConfig, LoggingConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchConfig, TorchTrainer, get_device, prepare_model
from torch import nn

from crystalsweep.artifacts.checkpoint_store import CheckpointStore, StorageError
from crystalsweep.data import load_data
from crystalsweep.training.catalogue import config_from, stage_builder
from crystalsweep.training.job import LAST, STORAGE, Job, Resources, local_inputs, prepare
from crystalsweep.training.loop import fit
from crystalsweep.training.records import record_epoch
from crystalsweep.training.session import Session, WriteCheckpoint
from crystalsweep.training.stored import StoredRun

T = TypeVar("T")

_log = logging.getLogger(__name__)

WORKER_RETRIES = 2
"""Times that several workers are begun anew after one died; in a sweep, within each attempt of the trial."""


class RaySession(Session):
    """A Ray Train worker; rank 0 keeps the run in the store."""

    def __init__(self, store: CheckpointStore) -> None:
        context = ray.train.get_context()
        self.rank: int = context.get_world_rank()
        self.world_size: int = context.get_world_size()
        self.device: torch.device = get_device()
        self._store = store
        self._run = StoredRun(store) if self.rank == 0 else None

    def wrap(self, model: nn.Module) -> nn.Module:
        """Put the model on the worker's device, in DistributedDataParallel when there is more than one worker."""
        wrapped: nn.Module = prepare_model(model)
        return wrapped

    def resume_from(self) -> Path | None:
        """Return the store's latest checkpoint, as rank 0 sees it."""
        latest = self._store.latest() if self._run else None
        epoch = torch.tensor([latest or 0], device=self.device)
        if self.world_size > 1:
            torch.distributed.broadcast(epoch, 0)
        return self._store.fetch(int(epoch)) if epoch else None

    def history(self) -> list[dict[str, float]]:
        """Return all epochs up to that checkpoint, on rank 0."""
        return self._run.history if self._run else []

    def steps(self, batches: Iterable[T], total: int, epoch: int) -> Iterator[T]:
        """Yield the batches as they come; the driver shows progress per epoch."""
        del total, epoch
        return iter(batches)

    def tell(self, line: str) -> None:
        """Write the line to the worker's log."""
        _log.info("%s", line)

    def report(self, metrics: dict[str, float], write_checkpoint: WriteCheckpoint, last: bool) -> None:
        """Rank 0 records, then every rank reports; the last epoch once its checkpoint is complete."""
        if self._run:
            self._run.record(metrics, write_checkpoint)
            if last:
                self._run.finish()
        plain = {name: float(value) for name, value in metrics.items()}  # numpy scalars would kill the controller
        ray.train.report({**plain, LAST: float(last)})


class EpochRecorder(UserCallback):
    """Writes the run folder's record; runs in Ray Train's controller."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Checkpoint | None) -> None:
        """Record an epoch of rank 0."""
        del run_context, checkpoint
        record_epoch(self._folder, {name: value for name, value in metrics[0].items() if name != LAST})


def train_loop(job: dict[str, Any]) -> None:
    """Train a job, on every worker."""
    if job["refusal"] and Path(job["refusal"]).exists():
        return  # on every rank, so that none waits for another; the driver raises what the file says
    try:
        _fit(job)
    except (ValueError, StorageError) as error:
        # Bad settings or data, a diverged loss, a full disk: a restart would only repeat it.
        if job["refusal"]:
            _refuse(Path(job["refusal"]), f"{STORAGE} {error}" if isinstance(error, StorageError) else str(error))
        raise


def _refuse(refusal: Path, reason: str) -> None:
    """Write why the job is refused: an empty file where a full disk has no room for more; none where it is read-only,
    as restarts will find too."""
    with suppress(OSError):
        refusal.write_text(reason)


def _fit(job: dict[str, Any]) -> None:
    described = Job(**job)
    prepare(described)
    session = RaySession(described.store())
    config = config_from(described.stage, described.config)
    fit(stage_builder(described.stage)(config, load_data(described.source), session, local_inputs(described)), session)


def trainer(
    job: Job, *, resources: Resources, name: str, storage: Path, callbacks: list[UserCallback] | None = None
) -> TorchTrainer:
    """Return a Ray Train run of `job`, which goes on from its store's latest checkpoint.

    Ray Train's own small files go to the folder `storage`/`name`, which all nodes share.

    Args:
        job: What workers do.
        resources: How many, and what each takes.
        name: Of the run.
        storage: Folder that all nodes share.
        callbacks: Of Ray Train's controller.
    """
    assert job.checkpoints, "a job on a cluster says where its checkpoints are kept"
    return TorchTrainer(
        train_loop,
        train_loop_config=asdict(job),
        torch_config=TorchConfig(backend="nccl" if resources.use_gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=resources.workers,
            use_gpu=resources.use_gpu,
            resources_per_worker=resources.of_a_worker(),
        ),
        run_config=RunConfig(
            name=name,
            storage_path=str(storage),
            failure_config=FailureConfig(max_failures=WORKER_RETRIES, controller_failure_limit=3),
            logging_config=LoggingConfig(log_level="WARNING"),
            callbacks=callbacks or [],
        ),
    )


@contextmanager
def explaining(refusal: Path) -> Iterator[None]:
    """Turn what workers refused for good into one `ValueError`; a storage's failure begins with `STORAGE`."""
    try:
        yield
    except Exception as error:
        failures = getattr(error, "worker_failures", {}).values()
        failed = next((e for e in failures if isinstance(e, StorageError | ValueError)), None)
        if not refusal.exists() and failed is None:
            raise
        told = f"{STORAGE} {failed}" if isinstance(failed, StorageError) else str(failed)
        raise ValueError(reason_of(refusal) or told) from error
    if refusal.exists():
        raise ValueError(reason_of(refusal))


def reason_of(refusal: Path) -> str:
    """Return what a refusal says; empty where there is none."""
    if not refusal.exists():
        return ""
    return refusal.read_text() or f"{STORAGE} no space left in {refusal.parent}; free some space there, then resume"
