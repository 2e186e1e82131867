"""Averaged weights: what is validated, saved and started from; the weights beneath them train on as if there were
none."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from crystalsweep.config import override
from crystalsweep.data import DataSet, load_data
from crystalsweep.networks.checkpoint import load_generator, read_training_state, read_weights
from crystalsweep.training.averaging import WeightAverage, decay_at
from crystalsweep.training.catalogue import preset, stage_builder
from crystalsweep.training.local import LocalSession
from crystalsweep.training.loop import fit
from crystalsweep.training.resumption import COMPILED, TRAINED

TINY = ("epochs=3", "width=8", "layers=1", "batch_size=4", "max_crystals=8", "learning_rate=0.01")
MODELS = {"pretrain": "generator", "finetune": "classifier", "gan": "generator"}


@pytest.fixture(scope="module")
def data() -> DataSet:
    bundled = load_data("bundled")
    return replace(bundled, val=[crystal for crystal in bundled.val if len(crystal) < 6][:6])


def trained(stage: str, folder: Path, data: DataSet, *settings: str, resume: bool = False) -> Any:
    """A stage, trained."""
    config = override(preset(stage, "smoke"), [*TINY, *settings])
    session = LocalSession(folder, resume=resume, device="cpu", progress=False)
    built = stage_builder(stage)(config, data, session, {})
    fit(built, session)
    return built


def rows(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_decay_rises_to_what_was_asked_for() -> None:
    assert [decay_at(0.999, n) for n in (1, 2, 90)] == pytest.approx([2 / 11, 3 / 12, 0.91])
    assert decay_at(0.999, 10**6) == 0.999
    assert decay_at(0.1, 1) == 0.1


def test_average_is_the_recursion_by_hand() -> None:
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(0.0)
    average, expected = WeightAverage(model, 0.5), 0.0
    for n, value in enumerate((1.0, 5.0, -2.0, 7.0, 1.0, 1.0, 3.0, 2.0, 4.0, 8.0), start=1):
        model.weight.data.fill_(value)
        average.follow(model)
        expected += (1 - decay_at(0.5, n)) * (value - expected)
    assert float(average.model.weight) == pytest.approx(expected, rel=1e-5)
    assert not average.model.weight.requires_grad


@pytest.mark.parametrize("stage", MODELS)
def test_averaging_changes_what_is_validated_and_not_what_is_trained(stage: str, data: DataSet, tmp_path: Path) -> None:
    plain = trained(stage, tmp_path / "plain", data)
    averaged = trained(stage, tmp_path / "averaged", data, "ema_decay=0.9")
    pairs = list(zip(rows(tmp_path / "plain"), rows(tmp_path / "averaged"), strict=True))
    for without, with_average in pairs:
        assert {k: v for k, v in without.items() if not k.startswith("val/")} == {
            k: v for k, v in with_average.items() if not k.startswith("val/")
        }
    assert any(without != with_average for without, with_average in pairs)
    name = MODELS[stage]
    for key, value in plain.models[name].state_dict().items():
        assert torch.equal(value, averaged.models[name].state_dict()[key])
    checkpoint = tmp_path / "averaged" / "checkpoint"
    saved, beneath = read_weights(checkpoint, name), read_training_state(checkpoint)[f"{name}{TRAINED}"]["weights"]
    ours = averaged.averages[name].model.state_dict()
    assert all(torch.equal(saved[key], ours[key]) for key in ours)
    assert all(torch.equal(beneath[key], plain.models[name].state_dict()[key]) for key in ours)
    assert not all(torch.equal(saved[key], beneath[key]) for key in ours)


def test_the_gans_discriminator_is_not_averaged(data: DataSet, tmp_path: Path) -> None:
    gan = trained("gan", tmp_path, data, "ema_decay=0.9", "g_steps_per_d_step=1")
    assert set(gan.averages) == {"generator"}
    assert set(read_training_state(tmp_path / "checkpoint")) == {
        "generator",
        "discriminator",
        f"generator{TRAINED}",
        COMPILED,
    }


@pytest.mark.parametrize("stage", MODELS)
def test_interrupted_run_resumes_to_the_same_bytes(stage: str, data: DataSet, tmp_path: Path) -> None:
    whole = trained(stage, tmp_path / "whole", data, "ema_decay=0.99")
    trained(stage, tmp_path / "cut", data, "ema_decay=0.99", "max_minutes=1e-9")
    cut = trained(stage, tmp_path / "cut", data, "ema_decay=0.99", resume=True)
    assert (tmp_path / "whole" / "metrics.jsonl").read_bytes() == (tmp_path / "cut" / "metrics.jsonl").read_bytes()
    name = MODELS[stage]
    assert whole.averages[name].updates == cut.averages[name].updates > 0
    for ours, theirs in ((whole.models, cut.models), ({name: whole.evaluated(name)}, {name: cut.evaluated(name)})):
        for key, value in ours[name].state_dict().items():
            assert torch.equal(value, theirs[name].state_dict()[key])


def test_later_stages_start_from_the_average(data: DataSet, tmp_path: Path) -> None:
    before = trained("pretrain", tmp_path / "pretrain", data, "ema_decay=0.9")
    generator = load_generator(tmp_path / "pretrain" / "checkpoint")
    average = before.averages["generator"].model.state_dict()
    assert all(torch.equal(value, average[key]) for key, value in generator.state_dict().items())


def test_resuming_with_another_decay_is_refused(data: DataSet, tmp_path: Path) -> None:
    trained("pretrain", tmp_path, data, "max_minutes=1e-9")
    with pytest.raises(ValueError, match="other settings ema_decay"):
        trained("pretrain", tmp_path, data, "ema_decay=0.9", resume=True)
