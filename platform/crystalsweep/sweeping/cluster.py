"""The Ray cluster that a sweep runs on: attached to or started, and what its nodes have."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import TypeVar

import ray

from crystalsweep.cluster.joining import join_cluster
from crystalsweep.provenance import ROOT
from crystalsweep.sweeping.plan.room import Node
from crystalsweep.sweeping.private import silence_raylet
from crystalsweep.training.job import Resources

T = TypeVar("T")

WORKER_ENVIRONMENT = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5"}
"""Ray Train hands a report on at each poll of its workers, by default every 2 s; short epochs need it sooner."""

_SOURCE_ROOT = {"PYTHONPATH": "platform"}
"""Where the library lies in the folder that workers start in; before any that is installed there."""


def connect_cluster() -> None:
    """Attach to the cluster that RAY_ADDRESS names, as in a submitted job, else start one on this machine.

    Outside a job, workers run a snapshot of the checkout, as they do inside one: editing the code while trials run
    does not reach them. The dashboard is on, since Ray Train frees the workers of a dead trial through its State API.
    """
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # trials' errors are told once, in one line
    silence_raylet()
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # Tune's own boxes and tables, which the display replaces
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # Ctrl-C comes here as KeyboardInterrupt
    os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")  # a refusal is a result without metrics
    in_checkout = (ROOT / "trainables").is_dir()
    in_job = "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ
    join_cluster(
        dashboard=True,
        runtime_env={
            "env_vars": WORKER_ENVIRONMENT | (_SOURCE_ROOT if in_checkout else {}),
            **({"working_dir": str(ROOT)} if in_checkout and not in_job else {}),
        },
    )


def on_a_worker(resources: Resources, function: Callable[..., T], *arguments: object) -> T:
    """Return what `function` returns in a process of the cluster that has what one of a trial's workers has."""
    task = ray.remote(_call).options(num_cpus=resources.cpus_per_worker, num_gpus=resources.gpus_per_worker)
    found: T = ray.get(task.remote(function, *arguments))
    return found


def _call(function: Callable[..., T], *arguments: object) -> T:
    """Call a function: Ray takes plain functions only."""
    return function(*arguments)


def cluster_nodes() -> tuple[Node, ...]:
    """Return nodes that are alive."""
    there = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return tuple(Node(cpus=has.get("CPU", 0.0), gpus=has.get("GPU", 0.0)) for has in there)
