"""The same work on many parts: in this process, or on a Ray cluster when there is more than one worker.

The only file of the library that knows Ray.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Generic, Protocol, TypeVar

import pandas as pd

P = TypeVar("P")
P_contra = TypeVar("P_contra", contravariant=True)

Tables = dict[str, pd.DataFrame]
"""Rows of one part, by the name of what made them."""

IN_FLIGHT = 2
"""Parts handed to each worker at once: it never waits for the driver, and little is lost when it dies."""


class Task(Protocol[P_contra]):
    """What is done to a part; picklable, for it travels to workers once."""

    def score(self, part: P_contra) -> Tables:
        """Rows for a part; the same wherever it runs."""
        ...


class Worker(Generic[P]):
    """A task on a worker, which keeps its caches from part to part."""

    def __init__(self, task: Task[P], code_sha256: str) -> None:
        from crystalsweep.provenance import code_sha256 as own

        if own() != code_sha256:
            raise RuntimeError(
                f"this worker runs other code ({__file__}) than the process that started the evaluation: "
                "install the same version on every node, or submit with --working-dir"
            )
        self._task = task

    def score(self, part: P) -> Tables:
        """Rows for a part."""
        return self._task.score(part)


def here(task: Task[P], parts: Mapping[int, P]) -> Iterator[tuple[int, Tables]]:
    """One part after the other."""
    for index, part in parts.items():
        yield index, task.score(part)


def on_ray(task: Task[P], parts: Mapping[int, P], workers: int, *, gpu: bool) -> Iterator[tuple[int, Tables]]:
    """Parts as they are done, in any order.

    Joins the cluster of RAY_ADDRESS, else starts one on this machine. A part whose worker dies is given to another,
    three times at most.
    """
    import ray

    from crystalsweep.provenance import code_sha256

    ray.init(
        os.environ.get("RAY_ADDRESS", "local"), log_to_driver=False, logging_level="ERROR", include_dashboard=False
    )
    try:
        shared = ray.put(task)
        remote = ray.remote(num_cpus=1, num_gpus=1 if gpu else 0, max_restarts=3, max_task_retries=3)(Worker)
        pool = [remote.remote(shared, code_sha256()) for _ in range(min(workers, len(parts)))]
        waiting, running = iter(parts.items()), {}
        queue = [actor for _ in range(IN_FLIGHT) for actor in pool]
        while True:
            for actor in queue:
                if (following := next(waiting, None)) is not None:
                    running[actor.score.remote(following[1])] = (following[0], actor)
            if not running:
                return
            done, _ = ray.wait(list(running), num_returns=1)
            queue = []
            for reference in done:
                index, actor = running.pop(reference)
                queue.append(actor)
                try:
                    yield index, ray.get(reference)
                except ray.exceptions.RayTaskError as error:
                    raise error.as_instanceof_cause() from None
    finally:
        ray.shutdown()


def available_workers() -> int:
    """CPUs of the cluster that RAY_ADDRESS names, else of this machine."""
    if "RAY_ADDRESS" not in os.environ:
        return os.cpu_count() or 1
    import ray

    ray.init(os.environ["RAY_ADDRESS"], log_to_driver=False, logging_level="ERROR")
    try:
        return max(1, int(ray.cluster_resources().get("CPU", 1)))
    finally:
        ray.shutdown()
