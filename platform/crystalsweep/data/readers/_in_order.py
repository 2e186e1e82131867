"""Work on the parts of a large file in threads, its results in the order of the parts.

Threads are enough, for the checks of thousands of rows at once are NumPy's, which lets other threads work meanwhile.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_MOST = 16
"""Threads; the rest of reading is one thread's work, and more would wait for it."""


_FEW = 3
"""Parts that one thread is done with before several are worth their start."""


def threads_for(parts: int) -> int:
    """Return the threads for so many parts: the cores that this process may use, which is what OMP_NUM_THREADS allows,
    as Ray sets it, of those that it has."""
    if parts <= _FEW:
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    told = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(cores, int(told) if told.isdigit() else cores, _MOST))


def in_order(function: Callable[[T], R], parts: Iterable[T], *, workers: int) -> Iterator[R]:
    """Yield `function` of each part, in order; with several workers, of some parts at a time ahead of their use."""
    if workers < 2:
        yield from map(function, parts)
        return
    ahead: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for part in parts:
                ahead.append(pool.submit(function, part))
                if len(ahead) > workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for each in ahead:
                each.cancel()
