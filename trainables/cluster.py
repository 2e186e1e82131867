"""A stage on Ray Train: one or more workers, CPU or GPU, restarted from its last checkpoint when one dies."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import ray.train
import torch
from ray.train import (
    Checkpoint,
    CheckpointConfig,
    FailureConfig,
    LoggingConfig,
    RunConfig,
    ScalingConfig,
    UserCallback,
)
from ray.train.torch import TorchConfig, TorchTrainer, get_device, prepare_model
from torch import nn

from trainables.config import StageConfig
from trainables.records import record_epoch
from trainables.session import WriteCheckpoint

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Job:
    """What workers are asked to do; plain data, so that unpickling it imports nothing before `trainables`."""

    stage: str
    config: dict[str, Any]
    source: str
    """Data set: `bundled` or paths, as `crystalsweep.data.load` takes them."""
    code_sha256: str
    """Of the code that submitted the job; workers that run other code refuse."""
    inputs: dict[str, str] = field(default_factory=dict)
    """Checkpoint folders the stage starts from; reachable from every worker."""
    refusal: str = ""
    """File in shared storage for an error that a restart would only repeat; none is written where this is empty."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What one training run takes."""

    workers: int = 1
    cpus_per_worker: float = 1
    use_gpu: bool = False


class RaySession:
    """A Ray Train worker."""

    def __init__(self) -> None:
        context = ray.train.get_context()
        self.rank: int = context.get_world_rank()
        self.world_size: int = context.get_world_size()
        self.device: torch.device = get_device()

    def wrap(self, model: nn.Module) -> nn.Module:
        """On the worker's device, in DistributedDataParallel when there is more than one worker."""
        wrapped: nn.Module = prepare_model(model)
        return wrapped

    def resume_from(self) -> Path | None:
        """The run's last checkpoint, after a restart."""
        checkpoint = ray.train.get_checkpoint()
        return Path(checkpoint.to_directory()) if checkpoint else None

    def steps(self, batches: Iterable[T], total: int, epoch: int) -> Iterator[T]:
        """As they come; the driver shows progress per epoch."""
        del total, epoch
        return iter(batches)

    def report(self, metrics: dict[str, float], write_checkpoint: WriteCheckpoint) -> None:
        """Every rank reports, rank 0 with the checkpoint."""
        plain = {name: float(value) for name, value in metrics.items()}  # numpy scalars would kill the controller
        if self.rank:
            ray.train.report(plain)
            return
        with tempfile.TemporaryDirectory() as folder:
            write_checkpoint(Path(folder))
            name = f"epoch_{int(metrics['epoch']):05d}"
            ray.train.report(plain, checkpoint=Checkpoint.from_directory(folder), checkpoint_dir_name=name)


class Record(UserCallback):
    """Writes the run folder's record; runs in Ray Train's controller."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Checkpoint | None) -> None:
        """An epoch of rank 0."""
        del run_context, checkpoint
        record_epoch(self._folder, metrics[0])


def train_loop(job: dict[str, Any]) -> None:
    """Runs on every worker."""
    if job["refusal"] and Path(job["refusal"]).exists():
        return  # on every rank, so that none waits for another; the driver raises what the file says
    try:
        _fit(job)
    except ValueError as error:  # bad settings or data, or a diverged loss: a restart would only repeat it
        if job["refusal"]:
            Path(job["refusal"]).write_text(str(error))
        raise


def _fit(job: dict[str, Any]) -> None:
    from crystalsweep.data import load
    from crystalsweep.provenance import code_sha256
    from trainables.catalogue import config_from, stage_builder
    from trainables.loop import fit

    if code_sha256() != job["code_sha256"]:
        raise RuntimeError(
            f"this worker runs other code ({__file__}) than the process that started the run: submit with "
            "--working-dir, install the same version on every node, and leave the installed code alone while it runs"
        )
    session = RaySession()
    inputs = {name: Path(path) for name, path in job["inputs"].items()}
    config = config_from(job["stage"], job["config"])
    fit(stage_builder(job["stage"])(config, load(job["source"]), session, inputs), session)


def job_for(stage: str, config: StageConfig, source: str, inputs: dict[str, Path] | None = None) -> Job:
    """The job of training a stage with the code of this process."""
    from crystalsweep.provenance import code_sha256

    named = {name: str(path) for name, path in (inputs or {}).items()}
    return Job(
        stage=stage, config=config.model_dump(mode="json"), source=source, code_sha256=code_sha256(), inputs=named
    )


def trainer(
    job: Job, *, resources: Resources, name: str, storage: Path, callbacks: list[UserCallback] | None = None
) -> TorchTrainer:
    """A Ray Train run of `job`. The same `name` and `storage` continue an interrupted run."""
    return TorchTrainer(
        train_loop,
        train_loop_config=asdict(job),
        torch_config=TorchConfig(backend="nccl" if resources.use_gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=resources.workers,
            use_gpu=resources.use_gpu,
            resources_per_worker={"CPU": resources.cpus_per_worker, **({"GPU": 1} if resources.use_gpu else {})},
        ),
        run_config=RunConfig(
            name=name,
            storage_path=str(storage),
            failure_config=FailureConfig(max_failures=2, controller_failure_limit=3),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
            logging_config=LoggingConfig(log_level="WARNING"),
            callbacks=callbacks or [],
        ),
    )


@contextmanager
def explaining(refusal: Path) -> Iterator[None]:
    """What workers refused for good becomes one `ValueError`."""
    try:
        yield
    except Exception as error:
        if not refusal.exists():
            raise
        raise ValueError(refusal.read_text()) from error
    if refusal.exists():
        raise ValueError(refusal.read_text())
