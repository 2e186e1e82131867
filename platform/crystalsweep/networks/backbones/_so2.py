"""SO(2) convolutions of order m > 0, faster or more symmetric than fairchem's and interchangeable with them.

In an edge's frame the coefficients of orders +m and −m are a complex number z per degree and channel, and an SO(2)
convolution is a complex matrix: z → (A + iB) z (eSCN, doi:10.48550/arXiv.2302.03655). A mirror plane through the
edge conjugates z, so a network is equivariant under reflections only where B = 0.
"""

from __future__ import annotations

import torch
from fairchem.core.models.uma.nn.so2_layers import (
    SO2_Conv1_WithRadialBlock,
    SO2_Conv2_InternalBlock,
    SO2_Convolution,
    SO2_m_Conv,
)
from torch import Tensor, nn
from torch.nn import functional


class RealConvolution(nn.Module):
    """B = 0: equivariant under rotations and reflections, with half the weights and half the work."""

    def __init__(self, complex_one: SO2_m_Conv) -> None:
        super().__init__()
        self.m_output_channels = complex_one.m_output_channels
        self.fc = nn.Linear(complex_one.fc.in_features, complex_one.out_channels_half, bias=False)
        with torch.no_grad():
            self.fc.weight.copy_(complex_one.fc.weight[: complex_one.out_channels_half])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (E, 2, K) real and imaginary inputs to two (E, L, C) outputs."""
        real, imaginary = self.fc(x).unflatten(-1, (-1, self.m_output_channels)).unbind(1)
        return real, imaginary


class GaussConvolution(nn.Module):
    """The complex product by Gauss's three real ones instead of four; weights and names are fairchem's."""

    def __init__(self, complex_one: SO2_m_Conv) -> None:
        super().__init__()
        self.m_output_channels = complex_one.m_output_channels
        self.fc = complex_one.fc

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (E, 2, K) real and imaginary inputs to two (E, L, C) outputs."""
        a, b = self.fc.weight.chunk(2)
        real, imaginary = x.unbind(1)
        shared = functional.linear(real + imaginary, a)
        out_real = shared - functional.linear(imaginary, a + b)
        out_imaginary = shared + functional.linear(real, b - a)
        shape = (-1, self.m_output_channels)
        return out_real.unflatten(-1, shape), out_imaginary.unflatten(-1, shape)


def exchange(network: nn.Module, convolution: type[RealConvolution | GaussConvolution]) -> None:
    """Give every SO(2) convolution of fairchem's in `network` this form for its orders m > 0, in place."""
    for module in network.modules():
        if isinstance(module, SO2_Convolution | SO2_Conv1_WithRadialBlock | SO2_Conv2_InternalBlock):
            module.so2_m_conv = nn.ModuleList(convolution(each) for each in module.so2_m_conv)
