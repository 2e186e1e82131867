"""Batches made ready in a thread while a step runs, and memory from which a GPU copies without being waited for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

from crystalsweep.structures.batch import with_tensors

T = TypeVar("T")


def made_ahead(make: Callable[[int], T], count: int, ahead: int) -> Generator[T, None, None]:
    """Yield `make(0)` … `make(count - 1)`, up to `ahead` of them made before they are asked for, one after the other
    in one thread; with 0, in the caller's.

    An error of `make` is raised where its result is asked for. Close the iterator to stop early: what is being made is
    waited for, and the thread ends.
    """
    if not ahead:
        yield from map(make, range(count))
        return
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
        waiting: deque[Future[T]] = deque()
        try:
            for number in range(count + ahead):
                if number < count:
                    waiting.append(pool.submit(make, number))
                if number >= ahead:
                    yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def pinned(item: T, device: torch.device) -> T:
    """Return a dataclass with its tensors, at any depth, in memory that this GPU copies from on its own."""
    with torch.cuda.device(device):  # a thread begins on the first GPU, which may be another worker's
        return with_tensors(item, Tensor.pin_memory)
