"""Checkpoints that a sweep starts from, trained once and found again by what made them."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from crystalsweep.data import DataSet
from crystalsweep.provenance import code_sha256
from sweeps._engine import Bench, run_trials
from trainables.cluster import Resources, job_for
from trainables.config import StageConfig

KEY = "crystalsweep.key"
"""Tag: hash of the config, data, split and code that made a prerequisite, and of what it started from."""

EXPERIMENT = "prerequisites"


@dataclass(frozen=True, kw_only=True)
class Prerequisite:
    """A trained checkpoint that later stages start from."""

    stage: str
    key: str
    run: str
    """MLflow run id."""
    checkpoint: Path


def key_of(stage: str, config: StageConfig, data: DataSet, inputs: dict[str, Prerequisite]) -> str:
    """Sha256 of stage, config, data, split, code and the keys of the inputs: a change in any is another key."""
    parts = [stage, config.fingerprint(), data.data_sha256, data.split_sha256, code_sha256()]
    parts += [f"{name}={inputs[name].key}" for name in sorted(inputs)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def ensure(
    bench: Bench, stage: str, config: StageConfig, source: str, data: DataSet, inputs: dict[str, Prerequisite]
) -> Prerequisite:
    """The checkpoint of this stage, from MLflow if one with the same key has finished there, else trained now.

    All trials' workers train it together. Raises `RuntimeError` with the reason when the training fails.
    """
    key = key_of(stage, config, data, inputs)
    artifacts = bench.storage.parent.parent / "mlflow-artifacts"
    experiment = bench.tracker.experiment(EXPERIMENT, artifacts)
    found = bench.tracker.finished_with(experiment, KEY, key)
    if found:
        run = str(found.info.run_id)
        print(f"{stage}: found in MLflow, run {run} (same config, data and code)", flush=True)
    else:
        run = _train(bench, stage, config, source, inputs, experiment, key)
    checkpoint = _fetch(bench, run, key)
    return Prerequisite(stage=stage, key=key, run=run, checkpoint=checkpoint)


def _train(
    bench: Bench,
    stage: str,
    config: StageConfig,
    source: str,
    inputs: dict[str, Prerequisite],
    experiment: str,
    key: str,
) -> str:
    together = Resources(
        workers=min(bench.resources.workers * bench.max_concurrent, config.least_batch_size),
        cpus_per_worker=bench.resources.cpus_per_worker,
        use_gpu=bench.resources.use_gpu,
    )
    job = job_for(stage, config, source, {name: given.checkpoint for name, given in inputs.items()})
    lineage = {f"crystalsweep.input.{name}": given.run for name, given in inputs.items()}
    (outcome,) = run_trials(
        replace(bench, resources=together),
        job,
        experiment=experiment,
        kind=stage,
        title=stage,
        tags={KEY: key, **lineage},
    )
    if outcome.status != "FINISHED":
        reason = bench.tracker.client.get_run(outcome.run).data.tags.get("crystalsweep.reason", "unknown error")
        raise RuntimeError(f"{stage} failed: {reason}")
    return outcome.run


def _fetch(bench: Bench, run: str, key: str) -> Path:
    """The checkpoint in the shared storage, downloaded there once."""
    folder = bench.storage.parent.parent / "prerequisites" / f"{key[:12]}-{run[:12]}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent) as scratch:
            fetched = bench.tracker.download(run, "checkpoint", Path(scratch))
            with suppress(OSError):  # another sweep was first
                fetched.rename(folder)
    return folder
