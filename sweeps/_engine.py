"""Running trials of a stage under Ray Tune, tracked in MLflow; the same for one prerequisite as for a whole sweep."""

from __future__ import annotations

import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.search import Searcher

from crystalsweep.provenance import ROOT
from crystalsweep.tracking import Tracker
from sweeps._callbacks import TRIAL_STATUS, Progress, Track
from sweeps._trial import DRIVER_RESOURCES, Choices, run_trial
from trainables.cluster import Job, Resources

QUICK_REPORTS = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5"}
"""Ray Train hands a report on at each poll of its workers, by default every 2 s; short epochs need it sooner."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Where trials run and what they leave behind."""

    tracker: Tracker
    storage: Path
    """Folder of this sweep; shared by all nodes."""
    resources: Resources
    """Of one trial."""
    max_concurrent: int
    tags: dict[str, str]
    """On every run."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one trial ended."""

    trial: str
    run: str
    """MLflow run id."""
    settings: dict[str, Any]
    status: str
    """MLflow's: FINISHED, FAILED or KILLED."""
    metrics: dict[str, Any]
    checkpoint: Path | None
    history: list[dict[str, float]]
    """Metrics of every epoch."""


def connect() -> None:
    """Attach to the cluster that RAY_ADDRESS names, as in a submitted job, else start one on this machine.

    Outside a job, workers run a snapshot of the checkout, as they do inside one: editing the code while trials run
    does not reach them. The dashboard is on, since Ray Train frees the workers of a dead trial through its State API.
    """
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # trials' errors are told once, in one line
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # Tune's own boxes and tables, which `Progress` replaces
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # Ctrl-C comes here as KeyboardInterrupt
    in_checkout = (ROOT / "trainables").is_dir() and "RAY_JOB_CONFIG_JSON_ENV_VAR" not in os.environ
    own = {"dashboard_host": "127.0.0.1", "include_dashboard": True} if "RAY_ADDRESS" not in os.environ else {}
    ray.init(
        os.environ.get("RAY_ADDRESS", "local"),  # never a cluster that Ray remembers and that may be long gone
        log_to_driver=False,
        logging_level="ERROR",
        runtime_env={"env_vars": QUICK_REPORTS, **({"working_dir": str(ROOT)} if in_checkout else {})},
        **own,
    )


def check_resources(resources: Resources, max_concurrent: int) -> int:
    """Trials that can run at once. Raises `ValueError` if the cluster cannot run one: Tune would wait for ever."""
    have = ray.cluster_resources()
    cpus, gpus = resources.workers * resources.cpus_per_worker, resources.workers * int(resources.use_gpu)
    if cpus > have.get("CPU", 0) or gpus > have.get("GPU", 0):
        raise ValueError(
            f"a trial needs {cpus:g} CPUs and {gpus} GPUs, "
            f"the cluster has {have.get('CPU', 0):g} and {have.get('GPU', 0):g}; "
            "lower --workers, or add nodes"
        )
    fit = have["CPU"] // cpus if not gpus else min(have["CPU"] // cpus, have["GPU"] // gpus)
    return int(min(max_concurrent, fit))


def run_trials(
    bench: Bench,
    job: Job,
    *,
    experiment: str,
    kind: str,
    title: str,
    parent: str | None = None,
    search: Searcher | None = None,
    num_samples: int = 1,
    choices: Choices | None = None,
    label: str = "",
    tags: dict[str, str] | None = None,
) -> list[Outcome]:
    """Train `num_samples` trials of `job`, settings proposed by `search` and meant and shown as in `SweepSpec`."""
    described, choices = asdict(job), choices or {}
    track = Track(bench.tracker, experiment, parent, kind, described, choices, label, bench.tags | (tags or {}))
    progress = Progress(title, num_samples, int(job.config["epochs"]), job.config["max_minutes"], label)
    storage = bench.storage / kind
    trainable = tune.with_parameters(
        run_trial, job=described, choices=choices, resources=bench.resources, storage=str(storage / "train")
    )
    tuner = tune.Tuner(
        tune.with_resources(trainable, DRIVER_RESOURCES),
        tune_config=tune.TuneConfig(
            search_alg=search,
            num_samples=num_samples,
            max_concurrent_trials=bench.max_concurrent,
            trial_dirname_creator=_trial_folder,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(storage),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=1),
            callbacks=[track, progress],
        ),
    )
    tuner.fit()
    return [_outcome(trial, track) for trial in track.ended]


def _outcome(trial: Trial, track: Track) -> Outcome:
    metrics = dict(trial.last_result or {})
    path = metrics.get("checkpoint_path")
    return Outcome(
        trial=trial.trial_id,
        run=track.runs.get(trial.trial_id, ""),
        settings=dict(trial.config),
        status="FAILED" if trial.trial_id in track.failed else TRIAL_STATUS.get(trial.status, "KILLED"),
        metrics=metrics,
        checkpoint=Path(path) if path else None,
        history=[row for _, row in sorted(track.history.get(trial.trial_id, {}).items())],
    )


def _trial_folder(trial: Trial) -> str:
    return f"trial_{trial.trial_id}"
