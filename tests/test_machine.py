"""What is chosen for a machine: by settings, crystals and machine, exact, and never for a short training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from crystalsweep.data import DataSet, load_data
from crystalsweep.training import machine
from crystalsweep.training.catalogue import preset, stage_builder
from crystalsweep.training.local import LocalSession
from crystalsweep.training.stage import Stage


@pytest.fixture(scope="module")
def data() -> DataSet:
    return load_data("bundled")


def stage_of(data: DataSet, folder: Path, stage: str = "pretrain", **settings: object) -> Stage:
    config = preset(stage, "smoke", "painn").model_copy(update=settings)
    return stage_builder(stage)(config, data, LocalSession(folder, device="cpu", progress=False), {})


LONG = 3_000_000
"""Epochs of the smoke preset that last more than five minutes."""


def test_a_short_training_is_not_compiled(data: DataSet, tmp_path: Path) -> None:
    stage = stage_of(data, tmp_path)
    assert machine.worth_compiling(stage) == []
    assert "compiled" not in machine.prepare(stage)
    assert not any(backbone.compiles for backbone in machine.backbones(stage))


def test_a_long_training_is_compiled_where_there_is_a_compiler(
    data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = stage_of(data, tmp_path, epochs=LONG)
    monkeypatch.setattr(machine, "can_compile", lambda: True)
    assert "compiled" in machine.prepare(stage)
    assert all(backbone.compiles for backbone in machine.backbones(stage))
    monkeypatch.setattr(machine, "can_compile", lambda: False)
    assert machine.worth_compiling(stage_of(data, tmp_path / "without", epochs=LONG)) == []


def test_a_budget_of_minutes_counts(data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "can_compile", lambda: True)
    assert machine.worth_compiling(stage_of(data, tmp_path, epochs=LONG, max_minutes=1)) == []


def test_a_gradient_penalty_is_not_compiled(data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "can_compile", lambda: True)
    adversarial = preset("gan", "smoke", "painn").adversarial.model_copy(update={"loss": "wgan_gp"})  # type: ignore[attr-defined]
    stage = stage_of(data, tmp_path, "gan", epochs=LONG, adversarial=adversarial)
    assert machine.worth_compiling(stage) == []


def test_bf16_on_a_cpu_without_it_is_told(data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = preset("pretrain", "smoke", "painn").backbone.model_copy(update={"precision": "bf16"})
    stage = stage_of(data, tmp_path, backbone=backbone)
    monkeypatch.setattr(machine, "computes_bf16", lambda: False)
    assert "four times as long" in machine.prepare(stage)
    monkeypatch.setattr(machine, "computes_bf16", lambda: True)
    assert "four times" not in machine.prepare(stage)


def test_memory_that_is_kept_faults_no_more_pages() -> None:
    resource = pytest.importorskip("resource")
    if not machine.keep_memory():
        pytest.skip("no glibc")

    def faults() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(10):
            torch.ones(4 << 20)
        return int(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

    faults()
    assert faults() < 4096, "16 MiB were cleared by the system again and again"
