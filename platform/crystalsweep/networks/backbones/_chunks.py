"""Parts of an array small enough to stay in cache while a whole operation runs over them."""

from __future__ import annotations

from collections.abc import Iterator


def chunks(size: int, per_item: int, numbers: int) -> Iterator[slice]:
    """Yield slices over `size` items, each of at most `numbers` numbers where one item has `per_item`, and of one item
    at least."""
    step = max(1, numbers // per_item)
    for start in range(0, size, step):
        yield slice(start, min(start + step, size))
