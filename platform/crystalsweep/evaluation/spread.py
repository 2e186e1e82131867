"""The same work on many parts: in this process, or on a Ray cluster when there is more than one worker.

The only file of the library that knows Ray.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Mapping, Sequence
from itertools import islice
from math import ceil
from typing import Any, Protocol, TypeVar

import pandas as pd

from crystalsweep.artifacts.addresses import ray_address
from crystalsweep.cluster.joining import join_cluster
from crystalsweep.provenance import code_sha256

P = TypeVar("P")
P_contra = TypeVar("P_contra", contravariant=True)

Tables = dict[str, pd.DataFrame]
"""Rows of one part, by the name of what made them."""

IN_FLIGHT = 2
"""Parts handed to each worker at once: it never waits for the driver, and little is lost when it dies."""

DEATHS = 3
"""Of a worker, or on a part, that are made good."""


class Task(Protocol[P_contra]):
    """What is done to a part; picklable, for it travels to workers once."""

    def score(self, part: P_contra) -> Tables:
        """Return rows for a part; the same wherever it runs."""
        ...


class Worker:
    """What is done to parts on a worker, which keeps a task's caches from part to part.

    It complains when it is asked, not when it is made: what `__init__` raises reaches the driver as a dead actor. The
    task comes with every call, as a reference in a list (Ray would fetch a bare one each time), so that a worker that
    was started again has it too. Of several tasks it holds the latest only.
    """

    def __init__(self, code_sha256: str) -> None:
        self._code = code_sha256
        self._held: tuple[Any, Task[Any]] | None = None

    def ready(self, task: Sequence[Any]) -> None:
        """Return once parts can be given to it."""
        self._fetched(task)

    def score(self, task: Sequence[Any], part: Any) -> Tables:
        """Return rows for a part."""
        return self._fetched(task).score(part)

    def _fetched(self, task: Sequence[Any]) -> Task[Any]:
        import ray

        if code_sha256() != self._code:
            raise RuntimeError(
                f"this worker runs other code ({__file__}) than the process that started the evaluation: "
                "install the same version on every node, or submit with --working-dir"
            )
        if self._held is None or self._held[0] != task[0]:
            self._held = None  # the earlier one goes before the next one comes
            self._held = task[0], ray.get(task[0])
        return self._held[1]


class Workers:
    """Processes that do one task after the other: this one, or those of a Ray cluster, joined when first needed.

    As a context it leaves the cluster at its end. With `gpu`, workers share the GPUs there are.
    """

    def __init__(self, n: int = 1, *, gpu: bool = False) -> None:
        self._n, self._gpu = n, gpu
        self._pool: list[Any] = []
        self._joined = False
        self._given: tuple[object, list[Any]] | None = None
        """The latest task, and the reference by which workers fetch it once."""

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        if self._joined:
            import ray

            ray.shutdown()
        self._pool, self._joined, self._given = [], False, None

    def over(self, task: Task[P], parts: Iterable[tuple[int, P]], n: int) -> Generator[tuple[int, Tables]]:
        """Yield the tables of n numbered parts as they are done: in order in this process, else in any order.

        A part is asked for when a worker is free, so that many need not exist at once. One whose worker dies is given
        to another, three times at most. An exception of the task is raised as it is, with the worker's traceback as a
        note.
        """
        if self._n == 1 or n < 2:
            for index, part in parts:
                yield index, task.score(part)
            return
        import ray

        pool = self._of_size(min(self._n, n))
        if not self._given or self._given[0] is not task:
            self._given = task, [ray.put(task)]
        yield from _handed_out(self._given[1], parts, n, pool)

    def _of_size(self, n: int) -> list[Any]:
        """Return as many workers, those of an earlier task among them."""
        import ray

        if not self._joined:
            self._joined = True
            join_cluster(cpus=self._n)  # as many as asked for, or the rest would wait for ever
        share = _share(ray.cluster_resources().get("GPU", 0), n) if self._gpu and not self._pool else 0
        remote = ray.remote(num_cpus=1, num_gpus=share, max_restarts=DEATHS, max_task_retries=DEATHS)(Worker)
        self._pool += [remote.remote(code_sha256()) for _ in range(n - len(self._pool))]
        return self._pool[:n]


def on_ray(task: Task[P], parts: Mapping[int, P], workers: int, *, gpu: bool) -> Generator[tuple[int, Tables]]:
    """Yield parts as they are done by workers that are there for this task alone.

    Joins the cluster of RAY_ADDRESS, else starts one on this machine.
    """
    with Workers(workers, gpu=gpu) as pool:
        yield from pool.over(task, parts.items(), len(parts))


def _handed_out(
    task: Sequence[Any], parts: Iterable[tuple[int, P]], n: int, pool: Sequence[Any]
) -> Generator[tuple[int, Tables]]:
    """Hand n parts to workers that run, which on a busy cluster may be some of them."""
    import ray

    starting = {actor.ready.remote(task): actor for actor in pool}
    at_once = min(IN_FLIGHT, ceil(n / len(pool)))
    waiting, left = iter(parts), n
    running: dict[Any, tuple[int, Any]] = {}
    while left:
        reference = ray.wait([*running, *starting], num_returns=1)[0][0]
        result = _get(reference)
        index, actor = running.pop(reference) if reference in running else (None, starting.pop(reference))
        for following, part in islice(waiting, at_once if index is None else 1):
            running[actor.score.remote(task, part)] = following, actor
        if index is not None:
            left -= 1
            yield index, result


def _share(gpus: float, workers: int) -> float:
    """Return the share of a GPU that each worker gets. Raises `RuntimeError` where there is none."""
    if gpus < 1:
        raise RuntimeError("the Ray cluster has no GPU: give --device cpu, or --workers 1 to use this machine's")
    return 1 / ceil(workers / gpus)


def _get(reference: Any) -> Any:
    """Return what a worker returned, or an exception that says in one line what happened."""
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        error.cause.add_note(str(error))
        raise error.cause from None
    except ray.exceptions.RayError as error:
        raise RuntimeError(
            f"a worker died more than {DEATHS} times ({str(error).splitlines()[0]}); start again to go on, with fewer "
            "--workers if memory ran out"
        ) from error


def cluster_workers(n: int | None, many: int) -> int | None:
    """Return the CPUs of the cluster that RAY_ADDRESS names, where there is one and crystals are many; else None.

    Args:
        n: Crystals; None where their number is not known.
        many: From how many on sharing them pays.
    """
    if not os.environ.get("RAY_ADDRESS") or (n is not None and n < many):
        return None
    return available_workers()


def available_workers() -> int:
    """Return CPUs of the cluster that RAY_ADDRESS names, else of this machine."""
    if ray_address() == "local":
        return os.cpu_count() or 1
    import ray

    join_cluster()
    try:
        return max(1, int(ray.cluster_resources().get("CPU", 1)))
    finally:
        ray.shutdown()
