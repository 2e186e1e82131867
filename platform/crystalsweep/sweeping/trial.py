"""One training as a Ray Tune trial: in the trial's own process, or with several workers as a nested Ray Train run.

Its name is the training's key. Where it stands is read from its checkpoints, so that it goes on after any restart.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ray
from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback

from crystalsweep.artifacts.checkpoint_store import CheckpointGoneError, CheckpointStore, StorageError, child
from crystalsweep.networks.checkpoint import damage, read_info
from crystalsweep.sweeping.private import pass_on_to_train
from crystalsweep.sweeping.space.settings import Choices, configured
from crystalsweep.sweeping.space.training import parse_training_key
from crystalsweep.training.alone import fit_alone
from crystalsweep.training.catalogue import declared_by
from crystalsweep.training.cluster import explaining, reason_of, trainer
from crystalsweep.training.job import LAST, STORAGE, Job, Resources
from crystalsweep.training.stored import set_damaged_aside

TRAINING_KEY = "key"
"""Of a trial's config: names the training."""

REFUSED = "refused"
"""Of a result: why the training would fail in the same way again."""

DRIVER_RESOURCES = {"cpu": 0, "node:__internal_head__": 0.001}
"""Of a trial whose workers are elsewhere: it only waits, and were it to take a CPU, drivers could starve workers."""


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What all trials of a sweep share."""

    job: Job
    """Before a trial's settings."""
    choices: Choices
    resources: Resources
    folder: str
    """Shared by all nodes: refusals, and what Ray Train writes."""
    mutating: bool
    """Whether the scheduler changes settings while trials run (population-based training)."""


def resources_of(resources: Resources) -> dict[str, float]:
    """Return what Tune reserves for a trial."""
    if resources.workers > 1:
        return DRIVER_RESOURCES
    gpu = {"gpu": resources.gpus_per_worker} if resources.gpus_per_worker else {}
    return {"cpu": resources.cpus_per_worker, **gpu}


def run_trial(config: dict[str, Any], *, assignment: Assignment) -> None:
    """Train with a trial's settings, from its last checkpoint if it has one."""
    declared_by(assignment.job.package)  # makes the stage known to this process
    key = tune.get_context().get_trial_name()
    settings = {name: value for name, value in config.items() if name != TRAINING_KEY}
    refusal = Path(assignment.folder) / "refusals" / key
    job = job_of(assignment, key, settings, str(refusal))
    reported = _Reported(key, assignment.mutating)
    try:
        if refusal.exists():
            raise ValueError(reason_of(refusal))
        if assignment.mutating:
            _take_over(key, job, assignment.job.checkpoints)
        if assignment.resources.workers == 1:
            fit_alone(job, bool(assignment.resources.gpus_per_worker), reported)
        else:
            _fit_nested(job, assignment, key, refusal)
    except (ValueError, StorageError) as error:
        tune.report({REFUSED: f"{STORAGE} {error}" if isinstance(error, StorageError) else str(error)})
        return
    if not reported.any:  # by this process: the last epoch, which an earlier one may have kept without saying so
        history = CheckpointStore(job.checkpoints).history()
        tune.report({**history[-1], LAST: 1.0})


def job_of(assignment: Assignment, key: str, settings: Mapping[str, Any], refusal: str) -> Job:
    """Return the job of one training."""
    job = assignment.job
    config = configured(job.stage, job.config, settings, assignment.choices)
    config = config.model_copy(update={"seed": config.seed + parse_training_key(key)[1]})
    return replace(job, config=config.model_dump(mode="json"), checkpoints=child(job.checkpoints, key), refusal=refusal)


class _Reported:
    """Hands epochs on to Tune, under population-based training with a pointer to the checkpoint."""

    def __init__(self, key: str, mutating: bool) -> None:
        self._key, self._mutating = key, mutating
        self.any = False

    def __call__(self, metrics: dict[str, float], last: bool) -> None:
        self.any = True
        told = {**metrics, LAST: float(last)}
        if not self._mutating:
            tune.report(told)
            return
        with TemporaryDirectory() as folder:
            pointer = {"key": self._key, "epoch": int(metrics["epoch"])}
            (Path(folder) / "pointer.json").write_text(json.dumps(pointer))
            tune.report(told, checkpoint=tune.Checkpoint.from_directory(folder))


def _take_over(key: str, job: Job, all_checkpoints: str) -> None:
    """Copy another trial's checkpoint, with the mutated settings, where the scheduler gave this one its state.

    Else the trial's own goes on under the settings in hand, which are mutated too if it was killed after a take-over.
    What is damaged is neither taken over nor gone on from.
    """
    own, pointer = CheckpointStore(job.checkpoints), _pointer()
    if pointer is not None and pointer["key"] != key:
        donor = CheckpointStore(child(all_checkpoints, pointer["key"]))
        for epoch in (pointer["epoch"], donor.latest(), donor.latest()):
            with suppress(CheckpointGoneError, ValueError):  # the donor trains on, and frees what is old
                if epoch is not None and not damage(given := donor.fetch(epoch), epoch):
                    own.adopt(given, epoch, job.config)
                    return
    set_damaged_aside(own)
    latest = own.latest()
    if latest is not None and read_info(own.fetch(latest)).config != job.config:
        own.adopt(own.fetch(latest), latest, job.config)


def _pointer() -> dict[str, Any] | None:
    """Return key and epoch of the checkpoint that Tune wants this trial to start from."""
    given = tune.get_checkpoint()
    if given is None:
        return None
    with given.as_directory() as folder:
        pointer: dict[str, Any] = json.loads((Path(folder) / "pointer.json").read_text())
    return pointer


def _fit_nested(job: Job, assignment: Assignment, key: str, refusal: Path) -> None:
    """Train with several workers on Ray Train; each attempt is a run of its own, as checkpoints are not Ray Train's."""
    os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address  # with two clusters on a host, this one
    pass_on_to_train("RAY_ADDRESS")  # to what frees the workers of a dead trial, in a process of its own
    attempt = f"{key}-{os.getpid()}-{os.urandom(3).hex()}"
    storage = Path(assignment.folder) / "train"
    with explaining(refusal):
        trainer(
            job, resources=assignment.resources, name=attempt, storage=storage, callbacks=[TuneReportCallback()]
        ).fit()
