"""Sums, means and the like over the rows that belong to one atom or one crystal.

They do what torch-geometric's `scatter` and `softmax` do, whose import takes three seconds and is not needed where
crystals are only read, corrupted or restored.
"""

from __future__ import annotations

import torch
from torch import Tensor


def segment_sum(rows: Tensor, segment: Tensor, size: int) -> Tensor:
    """Return (size, …) sums of (n, …) rows whose segments are given by (n,) indices; zero where there are none."""
    return rows.new_zeros(size, *rows.shape[1:]).index_add(0, segment, rows)


def segment_mean(rows: Tensor, segment: Tensor, size: int) -> Tensor:
    """Return (size, …) means of the rows of each segment; zero where there are none."""
    counts = segment_sum(rows.new_ones(len(rows)), segment, size).clamp(min=1)
    return segment_sum(rows, segment, size) / counts.view(-1, *(1,) * (rows.dim() - 1))


def segment_max(rows: Tensor, segment: Tensor, size: int) -> Tensor:
    """Return (size, …) greatest of the (n, …) rows of each segment; zero where there are none."""
    index = segment.view(-1, *(1,) * (rows.dim() - 1)).expand_as(rows)
    return rows.new_zeros(size, *rows.shape[1:]).scatter_reduce(0, index, rows, "amax", include_self=False)


def segment_rank(order: Tensor, segment: Tensor, counts: Tensor) -> Tensor:
    """Return (n,) the place of each row within its segment, from 0, where rows are taken in the given order.

    Args:
        order: (n,) all rows, in the order in which they are counted.
        segment: (n,) indices; the rows of a segment are contiguous.
        counts: (size,) rows of each segment.
    """
    grouped = order[torch.argsort(segment[order], stable=True)]
    rank = torch.empty_like(grouped)
    first = torch.cumsum(counts, 0) - counts
    rank[grouped] = torch.arange(len(grouped), device=grouped.device) - first[segment]
    return rank


def segment_softmax(logits: Tensor, segment: Tensor, size: int) -> Tensor:
    """Return (n, k) weights from (n, k) logits that sum to 1 over the rows of each segment, for each k."""
    highest = segment_max(logits.detach(), segment, size)
    weights = (logits - highest.index_select(0, segment)).exp()
    return weights / (segment_sum(weights, segment, size) + 1e-16).index_select(0, segment)
