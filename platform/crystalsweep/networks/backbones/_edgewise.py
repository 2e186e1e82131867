"""The memory-bound operations of edge convolutions, in chunks that stay in cache, keeping only what they were given.

Written plainly, each makes tensors of every edge × coefficient × channel, or × grid point, that are written to memory,
kept for the backward pass and read once. Here a chunk of edges goes through the whole operation and back; the backward
pass computes again what it needs. Where a gradient of the gradient is asked for, as by a gradient penalty, the backward
pass is written in plain operations, and under torch.compile the forward pass is, for the compiler to fuse.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional

from crystalsweep.networks.backbones._chunks import chunks
from crystalsweep.structures.segments import segment_sum

CACHE = 1 << 18
"""Numbers per chunk and temporary on a CPU: 1 MiB of float32."""


def into_frames(x: Tensor, into: Tensor, src: Tensor, dst: Tensor) -> Tensor:
    """Return (E, M, 2C) coefficients of both ends of each edge in its frame, from (n, L, C) and (E, M, L).

    Turned in the frames' precision, also under autocast; returned in that of the matrix products to come.
    """
    lower = _matmul_dtype(x)
    with torch.autocast(x.device.type, enabled=False):
        form = _into_frames if torch.compiler.is_compiling() else _IntoFrames.apply
        result: Tensor = form(x, into, src, dst, lower)
    return result


def sum_out_of_frames(message: Tensor, weight: Tensor, out: Tensor, dst: Tensor, atoms: int) -> Tensor:
    """Return (n, L, C) sums of weighted messages over the edges of each atom, turned out of their frames.

    `message` is (E, M, C), `weight` (E, heads) for equal shares of the channels, `out` (E, L, M).

    Args:
        message: (E, M, C) messages in the edges' frames.
        weight: (E, heads), each for an equal share of the channels.
        out: (E, L, M) matrices out of the frames.
        dst: (E,) atom that each edge tells.
        atoms: n.
    """
    with torch.autocast(message.device.type, enabled=False):
        form = _sum_out_of_frames if torch.compiler.is_compiling() else _SumOutOfFrames.apply
        result: Tensor = form(message, weight, out, dst, atoms)
    return result


def sphere_silu(scalars: Tensor, x: Tensor, to_grid: Tensor, from_grid: Tensor) -> Tensor:
    """Return (b, M, C): SiLU of (b, C) scalars, and of the function on the sphere that (b, M, C) coefficients stand
    for.

    `to_grid` is (R, M) and `from_grid` (M − 1, R): the function's own mean is replaced by the scalars.
    """
    if torch.compiler.is_compiling():
        return _sphere_silu(scalars, x, to_grid, from_grid)
    result: Tensor = _SphereSilu.apply(scalars, x, to_grid.to(x.dtype), from_grid.to(x.dtype))
    return result


# The plain forms


def _into_frames(x: Tensor, into: Tensor, src: Tensor, dst: Tensor, lower: torch.dtype) -> Tensor:
    ends = torch.cat([x.index_select(0, src), x.index_select(0, dst)], dim=2)
    return torch.bmm(into, ends).to(lower)


def _sum_out_of_frames(message: Tensor, weight: Tensor, out: Tensor, dst: Tensor, atoms: int) -> Tensor:
    turned = torch.bmm(out, _weighted(message.to(out.dtype), weight))
    return segment_sum(turned, dst, atoms)


def _sphere_silu(scalars: Tensor, x: Tensor, to_grid: Tensor, from_grid: Tensor) -> Tensor:
    values = functional.silu(torch.bmm(_each(to_grid, x), x))
    return torch.cat([functional.silu(scalars)[:, None].to(x.dtype), torch.bmm(_each(from_grid, x), values)], dim=1)


def _weighted(message: Tensor, weight: Tensor) -> Tensor:
    share = message.unflatten(2, (weight.shape[1], -1)) * weight[:, None, :, None]
    return share.flatten(2)


def _each(matrix: Tensor, x: Tensor) -> Tensor:
    return matrix.to(x.dtype).expand(len(x), -1, -1)


def _silu_slope(x: Tensor) -> Tensor:
    s = torch.sigmoid(x)
    return s * (1 + x * (1 - s))


def _matmul_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype of the network's matrix products: autocast's where it is on."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def _chunks(size: int, per_item: int, device: torch.device) -> Iterator[slice]:
    return chunks(size, per_item, CACHE if device.type == "cpu" else size * per_item)


# The chunked forms


class _IntoFrames(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, into: Tensor, src: Tensor, dst: Tensor, lower: torch.dtype) -> Tensor:
        ctx.save_for_backward(x, into, src, dst)
        channels = x.shape[2]
        result = into.new_empty(len(src), into.shape[1], 2 * channels, dtype=lower)
        for part in _chunks(len(src), x[0].numel(), x.device):
            for end, side in ((src, slice(0, channels)), (dst, slice(channels, None))):
                result[part, :, side] = torch.bmm(into[part], x.index_select(0, end[part]))
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, into, src, dst = ctx.saved_tensors
        gradient = gradients[0].to(x.dtype)
        channels = x.shape[2]
        for_x, for_into = ctx.needs_input_grad[:2]
        if torch.is_grad_enabled():
            back = torch.bmm(into.transpose(1, 2), gradient)
            ends = torch.cat([x.index_select(0, src), x.index_select(0, dst)], dim=2)
            whole = torch.zeros_like(x).index_add(0, src, back[..., :channels]).index_add(0, dst, back[..., channels:])
            return whole, torch.bmm(gradient, ends.transpose(1, 2)), None, None, None
        on_x = torch.zeros_like(x) if for_x else None
        on_into = torch.empty_like(into) if for_into else None
        for part in _chunks(len(src), x[0].numel(), x.device):
            sides = gradient[part].split(channels, dim=2)
            for end, side in zip((src, dst), sides, strict=True):
                if on_x is not None:
                    on_x.index_add_(0, end[part], torch.bmm(into[part].transpose(1, 2), side))
            if on_into is not None:
                ends = torch.cat([x.index_select(0, end[part]) for end in (src, dst)], dim=2)
                on_into[part] = torch.bmm(gradient[part], ends.transpose(1, 2))
        return on_x, on_into, None, None, None


class _SumOutOfFrames(Function):
    @staticmethod
    def forward(ctx: Any, message: Tensor, weight: Tensor, out: Tensor, dst: Tensor, atoms: int) -> Tensor:
        ctx.save_for_backward(message, weight, out, dst)
        whole = out.new_zeros(atoms, out.shape[1], message.shape[2])
        for part in _chunks(len(dst), whole[0].numel(), message.device):
            turned = torch.bmm(out[part], _weighted(message[part].to(out.dtype), weight[part]))
            whole.index_add_(0, dst[part], turned)
        return whole

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        message, weight, out, dst = ctx.saved_tensors
        gradient = gradients[0]
        parts = _chunks(len(dst), gradient[0].numel(), message.device)
        if torch.is_grad_enabled():
            return *_back(message, weight, out, gradient.index_select(0, dst), True), None, None
        on_message, on_weight = torch.empty_like(message), torch.empty_like(weight)
        on_out = torch.empty_like(out) if ctx.needs_input_grad[2] else None
        for part in parts:
            found = _back(
                message[part], weight[part], out[part], gradient.index_select(0, dst[part]), on_out is not None
            )
            on_message[part], on_weight[part] = found[0], found[1]
            if on_out is not None:
                on_out[part] = found[2]
        return on_message, on_weight, on_out, None, None


def _back(message: Tensor, weight: Tensor, out: Tensor, received: Tensor, for_out: bool) -> tuple[Any, ...]:
    """Return gradients to message, weight and frame, from what each edge's atom received."""
    whole = message.to(out.dtype)
    turned = torch.bmm(out.transpose(1, 2), received)
    on_weight = (turned * whole).unflatten(2, (weight.shape[1], -1)).sum(dim=(1, 3))
    on_out = torch.bmm(received, _weighted(whole, weight).transpose(1, 2)) if for_out else None
    return _weighted(turned, weight).to(message.dtype), on_weight, on_out


class _SphereSilu(Function):
    @staticmethod
    def forward(ctx: Any, scalars: Tensor, x: Tensor, to_grid: Tensor, from_grid: Tensor) -> Tensor:
        ctx.save_for_backward(scalars, x, to_grid, from_grid)
        result = torch.empty_like(x, memory_format=torch.contiguous_format)
        result[:, 0] = functional.silu(scalars)
        for part in _chunks(len(x), len(to_grid) * x.shape[2], x.device):
            values = functional.silu(torch.bmm(_each(to_grid, x[part]), x[part]), inplace=True)
            result[part, 1:] = torch.bmm(_each(from_grid, x[part]), values)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (gradient,) = gradients
        scalars, x, to_grid, from_grid = ctx.saved_tensors
        on_scalars = gradient[:, 0].to(scalars.dtype) * _silu_slope(scalars)
        if torch.is_grad_enabled():
            slope = _silu_slope(torch.bmm(_each(to_grid, x), x))
            on_values = torch.bmm(_each(from_grid.T, x), gradient[:, 1:]) * slope
            return on_scalars, torch.bmm(_each(to_grid.T, x), on_values), None, None
        on_x = torch.empty_like(x, memory_format=torch.contiguous_format)
        for part in _chunks(len(x), len(to_grid) * x.shape[2], x.device):
            values = torch.bmm(_each(to_grid, x[part]), x[part])
            on_values = torch.bmm(_each(from_grid.T, x[part]), gradient[part, 1:])
            on_values = torch.ops.aten.silu_backward(on_values, values)
            on_x[part] = torch.bmm(_each(to_grid.T, x[part]), on_values)
        return on_scalars, on_x, None, None
