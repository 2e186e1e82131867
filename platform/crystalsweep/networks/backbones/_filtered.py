"""PaiNN's message in blocks of edges that stay in cache, keeping only what it was given.

Written plainly it makes a dozen tensors of every edge × channel × direction, of which memory is the limit: matrix
products are a fifth of a step. Here a block of edges goes through the whole message and back; the backward pass
computes the filter again, which is one small product. Where a gradient of the gradient is asked for, as by a gradient
penalty, and under autocast, torch.compile and on a GPU, the plain form runs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from crystalsweep.networks.backbones._chunks import chunks
from crystalsweep.structures.segments import segment_sum

BLOCK = 1 << 17
"""Numbers of a block's filter, which is (edges, 3 width): half a MiB of float32."""


def filtered_message(
    content: Tensor, vectors: Tensor | None, basis: Tensor, unit: Tensor, weight: Tensor, src: Tensor, dst: Tensor
) -> tuple[Tensor, Tensor]:
    """Return (n, W) and (n, 3, W) sums of messages over each atom's edges (PaiNN's Eqs. 7 and 8).

    Args:
        content: (n, 3W) of each atom; for scalars, for the gate of vectors, for directions.
        vectors: (n, 3, W) of each atom; None where all are zero.
        basis: (E, K) functions of the distance, zero at the cutoff.
        unit: (E, 3) directions.
        weight: (K, 3W) from basis to filter.
        src: (E,) atom that each edge tells of.
        dst: (E,) atom that it tells.
    """
    given = (content, vectors, basis, unit, weight, src, dst)
    if torch.compiler.is_compiling() or content.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return _plain(*given)
    scalars, directed = _Blocked.apply(*given)
    return scalars, directed


def _plain(
    content: Tensor, vectors: Tensor | None, basis: Tensor, unit: Tensor, weight: Tensor, src: Tensor, dst: Tensor
) -> tuple[Tensor, Tensor]:
    scalar, vector = _of_edges(
        content.index_select(0, src) * (basis @ weight),
        None if vectors is None else vectors.index_select(0, src),
        unit,
    )
    return segment_sum(scalar, dst, len(content)), segment_sum(vector, dst, len(content))


def _of_edges(message: Tensor, vectors: Tensor | None, unit: Tensor) -> tuple[Tensor, Tensor]:
    """Return (E, W) scalars and (E, 3, W) vectors of (E, 3W) filtered contents."""
    scalar, gate, direction = message.chunk(3, dim=-1)
    vector = unit[:, :, None] * direction[:, None]
    return scalar, vector if vectors is None else torch.addcmul(vector, vectors, gate[:, None])


class _Blocked(Function):
    @staticmethod
    def forward(
        ctx: Any,
        content: Tensor,
        vectors: Tensor | None,
        basis: Tensor,
        unit: Tensor,
        weight: Tensor,
        src: Tensor,
        dst: Tensor,
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(content, vectors, basis, unit, weight, src, dst)
        n, width = len(content), content.shape[1] // 3
        scalars, directed = content.new_zeros(n, width), content.new_zeros(n, 3, width)
        for part in chunks(len(src), 3 * width, BLOCK):
            message = content.index_select(0, src[part]).mul_(basis[part] @ weight)
            near = None if vectors is None else vectors.index_select(0, src[part])
            scalar, vector = _of_edges(message, near, unit[part])
            scalars.index_add_(0, dst[part], scalar)
            directed.index_add_(0, dst[part], vector)
        return scalars, directed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        given = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _twice_differentiable(given, ctx.needs_input_grad, gradients)
        return _Back(given, ctx.needs_input_grad).through(*gradients)


class _Back:
    """The backward pass: gradients of everything that was given, a block of edges at a time."""

    def __init__(self, given: tuple[Tensor, ...], needed: tuple[bool, ...]) -> None:
        self.content, self.vectors, self.basis, self.unit, self.weight, self.src, self.dst = given
        self.on_content = torch.zeros_like(self.content)
        self.on_vectors = torch.zeros_like(self.vectors) if self.vectors is not None and needed[1] else None
        self.on_basis = torch.empty_like(self.basis) if needed[2] else None
        self.on_unit = torch.empty_like(self.unit) if needed[3] else None
        self.on_weight = torch.zeros_like(self.weight) if needed[4] else None

    def through(self, on_scalars: Tensor, on_directed: Tensor) -> tuple[Tensor | None, ...]:
        """Return gradients in the order of what was given, from those of the (n, W) and (n, 3, W) sums."""
        for part in chunks(len(self.src), self.content.shape[1], BLOCK):
            self._block(part, on_scalars.index_select(0, self.dst[part]), on_directed.index_select(0, self.dst[part]))
        return self.on_content, self.on_vectors, self.on_basis, self.on_unit, self.on_weight, None, None

    def _block(self, part: slice, on_scalar: Tensor, on_vector: Tensor) -> None:
        src, basis, unit = self.src[part], self.basis[part], self.unit[part]
        content, kernel = self.content.index_select(0, src), basis @ self.weight
        message = content * kernel
        _, gate, direction = message.chunk(3, dim=-1)
        on_message = torch.empty_like(message)
        on_scalar_part, on_gate, on_direction = on_message.chunk(3, dim=-1)
        on_scalar_part.copy_(on_scalar)
        torch.mul(on_vector[:, 0], unit[:, :1], out=on_direction)
        on_direction.addcmul_(on_vector[:, 1], unit[:, 1:2]).addcmul_(on_vector[:, 2], unit[:, 2:])
        if self.vectors is None:
            on_gate.zero_()
        else:
            torch.sum(self.vectors.index_select(0, src) * on_vector, dim=1, out=on_gate)
        if self.on_unit is not None:
            torch.sum(on_vector * direction[:, None], dim=2, out=self.on_unit[part])
        if self.on_vectors is not None:
            self.on_vectors.index_add_(0, src, on_vector.mul_(gate[:, None]))
        self.on_content.index_add_(0, src, kernel.mul_(on_message))
        on_kernel = on_message.mul_(content)
        if self.on_weight is not None:
            self.on_weight.addmm_(basis.T, on_kernel)
        if self.on_basis is not None:
            torch.mm(on_kernel, self.weight.T, out=self.on_basis[part])


def _twice_differentiable(
    given: tuple[Tensor, ...], needed: tuple[bool, ...], gradients: tuple[Tensor, ...]
) -> tuple[Tensor | None, ...]:
    """Return the gradients, themselves differentiable, by the plain form."""
    outputs = _plain(*given)
    wanted = [tensor for tensor, need in zip(given, needed, strict=True) if need]
    found = iter(torch.autograd.grad(outputs, wanted, gradients, create_graph=True, allow_unused=True))
    return tuple(next(found) if need else None for need in needed)
