"""The schedule, the optimizers and clipping: what a step does with a gradient."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from crystalsweep.config import override
from crystalsweep.data import DataSet, load_data
from crystalsweep.losses import reconstruction_loss
from crystalsweep.networks.architectures import SIZES
from crystalsweep.networks.models import Generator, PropertyModel, graph_of, one_hot, pristine_graph_of
from crystalsweep.seeding import stream
from crystalsweep.structures.batch import CrystalBatch, collate
from crystalsweep.structures.corruption import corrupt
from crystalsweep.training.catalogue import preset, stage_builder
from crystalsweep.training.config import StageConfig
from crystalsweep.training.layer_rates import layer_factors
from crystalsweep.training.local import LocalSession
from crystalsweep.training.loop import fit
from crystalsweep.training.means import DivergedError, EpochMeans
from crystalsweep.training.optimization import descend, optimizer_of
from crystalsweep.training.schedule import rate_factor

TINY = ("epochs=2", "width=8", "layers=1", "batch_size=4", "max_crystals=8", "evaluation.max_crystals=1")


@pytest.fixture(scope="module")
def data() -> DataSet:
    bundled = load_data("bundled")
    return replace(bundled, val=[crystal for crystal in bundled.val if len(crystal) < 6])


def trained(stage: str, folder: Path, data: DataSet, *settings: str, resume: bool = False) -> list[dict[str, float]]:
    """The rows of a tiny training."""
    own = TINY if stage != "finetune" else TINY[:-1]
    config = override(preset(stage, "smoke"), [*own, *settings])
    session = LocalSession(folder, resume=resume, device="cpu", progress=False)
    fit(stage_builder(stage)(config, data, session, {}), session)
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


# The schedule


def factors(steps: int, **settings: object) -> list[float]:
    """The factor of every step of a training with so many steps per epoch."""
    config = StageConfig.model_validate(settings)
    return [rate_factor(config, n // steps, n % steps / steps, n) for n in range(steps * config.epochs)]


def test_constant_schedule_is_one() -> None:
    assert factors(3, epochs=2) == [1.0] * 6


def test_cosine_by_epoch_stays_within_an_epoch_and_by_step_falls_with_every_step() -> None:
    by_epoch = factors(4, epochs=3, schedule="cosine")
    assert by_epoch == pytest.approx([1.0] * 4 + [0.75] * 4 + [0.25] * 4)
    by_step = factors(4, epochs=3, schedule="cosine", schedule_by="step")
    assert by_step == pytest.approx([(1 + math.cos(math.pi * n / 12)) / 2 for n in range(12)])
    assert by_step[::4] == by_epoch[::4]


def test_cosine_ends_at_its_final_factor() -> None:
    found = factors(500, epochs=2, schedule="cosine", schedule_by="step", final_factor=0.1)
    assert found[0] == 1.0
    assert found[-1] == pytest.approx(0.1, abs=1e-4)
    assert min(found) >= 0.1


def test_warmup_rises_in_equal_steps_and_multiplies_the_cosine() -> None:
    assert factors(3, epochs=2, warmup_steps=4) == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0, 1.0])
    cosine = factors(4, epochs=2, schedule="cosine", schedule_by="step")
    both = factors(4, epochs=2, schedule="cosine", schedule_by="step", warmup_steps=5)
    assert both == pytest.approx([min(1.0, (n + 1) / 5) * factor for n, factor in enumerate(cosine)])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"weight_decay": 0.1}, "set optimizer=adamw too"),
        ({"final_factor": 0.1}, "set schedule=cosine too"),
        ({"schedule_by": "step"}, "set schedule=cosine too"),
    ],
)
def test_settings_that_nothing_would_read_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        StageConfig.model_validate(settings)


# Optimizers


@pytest.mark.parametrize("backbone", sorted(SIZES))
def test_biases_norms_and_embeddings_do_not_decay(backbone: str) -> None:
    """One step without any gradient shows what decays: decoupled decay multiplies by 1 − lr · decay."""
    model = Generator(SIZES[backbone]["smoke"])
    for parameter in model.parameters():
        parameter.data.fill_(1.0)
        parameter.grad = torch.zeros_like(parameter)
    optimizer_of(model, StageConfig(optimizer="adamw", weight_decay=0.5), 0.1).step()
    kept = {name for name, parameter in model.named_parameters() if torch.equal(parameter, torch.ones_like(parameter))}
    decayed = dict(model.named_parameters()).keys() - kept
    assert all("bias" not in name for name in decayed)
    assert all(dict(model.named_parameters())[name].ndim > 1 for name in decayed)
    tables = ("backbone.embedding.weight", "source_embedding.weight", "sphere_embedding.weight")
    embeddings = {name for name in kept | decayed if name.endswith(tables)}
    assert embeddings
    assert embeddings <= kept
    assert any("species_head" in name for name in decayed)
    values = [dict(model.named_parameters())[name] for name in decayed]
    assert all(torch.allclose(value, torch.full_like(value, 0.95)) for value in values)


def test_adamw_without_decay_is_adam(data: DataSet, tmp_path: Path) -> None:
    adam, adamw = (trained("finetune", tmp_path / name, data, f"optimizer={name}") for name in ("adam", "adamw"))
    assert adam == adamw


def test_what_requires_no_gradient_is_not_updated() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    (group,) = optimizer_of(model, StageConfig(), 0.1).param_groups
    assert len(group["params"]) == 2


@pytest.mark.parametrize("backbone", sorted(SIZES))
def test_layers_nearer_to_the_input_move_less(backbone: str) -> None:
    """Embeddings least, then layer by layer, and the head at the whole learning rate."""
    model = PropertyModel(SIZES[backbone]["demo"], 1)
    layers = model.backbone.config.layers
    factors = layer_factors(model, model.backbone, 0.5)
    assert factors.keys() == dict(model.named_parameters()).keys()
    assert sorted(set(factors.values())) == [0.5 ** (layers + 1 - depth) for depth in range(layers + 2)]
    assert {factor for name, factor in factors.items() if name.startswith("head")} == {1.0}
    embeddings = [factor for name, factor in factors.items() if name.endswith("embedding.weight")]
    assert embeddings
    assert min(embeddings) == 0.5 ** (layers + 1)
    groups = optimizer_of(model, StageConfig(), 0.1, factors=factors).param_groups
    rates = {id(weight): group["lr"] for group in groups for weight in group["params"]}
    assert all(rates[id(w)] == pytest.approx(0.1 * factors[name]) for name, w in model.named_parameters())


def test_layer_decay_trains_and_one_changes_nothing(data: DataSet, tmp_path: Path) -> None:
    as_ever, one, half = (
        trained("finetune", tmp_path / name, data, *settings)
        for name, settings in (("ever", ()), ("one", ("layer_decay=1",)), ("half", ("layer_decay=0.5",)))
    )
    assert as_ever == one
    assert as_ever[0]["loss"] != half[0]["loss"]


# Clipping


def test_gradient_is_clipped_to_its_norm_and_the_norm_before_is_told() -> None:
    model = nn.Linear(2, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    before = model.weight.detach().clone()
    norm = descend(optimizer, model(torch.tensor([[3.0, 4.0]])).sum(), 1.0)
    assert norm is not None
    assert float(norm) == pytest.approx(5.0)
    assert float((model.weight.detach() - before).norm()) == pytest.approx(1.0, rel=1e-4)


def test_a_bound_never_reached_changes_nothing_but_tells_the_norm(data: DataSet, tmp_path: Path) -> None:
    plain, clipped = (
        trained("pretrain", tmp_path / "a", data),
        trained("pretrain", tmp_path / "b", data, "clip_norm=1e9"),
    )
    names = {"grad_norm", "grad_norm/max"}
    assert [{key: value for key, value in row.items() if key not in names} for row in clipped] == plain
    assert all(0 < row["grad_norm"] < row["grad_norm/max"] for row in clipped)


def test_gan_tells_the_norms_of_both_optimizers(data: DataSet, tmp_path: Path) -> None:
    (row, *_) = trained("gan", tmp_path, data, "clip_norm=0.1", "g_steps_per_d_step=1")
    assert {name for name in row if name.startswith("grad_norm")} == {
        f"grad_norm/{model}{end}" for model in ("generator", "discriminator") for end in ("", "/max")
    }


def test_all_settings_together_resume_exactly(data: DataSet, tmp_path: Path) -> None:
    settings = ["schedule=cosine", "schedule_by=step", "warmup_steps=3", "final_factor=0.05", "clip_norm=0.5"]
    settings += ["optimizer=adamw", "weight_decay=0.1"]
    whole = trained("pretrain", tmp_path / "whole", data, *settings)
    trained("pretrain", tmp_path / "cut", data, *settings, "max_minutes=1e-9")
    assert trained("pretrain", tmp_path / "cut", data, *settings, resume=True) == whole


# Checkpoints of before there was such a setting


def test_a_setting_that_a_checkpoint_is_too_old_to_know_had_its_default(data: DataSet, tmp_path: Path) -> None:
    whole = trained("finetune", tmp_path / "whole", data)
    trained("finetune", tmp_path / "old", data, "max_minutes=1e-9")
    file = tmp_path / "old" / "checkpoint" / "checkpoint.json"
    info = json.loads(file.read_text())
    for name in ("optimizer", "weight_decay", "clip_norm", "schedule_by", "final_factor", "warmup_steps"):
        del info["config"][name]
    file.write_text(json.dumps(info))
    (file.parent / "sums.json").unlink()
    with pytest.raises(ValueError, match="other settings warmup_steps"):
        trained("finetune", tmp_path / "old", data, "warmup_steps=9", resume=True)
    assert trained("finetune", tmp_path / "old", data, resume=True) == whole


# Means


@pytest.mark.parametrize("read_every", [1, 3, 100])
def test_means_are_the_same_however_rarely_they_are_read(read_every: int) -> None:
    means = EpochMeans(0, torch.device("cpu"), read_every=read_every)
    for step, value in enumerate((0.1, 0.7, 0.2)):
        told = {"loss": torch.tensor(value), "norm/max": torch.tensor(value), "seen": 2.0}
        means.add(told | ({"rare": torch.tensor(1.5)} if step == 1 else {}), step)
    numbers = [float(torch.tensor(value)) for value in (0.1, 0.7, 0.2)]
    expected = {"loss": sum(numbers) / 3, "rare": 1.5, "seen": 2.0, "norm/max": numbers[1]}
    assert means.over_ranks(1) == expected


@pytest.mark.parametrize("read_every", [1, 3, 100])
def test_the_step_that_diverged_is_named_however_late_it_is_read(read_every: int) -> None:
    means = EpochMeans(1, torch.device("cpu"), read_every=read_every)
    with pytest.raises(DivergedError, match="loss is inf in epoch 2, step 12; lower learning_rate"):
        for step in range(10, 14):
            means.add({"loss": torch.tensor(math.inf if step >= 11 else 1.0)}, step)
        means.over_ranks(1)


# What the defaults compute


def by_hand(stage: Any, loss: Callable[[CrystalBatch, int, int], Tensor]) -> list[float]:
    """Mean losses of epochs in the plainest loop: shuffle, Adam, half a cosine over epochs, nothing else."""
    (model,), config = stage.models.values(), stage.config
    optimizer, epochs, step = torch.optim.Adam(model.parameters(), config.learning_rate, fused=True), [], 0
    for epoch in range(config.epochs):
        optimizer.param_groups[0]["lr"] = config.learning_rate * 0.5 * (1 + math.cos(math.pi * epoch / config.epochs))
        order = torch.randperm(len(stage.train), generator=stream(config.seed, "order", epoch)).tolist()
        size, losses = config.batch_size_at(epoch), []
        for start in range(0, len(order), size):
            value = loss(collate([stage.train[i] for i in order[start : start + size]]), epoch, step)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            losses.append(float(value.detach()))
            step += 1
        epochs.append(sum(losses) / len(losses))
    return epochs


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_defaults_compute_what_the_plainest_loop_does(stage: str, data: DataSet, tmp_path: Path) -> None:
    """To the last bit."""
    settings = ("schedule=cosine", 'batch_size={"0": 3, "1": 5}', "epochs=3")
    session = LocalSession(tmp_path / "by_hand", device="cpu", progress=False)
    config = override(preset(stage, "smoke"), [*(TINY if stage != "finetune" else TINY[:-1]), *settings])
    built = stage_builder(stage)(config, data, session, {})
    (model,) = built.models.values()

    def restored(batch: CrystalBatch, epoch: int, step: int) -> Tensor:
        corrupted = corrupt(batch, config.corruption, stream(config.seed, "corruption", epoch, step, 0))
        graph = graph_of(corrupted.cart, batch.lattice, batch.counts, config.backbone)
        return reconstruction_loss(model(one_hot(corrupted.species), graph), corrupted, config.reconstruction).total

    def classified(batch: CrystalBatch, *_: int) -> Tensor:
        logits = model(one_hot(batch.species), pristine_graph_of(batch, config.backbone))
        return nn.functional.cross_entropy(logits, batch.stable.long())

    expected = by_hand(built, restored if stage == "pretrain" else classified)
    assert [row["loss"] for row in trained(stage, tmp_path / "fit", data, *settings)] == expected
