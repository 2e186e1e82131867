"""What workers are asked to train, as plain data, and what each of them checks and fetches first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from crystalsweep.artifacts.checkpoint_store import CheckpointStore
from crystalsweep.provenance import code_sha256
from crystalsweep.training.catalogue import declared_by, stage_spec
from crystalsweep.training.config import StageConfig

LAST = "last"
"""Among the reported metrics: whether the epoch is the run's last."""

STORAGE = "storage:"
"""Begins a refusal that is no fault of the run: once the storage works again, it can be resumed."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What workers are asked to do; plain data, so that unpickling it imports no stage."""

    stage: str
    package: str
    """Of the stage, which workers import."""
    config: dict[str, Any]
    source: str
    """Data set: `bundled` or paths, as `crystalsweep.data.load_data` takes them."""
    code_sha256: str
    """Of the code that submitted the job; workers that run other code refuse."""
    inputs: dict[str, str] = field(default_factory=dict)
    """Checkpoint folders the stage starts from, or addresses of `CheckpointStore`s; reachable from every worker."""
    checkpoints: str = ""
    """Address of the run's `CheckpointStore`, reachable from every worker; each job has one of its own."""
    metric: str = ""
    """By which the best checkpoints are told; where it is empty, the last are kept only."""
    mode: Literal["max", "min"] = "max"
    """Whether the metric is better greater or smaller."""
    keep_best: int = 1
    """Best checkpoints to keep."""
    keep_last: int = 1
    """Last checkpoints to keep."""
    refusal: str = ""
    """File in shared storage for an error that a restart would only repeat; none is written where this is empty."""

    def store(self) -> CheckpointStore:
        """Return the run's checkpoints."""
        return CheckpointStore(
            self.checkpoints,
            metric=self.metric or None,
            mode=self.mode,
            keep_best=self.keep_best,
            keep_last=self.keep_last,
        )


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What one training run takes."""

    workers: int = 1
    cpus_per_worker: float = 1
    gpus_per_worker: float = 0
    """May be a fraction: several workers then share a GPU."""

    @property
    def use_gpu(self) -> bool:
        """Whether workers train on GPUs."""
        return self.gpus_per_worker > 0

    def of_a_worker(self) -> dict[str, float]:
        """Return what a worker takes, in Ray's names."""
        return {"CPU": self.cpus_per_worker, **({"GPU": self.gpus_per_worker} if self.use_gpu else {})}


def job_for(stage: str, config: StageConfig, source: str, inputs: Mapping[str, Path | str] | None = None) -> Job:
    """Return the job of training a stage with the code of this process."""
    named = {name: str(path) for name, path in (inputs or {}).items()}
    return Job(
        stage=stage,
        package=stage_spec(stage).package,
        config=config.model_dump(mode="json"),
        source=source,
        code_sha256=code_sha256(stage_spec(stage).package),
        inputs=named,
    )


def prepare(job: Job) -> None:
    """Import the stage of a job on a worker. Raises `ValueError` where it runs other code than the submitter."""
    require_code(job)
    declared_by(job.package)


def require_code(job: Job) -> None:
    """Raise `ValueError` where this process runs other code than the one that made the job."""
    if code_sha256(job.package) != job.code_sha256:
        raise ValueError(
            f"this worker runs other code ({__file__}) than the process that started the run: submit with "
            "--working-dir, install the same version on every node, and leave the installed code alone while it runs"
        )


def local_inputs(job: Job) -> dict[str, Path]:
    """Return folders of the checkpoints that a job starts from; of an object store's address the latest one,
    downloaded."""
    return {name: _local(address) for name, address in job.inputs.items()}


@lru_cache(maxsize=8)
def _local(address: str) -> Path:
    """Return a checkpoint's folder: one download for all jobs of this process; what they start from is finished and
    stays as it is."""
    if "://" not in address:
        return Path(address)
    store = CheckpointStore(address)
    latest = store.latest()
    if latest is None:
        raise ValueError(f"{address} holds no checkpoint")
    return store.fetch(latest)
