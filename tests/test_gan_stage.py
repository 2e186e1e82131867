"""The GAN stage: what teaches the generator, who is frozen when, and how often the discriminator learns."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from crystalsweep.config import override
from crystalsweep.data import DataSet, load_data
from crystalsweep.hyperparameters import CorruptionConfig, EvaluationConfig
from crystalsweep.networks.architectures import PaiNNConfig
from crystalsweep.networks.checkpoint import read_backbone, read_info, read_weights
from crystalsweep.networks.models import graph_of, one_hot
from crystalsweep.structures.batch import collate, is_stable
from crystalsweep.structures.corruption import corrupt
from crystalsweep.training.local import LocalSession
from crystalsweep.training.loop import fit
from crystalsweep.training.restoration import Task
from trainables.finetune.config import FinetuneConfig
from trainables.finetune.train import build as build_classifier
from trainables.gan.config import GanConfig
from trainables.gan.train import Gan, build

CONFIG = GanConfig(
    backbone=PaiNNConfig(width=16, layers=1, radial_functions=8, cutoff=4.0, max_neighbours=8),
    batch_size=8,
    learning_rate=1e-3,
    discriminator_learning_rate=1e-3,
    audit_every=1,
    evaluation=EvaluationConfig(mask_types=("species",), sigma_noise=(0.1,), draws=1, max_crystals=2),
)
CARRIERS = ("straight_through", "gumbel", "soft")


@pytest.fixture(scope="module")
def data() -> DataSet:
    bundled = load_data("bundled")
    small = [crystal for crystal in bundled.train if is_stable(crystal) and 2 <= len(crystal) <= 6]
    return replace(bundled, train=small[:32], val=small[32:36])


@pytest.fixture
def stage(data: DataSet, tmp_path: Path) -> Callable[..., Gan]:
    """A stage of its own for each call, with these settings."""
    folders = (tmp_path / str(i) for i in itertools.count())

    def make(*settings: str) -> Gan:
        session = LocalSession(next(folders), progress=False, device="cpu")
        return build(override(CONFIG, settings), data, session, {})

    return make


def batches(stage: Gan) -> Iterator[tuple[Task, int]]:
    """Batches of eight without end, with the number of the step."""
    for step in itertools.count():
        start = 8 * step % 32
        yield stage.prepare(collate(stage.train[start : start + 8]), 0, step), step


def run(stage: Gan, steps: int) -> list[dict[str, float]]:
    """Losses of these first steps."""
    torch.manual_seed(0)
    taken = itertools.islice(batches(stage), steps)
    return [{name: float(value) for name, value in stage.step(batch, 0, step).items()} for batch, step in taken]


def weights(model: nn.Module) -> list[Tensor]:
    return [value.clone() for value in model.state_dict().values()]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


# The adversary reaches the generator


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("loss", ["l1", "bce", "hinge", "wgan_gp"])
def test_adversary_teaches_the_generator(stage: Callable[..., Gan], carrier: str, loss: str) -> None:
    (losses,) = run(stage(f"species_gradient={carrier}", f"adversarial.loss={loss}", "w_wasserstein=1"), 1)
    assert losses["audit/adversarial_norm"] > 0
    assert losses["audit/reconstruction_norm"] > 0
    assert abs(losses["audit/cosine"]) <= 1


@pytest.mark.parametrize("settings", [("species_gradient=none", "w_wasserstein=1"), ("w_wasserstein=0",)])
def test_adversary_that_is_cut_off_teaches_exactly_nothing(
    stage: Callable[..., Gan], settings: tuple[str, ...]
) -> None:
    for losses in run(stage(*settings), 3):
        assert losses["audit/adversarial_norm"] == 0.0
        assert losses["audit/ratio"] == 0.0
        assert losses["audit/reconstruction_norm"] > 0
        assert losses["loss/adversarial"] > 0  # it is still measured


def test_adversarial_norm_grows_with_its_weight(stage: Callable[..., Gan]) -> None:
    small, large = (run(stage(f"w_wasserstein={w}"), 1)[0] for w in (0.5, 1.0))
    assert large["audit/adversarial_norm"] == pytest.approx(2 * small["audit/adversarial_norm"], rel=1e-4)
    assert large["audit/reconstruction_norm"] == small["audit/reconstruction_norm"]


def test_species_and_positions_both_carry_the_adversary(stage: Callable[..., Gan]) -> None:
    """Each head of the generator gets gradient from the discriminator alone."""
    gan = stage("w_wasserstein=1", "w_pos=0")
    batch = collate(gan.train[:8])
    corrupted = corrupt(batch, CorruptionConfig(), torch.Generator().manual_seed(0))
    graph = graph_of(corrupted.cart, batch.lattice, batch.counts, gan.config.backbone)
    restored = gan._restore(gan.generator, corrupted, graph)
    species, cart = gan._generated(restored, corrupted, 0, 0)
    score = gan._scored(gan.discriminator, species, cart, batch)[:, 1].sum()
    for head in ("species_head", "perturbation_head"):
        parameters = list(gan.models["generator"].get_submodule(head).parameters())
        gradients = torch.autograd.grad(score, parameters, retain_graph=True)
        assert any(gradient.abs().max() > 0 for gradient in gradients), head


def test_arms_with_and_without_adversary_part(stage: Callable[..., Gan]) -> None:
    taught, cut, zero = (
        stage("w_wasserstein=1"),
        stage("species_gradient=none", "w_wasserstein=1"),
        stage("w_wasserstein=0"),
    )
    begin = [weights(gan.models["generator"]) for gan in (taught, cut, zero)]
    assert same(begin[0], begin[1]) and same(begin[0], begin[2])
    for gan in (taught, cut, zero):
        run(gan, 12)
    end = [weights(gan.models["generator"]) for gan in (taught, cut, zero)]
    assert not same(end[0], end[1])
    assert same(end[1], end[2])
    assert not same(begin[1], end[1])


def test_logged_loss_is_the_sum_of_its_terms(stage: Callable[..., Gan]) -> None:
    (losses,) = run(stage("w_wasserstein=0.7", "w_pos=50"), 1)
    terms = 0.7 * losses["loss/adversarial"] + losses["loss/species"] + 50 * losses["loss/position"]
    assert losses["loss"] == pytest.approx(terms, rel=1e-5)


# Who learns when


def test_discriminator_rests_while_the_generator_learns(stage: Callable[..., Gan]) -> None:
    gan = stage("w_wasserstein=1", "g_steps_per_d_step=1000")
    before = weights(gan.models["discriminator"]), weights(gan.models["generator"])
    run(gan, 5)
    assert same(before[0], weights(gan.models["discriminator"]))
    assert not same(before[1], weights(gan.models["generator"]))
    assert all(parameter.grad is None for parameter in gan.models["discriminator"].parameters())


def test_discriminator_step_moves_the_discriminator_alone(stage: Callable[..., Gan]) -> None:
    """One generator update comes out the same whether a discriminator update follows it or not."""
    followed, alone = stage("g_steps_per_d_step=1"), stage("g_steps_per_d_step=2")
    before = weights(followed.models["discriminator"])
    run(followed, 1), run(alone, 1)
    assert same(weights(followed.models["generator"]), weights(alone.models["generator"]))
    left = [[p.grad for p in gan.models["generator"].parameters() if p.grad is not None] for gan in (followed, alone)]
    assert left[0] and same(*left)
    assert not same(before, weights(followed.models["discriminator"]))
    assert same(before, weights(alone.models["discriminator"]))


def test_generator_step_leaves_the_discriminator_trainable(stage: Callable[..., Gan]) -> None:
    gan = stage()
    run(gan, 1)
    assert gan.models["discriminator"].training
    assert all(parameter.requires_grad for parameter in gan.models["discriminator"].parameters())


def adam_steps(optimizer: torch.optim.Optimizer) -> set[int]:
    return {int(state["step"]) for state in optimizer.state.values()}


@pytest.mark.parametrize(("ratio", "steps", "expected"), [(10, 25, 2), (10, 9, 0), (10, 10, 1), (4, 9, 2), (1, 3, 3)])
def test_one_discriminator_step_per_so_many_generator_steps(
    stage: Callable[..., Gan], ratio: int, steps: int, expected: int
) -> None:
    gan = stage(f"g_steps_per_d_step={ratio}")
    losses = run(gan, steps)
    assert adam_steps(gan.optimizers["generator"]) == {steps}
    assert adam_steps(gan.optimizers["discriminator"]) == ({expected} if expected else set())
    assert sum("discriminator/loss" in row for row in losses) == expected


def test_ratio_is_counted_from_the_beginning_of_the_run_not_of_the_epoch(stage: Callable[..., Gan]) -> None:
    gan = stage("g_steps_per_d_step=3")
    batch, _ = next(batches(gan))
    seen = ["discriminator/loss" in gan.step(batch, epoch, 2 * epoch + k) for epoch in range(3) for k in range(2)]
    assert seen == [False, False, True, False, False, True]


def test_audit_is_taken_every_so_many_steps(stage: Callable[..., Gan]) -> None:
    losses = run(stage("audit_every=4"), 9)
    assert [i for i, row in enumerate(losses) if "audit/cosine" in row] == [0, 4, 8]


def test_audit_does_not_change_training(stage: Callable[..., Gan]) -> None:
    often, never = stage("w_wasserstein=1", "audit_every=1"), stage("w_wasserstein=1", "audit_every=1000")
    run(never, 1)  # step 0 is audited whatever the interval
    run(often, 1)
    assert same(weights(often.models["generator"]), weights(never.models["generator"]))
    torch.manual_seed(0)
    for gan in (often, never):
        for batch, step in itertools.islice(batches(gan), 1, 4):
            gan.step(batch, 0, step)
    assert same(weights(often.models["generator"]), weights(never.models["generator"]))


def test_discriminator_uses_the_papers_adam(stage: Callable[..., Gan]) -> None:
    gan = stage("discriminator_learning_rate=3e-5")
    (group,) = gan.optimizers["discriminator"].param_groups
    assert group["betas"] == (0.5, 0.999)
    assert group["lr"] == group["initial_lr"] == 3e-5
    assert gan.optimizers["generator"].param_groups[0]["betas"] == (0.9, 0.999)


# Every loss trains


@pytest.mark.parametrize("loss", ["l1", "bce", "hinge", "wgan_gp"])
def test_every_adversarial_loss_stays_finite(stage: Callable[..., Gan], loss: str) -> None:
    losses = run(
        stage(f"adversarial.loss={loss}", "w_wasserstein=1", "g_steps_per_d_step=3", "adversarial.keep_known=true"), 12
    )
    assert all(math.isfinite(value) for row in losses for value in row.values())
    judged = [row for row in losses if "discriminator/accuracy_real" in row]
    assert len(judged) == 4
    assert all(0 <= row[f"discriminator/accuracy_{kind}"] <= 1 for row in judged for kind in ("real", "fake"))


@pytest.mark.parametrize("loss", ["l1", "bce", "hinge", "wgan_gp"])
def test_discriminator_learns_to_tell_real_from_generated(stage: Callable[..., Gan], loss: str) -> None:
    """Against a generator that hardly moves, and is bad."""
    gan = stage(
        f"adversarial.loss={loss}",
        "gradient_penalty=0.1",
        "g_steps_per_d_step=1",
        "learning_rate=1e-9",
        "discriminator_learning_rate=1e-2",
        "w_wasserstein=0",
    )
    losses = run(gan, 40)
    if loss == "wgan_gp":  # its score has no zero, so its loss tells, not its accuracy
        assert max(row["discriminator/loss"] for row in losses[-4:]) < -0.5
    else:
        accuracy = [(row["discriminator/accuracy_real"] + row["discriminator/accuracy_fake"]) / 2 for row in losses]
        assert sum(accuracy[-4:]) / 4 > 0.9


@pytest.mark.parametrize("carrier", [*CARRIERS, "none"])
def test_every_species_gradient_is_repeatable(stage: Callable[..., Gan], carrier: str) -> None:
    settings = (f"species_gradient={carrier}", "g_steps_per_d_step=2", "adversarial.loss=wgan_gp")
    assert run(stage(*settings), 4) == run(stage(*settings), 4)


# What the discriminator is shown


@pytest.mark.parametrize("keep_known", [True, False])
def test_visible_species_are_given_to_the_discriminator_where_asked(
    stage: Callable[..., Gan], keep_known: bool
) -> None:
    gan = stage(f"adversarial.keep_known={str(keep_known).lower()}")
    batch = collate(gan.train[:8])
    corrupted = corrupt(batch, CorruptionConfig(), torch.Generator().manual_seed(0))
    graph = graph_of(corrupted.cart, batch.lattice, batch.counts, gan.config.backbone)
    restored = gan._restore(gan.generator, corrupted, graph)
    shown, _ = gan._generated(restored, corrupted, 0, 0)
    visible = ~corrupted.masked
    assert torch.equal(shown[visible], one_hot(batch.species)[visible]) == keep_known
    assert torch.allclose(shown[~visible], one_hot(restored.species())[~visible], atol=1e-6)


def test_real_crystals_are_shown_with_almost_no_noise(stage: Callable[..., Gan]) -> None:
    gan = stage()
    batch = collate(gan.train[:8])
    noise = torch.cat([gan._real_noise(batch, 0, step) / batch.min_edge[batch.crystal][:, None] for step in range(50)])
    assert float(noise.std()) == pytest.approx(0.001, rel=0.05)


def trained(config: GanConfig, data: DataSet, folder: Path, **changes: Any) -> Path:
    session = LocalSession(folder, progress=False, device="cpu")
    fit(build(config.model_copy(update={"epochs": 1, "batch_size": 32, **changes}), data, session, {}), session)
    return folder / "checkpoint"


def classifier(data: DataSet, folder: Path, **changes: Any) -> Path:
    """A stability classifier whose backbone is CONFIG's but for the changes."""
    config = FinetuneConfig(epochs=1, batch_size=32, backbone=CONFIG.backbone.model_copy(update=changes))
    session = LocalSession(folder, progress=False, device="cpu")
    labelled = [crystal for crystal in load_data("bundled").train if len(crystal) <= 6][:64]
    fit(build_classifier(config, replace(data, train=labelled[:48], val=labelled[48:]), session, {}), session)
    return folder / "checkpoint"


def test_checkpoints_with_different_backbones_are_refused(data: DataSet, tmp_path: Path) -> None:
    backbone = CONFIG.backbone.model_copy(update={"width": 8})
    generator = trained(CONFIG, data, tmp_path / "generator", backbone=backbone)
    inputs = {"generator": generator, "discriminator": classifier(data, tmp_path / "d", cutoff=3.5)}
    session = LocalSession(tmp_path / "both", progress=False, device="cpu")
    with pytest.raises(ValueError, match="differ in more than width and layers"):
        build(CONFIG, data, session, inputs)
    started = build(CONFIG, data, session, {"generator": generator})
    assert started.config.backbone.width == 8
    assert started.discriminator.backbone.config.width == 8


def test_a_discriminator_of_its_own_size_teaches_and_resumes_exactly(data: DataSet, tmp_path: Path) -> None:
    own = {"discriminator_width": 8, "discriminator_layers": 2}
    whole = trained(CONFIG, data, tmp_path / "whole", epochs=2, **own)
    assert read_backbone(whole) == CONFIG.backbone
    assert read_info(whole).config["discriminator_width"] == 8
    half = tmp_path / "half"
    for epochs in (1, 2):
        session = LocalSession(half, progress=False, device="cpu", resume=epochs == 2)
        config = CONFIG.model_copy(update={"epochs": epochs, "batch_size": 32, **own})
        stage = build(config, data, session, {})
        assert stage.discriminator.backbone.config.width == 8
        assert stage.discriminator.backbone.config.layers == 2
        fit(stage, session)
    for name in ("generator", "discriminator"):
        pairs = zip(*(read_weights(folder, name).values() for folder in (whole, half / "checkpoint")), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


def test_a_discriminator_has_the_size_of_the_classifier_it_starts_from(data: DataSet, tmp_path: Path) -> None:
    folder = classifier(data, tmp_path / "d", width=8)
    session = LocalSession(tmp_path / "gan", progress=False, device="cpu")
    stage = build(CONFIG, data, session, {"discriminator": folder, "generator": trained(CONFIG, data, tmp_path / "g")})
    assert (stage.config.backbone.width, stage.discriminator.backbone.config.width) == (CONFIG.backbone.width, 8)
    learnt = read_weights(folder, "classifier")
    assert torch.equal(
        stage.discriminator.state_dict()["backbone.embedding.weight"], learnt["backbone.embedding.weight"]
    )
    with pytest.raises(ValueError, match="discriminator_width=4, but"):
        build(CONFIG.model_copy(update={"discriminator_width": 4}), data, session, {"discriminator": folder})


def test_a_file_that_tells_another_size_of_the_discriminator_is_refused(data: DataSet, tmp_path: Path) -> None:
    folder = trained(CONFIG, data, tmp_path / "run", discriminator_width=8)
    (folder / "sums.json").unlink()  # as it is of somebody else's making
    file = folder / "checkpoint.json"
    for size, told in (("16", "discriminator.safetensors"), ('"wide"', "config.backbone"), ("60000", "too large")):
        file.write_text(re.sub(r'"discriminator_width": [^,]+', f'"discriminator_width": {size}', file.read_text()))
        with pytest.raises(ValueError, match=told):
            read_backbone(folder)
