"""The chunked operations do what the plain ones do: outputs, gradients, and gradients of gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from crystalsweep.networks.backbones import _edgewise
from crystalsweep.networks.backbones._so2 import GaussConvolution, RealConvolution

N, E, L, M, R, C = 3, 7, 4, 3, 6, 4

Case = tuple[Callable[..., Tensor], Callable[..., Tensor], tuple[Tensor, ...]]


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


@pytest.fixture(params=["into_frames", "sum_out_of_frames", "sphere_silu"])
def case(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Case:
    """The operation, its plain form, and arguments; three edges to a chunk at most."""
    torch.manual_seed(0)
    monkeypatch.setattr(_edgewise, "CACHE", 2 * R * C)
    src, dst = torch.randint(0, N, (2, E))
    to_grid, from_grid = draw(R, M).detach(), draw(M - 1, R).detach()
    cases: dict[str, Case] = {
        "into_frames": (
            lambda x, into: _edgewise.into_frames(x, into, src, dst),
            lambda x, into: _edgewise._into_frames(x, into, src, dst, x.dtype),
            (draw(N, L, C), draw(E, M, L)),
        ),
        "sum_out_of_frames": (
            lambda m, w, out: _edgewise.sum_out_of_frames(m, w, out, dst, N),
            lambda m, w, out: _edgewise._sum_out_of_frames(m, w, out, dst, N),
            (draw(E, M, C), draw(E, 2), draw(E, L, M)),
        ),
        "sphere_silu": (
            lambda s, x: _edgewise.sphere_silu(s, x, to_grid, from_grid),
            lambda s, x: _edgewise._sphere_silu(s, x, to_grid, from_grid),
            (draw(E, C), draw(E, M, C)),
        ),
    }
    return cases[request.param]


def test_chunks_give_what_the_whole_gives(case: Case) -> None:
    chunked, plain, arguments = case
    torch.testing.assert_close(chunked(*arguments), plain(*arguments))


def test_gradients_are_those_of_finite_differences(case: Case) -> None:
    chunked, _, arguments = case
    assert gradcheck(chunked, arguments)


def test_gradients_of_gradients_are_those_of_finite_differences(case: Case) -> None:
    """A gradient penalty needs them."""
    chunked, _, arguments = case
    assert gradgradcheck(chunked, arguments)


def complex_convolution() -> torch.nn.Module:
    from fairchem.core.models.uma.nn.so2_layers import SO2_m_Conv

    torch.manual_seed(0)
    return SO2_m_Conv(1, C, C, 2, 2).double()


def test_three_products_are_as_good_as_four() -> None:
    theirs, x = complex_convolution(), draw(E, 2, 2 * C)
    for found, expected in zip(GaussConvolution(theirs)(x), theirs(x), strict=True):
        torch.testing.assert_close(found, expected)


def test_real_convolution_is_the_complex_one_without_its_imaginary_part() -> None:
    theirs, x = complex_convolution(), draw(E, 2, 2 * C)
    ours = RealConvolution(theirs).double()
    with torch.no_grad():
        theirs.fc.weight[len(theirs.fc.weight) // 2 :] = 0
    for found, expected in zip(ours(x), theirs(x), strict=True):
        torch.testing.assert_close(found, expected)
