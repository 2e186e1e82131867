"""Sums over segments are torch-geometric's."""

from __future__ import annotations

import pytest
import torch
from torch_geometric.utils import scatter, softmax

from crystalsweep.structures.segments import segment_max, segment_mean, segment_softmax, segment_sum

SEGMENT = torch.tensor([3, 0, 0, 3, 1, 3])
SIZE = 5  # the third and the last have no rows


@pytest.mark.parametrize("shape", [(6,), (6, 2), (6, 3, 2)])
def test_sums_and_means(shape: tuple[int, ...]) -> None:
    rows = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(segment_sum(rows, SEGMENT, SIZE), scatter(rows, SEGMENT, dim_size=SIZE))
    torch.testing.assert_close(segment_mean(rows, SEGMENT, SIZE), scatter(rows, SEGMENT, dim_size=SIZE, reduce="mean"))


def test_the_greatest() -> None:
    values = torch.tensor([-3.0, -1.0, -2.0, 5.0, -7.0, 1.0])
    assert torch.equal(segment_max(values, SEGMENT, SIZE), scatter(values, SEGMENT, dim_size=SIZE, reduce="max"))


def test_softmax_and_its_gradient() -> None:
    logits = torch.randn(6, 2, generator=torch.Generator().manual_seed(0)).mul(50).requires_grad_()
    ours, theirs = segment_softmax(logits, SEGMENT, SIZE), softmax(logits, SEGMENT, num_nodes=SIZE)
    torch.testing.assert_close(ours, theirs)
    for each in (ours, theirs):
        assert each.isfinite().all()
    torch.testing.assert_close(*(torch.autograd.grad(each.square().sum(), logits) for each in (ours, theirs)))
