"""How many trainings the nodes of a cluster have room for at once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from crystalsweep.training.job import Resources


@dataclass(frozen=True, kw_only=True)
class Node:
    """What a node has."""

    cpus: float
    gpus: float = 0.0


def this_machine() -> tuple[Node, ...]:
    """Return the only node, where no cluster has been asked."""
    return (Node(cpus=float(os.cpu_count() or 1), gpus=float(torch.cuda.device_count())),)


def trainings_that_fit(nodes: Sequence[Node], resources: Resources) -> int:
    """Return trainings at once; the workers of one may be on several nodes, a worker is on one."""
    return sum(_workers(node, resources) for node in nodes) // resources.workers


def require_room(nodes: Sequence[Node], resources: Resources) -> None:
    """Raise `ValueError` if there is no room for a single training: Tune would wait for ever."""
    if trainings_that_fit(nodes, resources):
        return
    cpus, gpus = max(node.cpus for node in nodes), max(node.gpus for node in nodes)
    raise ValueError(
        f"a trial needs {resources.workers} worker(s) with {resources.cpus_per_worker:g} CPUs and "
        f"{resources.gpus_per_worker:g} GPUs each; of {len(nodes)} node(s), with at most {cpus:g} CPUs and {gpus:g} "
        f"GPUs, there is room for {sum(_workers(node, resources) for node in nodes)}: lower --workers-per-trial, "
        "--cpus-per-worker or --gpus-per-worker, or add nodes"
    )


def _workers(node: Node, resources: Resources) -> int:
    needs = ((node.cpus, resources.cpus_per_worker), (node.gpus, resources.gpus_per_worker))
    return int(min(have / each + 1e-9 for have, each in needs if each))
