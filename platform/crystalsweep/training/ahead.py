"""Batches made ready in a thread while a step runs, and memory from which a GPU copies without being waited for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from torch import Tensor

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


def pinned(item: Any) -> Any:
    """Return a dataclass with its tensors, at any depth, in memory that a GPU copies from on its own."""
    if isinstance(item, Tensor):
        return item.pin_memory()
    if not is_dataclass(item) or isinstance(item, type):
        return item
    parts = {part.name: getattr(item, part.name) for part in fields(item)}
    return replace(item, **{name: pinned(part) for name, part in parts.items() if _has_tensors(part)})


def _has_tensors(part: Any) -> bool:
    return isinstance(part, Tensor) or (is_dataclass(part) and not isinstance(part, type))
