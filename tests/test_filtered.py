"""PaiNN's message in blocks gives what its plain form gives: values, gradients, and gradients of gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from crystalsweep.networks.backbones import _filtered
from crystalsweep.networks.backbones._filtered import filtered_message

ATOMS, EDGES, WIDTH, FUNCTIONS = 7, 61, 5, 4
DIFFERENTIABLE = ("content", "vectors", "basis", "unit", "weight")


def inputs(with_vectors: bool = True) -> dict[str, Tensor]:
    made = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=made, dtype=torch.float64).requires_grad_()

    given = {"content": normal(ATOMS, 3 * WIDTH), "vectors": normal(ATOMS, 3, WIDTH)}
    given |= {"basis": normal(EDGES, FUNCTIONS), "unit": normal(EDGES, 3), "weight": normal(FUNCTIONS, 3 * WIDTH)}
    given |= {end: torch.randint(ATOMS, (EDGES,), generator=made) for end in ("src", "dst")}
    return given if with_vectors else given | {"vectors": None}  # type: ignore[dict-item]


@pytest.fixture(autouse=True)
def _several_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_filtered, "BLOCK", 10 * 3 * WIDTH)  # seven, of which the last is smaller


def gradients(form: Callable[..., tuple[Tensor, Tensor]], given: dict[str, Tensor], *, twice: bool) -> list[Tensor]:
    scalars, vectors = form(**given)
    wanted = [given[name] for name in DIFFERENTIABLE if given[name] is not None]
    first = torch.autograd.grad(scalars.sin().sum() + vectors.cos().sum(), wanted, create_graph=twice)
    if not twice:
        return [scalars, vectors, *first]
    return list(torch.autograd.grad(sum(g.square().sum() for g in first), wanted))  # type: ignore[arg-type]


@pytest.mark.parametrize("with_vectors", [True, False])
@pytest.mark.parametrize("twice", [False, True])
def test_blocks_give_what_the_plain_form_gives(with_vectors: bool, twice: bool) -> None:
    given = inputs(with_vectors)
    plain, blocked = (gradients(form, given, twice=twice) for form in (_filtered._plain, filtered_message))
    for expected, found in zip(plain, blocked, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_gradients_that_nobody_asks_for_are_not_made() -> None:
    given = inputs()
    for name in ("vectors", "basis", "unit"):
        given[name] = given[name].detach()
    scalars, vectors = filtered_message(**given)  # type: ignore[arg-type]
    (scalars.sum() + vectors.sum()).backward()
    assert [name for name in DIFFERENTIABLE if given[name].grad is not None] == ["content", "weight"]


def test_no_edges_give_zeros() -> None:
    given = inputs()
    for name in ("basis", "unit", "src", "dst"):
        given[name] = given[name][:0]
    scalars, vectors = filtered_message(**given)  # type: ignore[arg-type]
    assert not scalars.any() and not vectors.any()
