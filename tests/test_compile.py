"""Compiled blocks give what uncompiled ones give, and what cannot be compiled runs as it is."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
import torch

from crystalsweep.networks.architectures import SIZES, BackboneConfig
from crystalsweep.networks.backbones import _compile, build_backbone
from crystalsweep.networks.backbones._compile import compiled
from crystalsweep.networks.testing import ASYMMETRIC, BackboneConformance, Cell
from trainables.gan.config import GanConfig


def refuse(*_: object, **__: object) -> Callable[..., object]:
    raise RuntimeError("no C++ compiler\nand a long story")


def double(x: torch.Tensor) -> torch.Tensor:
    return 2 * x


def test_what_cannot_be_compiled_runs_as_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_compile.torch, "compile", refuse)
    run = compiled(double)
    with caplog.at_level(logging.WARNING):
        assert [float(run(torch.tensor(value))) for value in (1.0, 2.0)] == [2.0, 4.0]
    assert [record.message for record in caplog.records] == [
        "torch.compile failed (no C++ compiler); double runs uncompiled"
    ]


def test_a_block_that_is_a_module_stays_compiled(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A compiled module has a `__len__` that most modules lack, so that asking whether there is one is an error."""
    made = []

    def counted(block: torch.nn.Module) -> Callable[..., object]:
        made.append(torch.compile(block, backend="eager"))
        return made[-1]  # type: ignore[no-any-return]

    monkeypatch.setattr(_compile, "_compile", counted)
    run = compiled(torch.nn.Linear(2, 2))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            run(torch.ones(1, 2))
    assert len(made) == 1
    assert not [record for record in caplog.records if record.name.startswith("crystalsweep")], "it fell back"


def test_an_error_of_the_block_stays_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_compile.torch, "compile", refuse)

    def broken(_: torch.Tensor) -> torch.Tensor:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        compiled(broken)(torch.ones(1))


def test_gradient_penalty_of_a_compiled_network_is_refused() -> None:
    with pytest.raises(ValueError, match="compiled networks do not give"):
        GanConfig.model_validate({"adversarial": {"loss": "wgan_gp"}, "backbone": {"name": "painn", "compile": True}})


@pytest.mark.server
def test_compiled_network_agrees_with_the_uncompiled(caplog: pytest.LogCaptureFixture) -> None:
    kit = BackboneConformance()
    outcomes = []
    for compile_it in (False, True):
        config: BackboneConfig = SIZES["painn"]["smoke"].model_copy(update={"compile": compile_it, "layers": 2})
        torch.manual_seed(0)
        model = build_backbone(config).eval()
        kit.config = config  # type: ignore[misc]
        for crystal in ASYMMETRIC:  # of different sizes: one compilation serves both
            cell = Cell.of(crystal)
            species = torch.nn.functional.one_hot(torch.from_numpy(cell.species), 119).float()
            features = model(species, kit.graph(cell))
            (features.scalars.sum() + features.vectors.square().sum()).backward()
        outcomes.append([features.scalars, *(p.grad for p in model.parameters() if p.grad is not None)])
    assert not [record for record in caplog.records if record.name.startswith("crystalsweep")], "it fell back"
    for plain, fast in zip(*outcomes, strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-3, atol=1e-5)
