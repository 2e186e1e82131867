"""What the GAN stage can do beyond the paper: each setting does what its description says."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.distributions import Categorical, kl_divergence

from crystalsweep.config import override
from crystalsweep.data import DataSet
from crystalsweep.hyperparameters import CorruptionConfig
from crystalsweep.losses import discriminator_loss, generator_loss
from crystalsweep.losses.adversarial import REAL, squared_gradient
from crystalsweep.losses.audit import GradientAudit
from crystalsweep.losses.gradient_ratio import GREATEST_WEIGHT, RatioController
from crystalsweep.losses.trust_region import divergence_from_start
from crystalsweep.networks.models import PropertyModel, graph_of, one_hot, pooled, pristine_graph_of
from crystalsweep.structures.batch import collate, without_jumps
from crystalsweep.structures.corruption import corrupt
from crystalsweep.structures.crystal import Crystal
from crystalsweep.training.local import LocalSession, train_here
from tests.test_gan_stage import CONFIG, batches, data, run, same, stage, weights
from trainables.gan.train import Gan

__all__ = ["data", "stage"]  # fixtures

Make = Callable[..., Gan]


def audit(adversarial: float, reconstruction: float) -> GradientAudit:
    ratio = adversarial / reconstruction
    return GradientAudit(adversarial_norm=adversarial, reconstruction_norm=reconstruction, ratio=ratio, cosine=0.5)


# Trust region


def test_divergence_is_torchs_over_masked_atoms() -> None:
    torch.manual_seed(0)
    now, start = torch.randn(5, 118), torch.randn(5, 118)
    masked = torch.tensor([True, False, True, True, False])
    expected = kl_divergence(Categorical(logits=now), Categorical(logits=start))[masked].mean()
    assert float(divergence_from_start(now, start, masked)) == pytest.approx(float(expected), rel=1e-5)
    assert float(divergence_from_start(now, start, torch.zeros(5, dtype=torch.bool))) == 0.0


def test_divergence_has_no_gradient_where_nothing_has_moved() -> None:
    logits = torch.randn(4, 118, requires_grad=True)
    value = divergence_from_start(logits, logits.detach().clone(), torch.ones(4, dtype=torch.bool))
    value.backward()
    assert logits.grad is not None
    assert float(value.detach()) == pytest.approx(0, abs=1e-6)
    assert float(logits.grad.abs().max()) < 1e-6


def test_a_trust_region_holds_the_generator_back(stage: Make) -> None:
    free, held = (run(stage("w_wasserstein=5", f"trust_region={beta}"), 25) for beta in (1e-9, 100))
    assert held[0]["loss/divergence"] == pytest.approx(0, abs=1e-6)
    assert held[-1]["loss/divergence"] < free[-1]["loss/divergence"] / 3


def test_what_it_started_from_does_not_change_and_is_kept(data: DataSet, tmp_path: Path) -> None:
    config = override(CONFIG, ["trust_region=1", "epochs=2"])
    gan = train_here("gan", config, data, {}, LocalSession(tmp_path / "whole", device="cpu", progress=False))
    half = override(config, ["epochs=1"])
    first = train_here("gan", half, data, {}, LocalSession(tmp_path / "half", device="cpu", progress=False))
    start = (first / "start.safetensors").read_bytes()
    again = LocalSession(tmp_path / "half", device="cpu", progress=False, resume=True)
    resumed = train_here("gan", config, data, {}, again)
    assert (resumed / "start.safetensors").read_bytes() == start == (gan / "start.safetensors").read_bytes()
    assert (resumed / "generator.safetensors").read_bytes() == (gan / "generator.safetensors").read_bytes()


# A ratio of gradients instead of a weight


@pytest.mark.parametrize("ratio", [0.05, 0.3])
def test_the_first_audit_sets_the_ratio(stage: Make, ratio: float) -> None:
    (losses,) = run(stage(f"gradient_ratio={ratio}", "w_wasserstein=7"), 1)
    assert losses["audit/ratio"] == pytest.approx(ratio, rel=1e-4)
    expected = losses["audit/w_wasserstein"] * losses["loss/adversarial"]
    own = losses["loss/species"] + CONFIG.reconstruction.w_pos * losses["loss/position"]
    assert losses["loss"] == pytest.approx(expected + own, rel=1e-5)


def test_the_weight_follows_slowly_within_bounds() -> None:
    controller = RatioController(0.1)
    assert controller.follow(audit(2.0, 10.0)) == pytest.approx(0.5)
    assert controller.follow(audit(1.0, 10.0)) == pytest.approx(0.9 * 0.5 + 0.1 * 1.0)
    assert controller.follow(audit(0.0, 10.0)) == pytest.approx(0.55)  # nothing to learn from
    assert RatioController(0.1).follow(audit(1e-12, 10.0)) == GREATEST_WEIGHT


def test_a_resumed_run_has_the_weight_of_the_uninterrupted(data: DataSet, tmp_path: Path) -> None:
    config = override(CONFIG, ["gradient_ratio=0.2", "epochs=2", "audit_every=3"])
    whole = train_here("gan", config, data, {}, LocalSession(tmp_path / "whole", device="cpu", progress=False))
    train_here(
        "gan",
        override(config, ["epochs=1"]),
        data,
        {},
        LocalSession(tmp_path / "half", device="cpu", progress=False),
    )
    again = LocalSession(tmp_path / "half", device="cpu", progress=False, resume=True)
    resumed = train_here("gan", config, data, {}, again)
    for name in ("controller", "generator", "discriminator"):
        assert (whole / f"{name}.safetensors").read_bytes() == (resumed / f"{name}.safetensors").read_bytes()


def test_a_ratio_of_nothing_is_refused() -> None:
    with pytest.raises((ValueError, ValidationError), match="nothing to balance"):
        override(CONFIG, ["gradient_ratio=0.1", "species_gradient=none"])


# What D is shown


def test_shared_positions_teach_species_alone(stage: Make) -> None:
    gan = stage("w_wasserstein=1", "shared_positions=true")
    batch = collate(gan.train[:8])
    corrupted = corrupt(batch, CorruptionConfig(), torch.Generator().manual_seed(0))
    graph = graph_of(corrupted.cart, batch.lattice, batch.counts, gan.config.backbone)
    restored = gan._restore(gan.generator, corrupted, graph)
    fake = gan._fake(restored, corrupted, 0, 0)
    real = gan._real(fake, batch, 0, 0)
    assert torch.equal(real[1], fake[1])
    score = gan._scored(gan.discriminator, *fake, batch)[:, REAL].sum()
    heads = {name: gan.models["generator"].get_submodule(name) for name in ("species_head", "perturbation_head")}
    gradients = {
        name: torch.autograd.grad(score, list(head.parameters()), retain_graph=True, allow_unused=True)
        for name, head in heads.items()
    }
    assert all(gradient is None for gradient in gradients["perturbation_head"])
    assert any(gradient is not None and gradient.abs().max() > 0 for gradient in gradients["species_head"])


def test_noise_on_the_inputs_has_the_size_asked_for(stage: Make) -> None:
    gan = stage('input_sigma_noise={"low": 0.1, "high": 0.3}')
    batch = collate(gan.train[:8])
    moved = [
        without_jumps(gan._blurred(batch.cart, batch, name, 0, step) - batch.cart, batch.lattice, batch.crystal)
        / batch.min_edge[batch.crystal][:, None]
        for step in range(100)
        for name in ("real input", "fake input")
    ]
    assert float(torch.cat(moved).std()) == pytest.approx(math.sqrt((0.3**3 - 0.1**3) / (3 * 0.2)), rel=0.05)
    assert not torch.equal(moved[0], moved[1])
    plain = stage()
    assert plain._blurred(batch.cart, batch, "real input", 0, 0) is batch.cart


def test_jumps_between_cells_are_taken_out() -> None:
    lattice = torch.tensor([[[4.0, 0, 0], [1, 5, 0], [0, 0, 6]]])
    near = torch.tensor([[0.3, -0.2, 0.1], [0.0, 0.5, -0.4]])
    far = near + torch.tensor([[1.0, -2, 0], [0, 1, 3]]) @ lattice[0]
    assert torch.allclose(without_jumps(far, lattice, torch.zeros(2, dtype=torch.long)), near, atol=1e-5)


# Pooling


@pytest.mark.parametrize("pooling", ["mean", "mean_max", "masked"])
def test_a_supercell_answers_as_its_cell(data: DataSet, pooling: str) -> None:
    torch.manual_seed(0)
    model = PropertyModel(CONFIG.backbone, pooling=pooling).eval()  # type: ignore[arg-type]
    crystal = data.train[0]
    frac = np.concatenate([crystal.frac, crystal.frac + np.array([0, 1, 0])]) / np.array([1, 2, 1])
    twice = Crystal.of("twice", np.tile(crystal.species, 2), crystal.lattice * [[1], [2], [1]], frac)

    def answer(of: Crystal, masked: list[bool]) -> Tensor:
        batch = collate([of])
        graph = pristine_graph_of(batch, CONFIG.backbone)
        logits: Tensor = model(one_hot(batch.species), graph, torch.tensor(masked)).detach()
        return logits

    masked = [True] + [False] * (len(crystal) - 1)
    assert torch.allclose(answer(crystal, masked), answer(twice, masked * 2), atol=1e-5)


def test_pooling_is_what_it_says(data: DataSet) -> None:
    batch = collate(data.train[:3])
    graph = pristine_graph_of(batch, CONFIG.backbone)
    per_atom = torch.randn(len(batch.species), 2)
    masked = torch.zeros(len(batch.species), dtype=torch.bool)
    masked[batch.atoms(0, 1)] = torch.arange(int(batch.counts[0])) < 1
    parts = [per_atom[batch.atoms(i, i + 1)] for i in range(3)]
    halfway = torch.stack([(part.mean(dim=0) + part.max(dim=0).values) / 2 for part in parts])
    assert torch.allclose(pooled(per_atom, graph, "mean_max"), halfway)
    among = pooled(per_atom, graph, "masked", masked)
    assert torch.allclose(among[0], parts[0][0])
    assert torch.allclose(among[1:], torch.stack([part.mean(dim=0) for part in parts[1:]]))  # nothing masked


def test_the_discriminator_knows_what_was_masked(stage: Make) -> None:
    gan = stage("pooling=masked")
    batch = collate(gan.train[:8])
    first, second = (torch.rand(len(batch.species), generator=torch.Generator().manual_seed(k)) < 0.5 for k in (0, 1))
    shown = one_hot(batch.species), batch.cart
    answers = [gan._scored(gan.discriminator, *shown, batch, masked) for masked in (first, second, None)]
    assert not torch.allclose(answers[0], answers[1])
    assert not torch.allclose(answers[0], answers[2])


# Losses


def test_a_relativistic_loss_compares() -> None:
    real, fake = torch.tensor([[0.0, 3.0], [1.0, 1.0]]), torch.tensor([[0.0, 1.0], [1.0, 1.0]])
    gaps = [2.0, 0.0]  # real minus fake
    expected = np.mean([np.log1p(np.exp(-gap)) for gap in gaps])
    assert float(discriminator_loss(real, fake, "relativistic")) == pytest.approx(expected, rel=1e-5)
    assert float(generator_loss(real, "relativistic", fake)) == pytest.approx(expected, rel=1e-5)
    moved = real + 5.0, fake + 5.0
    assert float(discriminator_loss(*moved, "relativistic")) == pytest.approx(expected, rel=1e-5)


def test_the_squared_gradient_of_a_linear_critic_is_known() -> None:
    crystal = torch.tensor([0, 0, 1])
    a, b = torch.randn(119), torch.randn(3)

    def critic(species: Tensor, cart: Tensor) -> Tensor:
        score = torch.zeros(2).index_add(0, crystal, species @ a + cart @ b)
        return torch.stack([torch.zeros(2), score], dim=1)

    found = squared_gradient(critic, torch.rand(3, 119), torch.rand(3, 3), crystal, 2)
    per_atom = float(a @ a + b @ b)
    assert found.tolist() == pytest.approx([2 * per_atom, per_atom], rel=1e-5)


@pytest.mark.parametrize("side", ["real", "fake"])
def test_penalties_flatten_the_discriminator(stage: Make, side: str) -> None:
    def steepness(*settings: str) -> float:
        gan = stage("w_wasserstein=0", "g_steps_per_d_step=1", "discriminator_learning_rate=1e-2", *settings)
        run(gan, 20)
        batch = collate(gan.train[:8])
        corrupted = corrupt(batch, CorruptionConfig(), torch.Generator().manual_seed(0))
        graph = graph_of(corrupted.cart, batch.lattice, batch.counts, gan.config.backbone)
        fake = gan._fake(gan._restore(gan.generator, corrupted, graph), corrupted, 0, 0)
        shown = gan._real(fake, batch, 0, 0) if side == "real" else fake

        def score(species: Tensor, cart: Tensor) -> Tensor:
            return gan._scored(gan.discriminator, species, cart, batch)

        return float(squared_gradient(score, *shown, batch.crystal, len(batch)).mean().detach())

    assert steepness(f"{side}_penalty=10", "adversarial.loss=relativistic") < steepness("loss=relativistic") / 2


@pytest.mark.parametrize(
    "settings",
    [
        ("adversarial.loss=relativistic", "real_penalty=1", "fake_penalty=1"),
        ("adversarial.loss=hinge", "shared_positions=true", "pooling=masked", "adversarial.keep_known=true"),
        ("adversarial.loss=wgan_gp", "shared_positions=true", "input_sigma_noise=0.05"),
        ("gradient_ratio=0.1", "trust_region=0.5", "discriminator_warmup=3", "pooling=mean_max"),
    ],
)
def test_techniques_together_stay_finite_and_repeat(stage: Make, settings: tuple[str, ...]) -> None:
    first, again = (run(stage("w_wasserstein=1", "g_steps_per_d_step=3", *settings), 9) for _ in range(2))
    assert first == again
    assert all(math.isfinite(value) for row in first for value in row.values())


# The discriminator by itself


def test_while_it_warms_up_it_alone_learns(stage: Make) -> None:
    gan = stage("discriminator_warmup=4", "w_wasserstein=1")
    before = weights(gan.models["generator"]), weights(gan.models["discriminator"])
    torch.manual_seed(0)
    told = [set(gan.step(batch, 0, step)) for batch, step in itertools.islice(batches(gan), 4)]
    assert same(before[0], weights(gan.models["generator"]))
    assert not same(before[1], weights(gan.models["discriminator"]))
    assert all("discriminator/loss" in names and "loss" not in names for names in told)
    batch, _ = next(batches(gan))
    assert "loss" in gan.step(batch, 0, 4)
    assert not same(before[0], weights(gan.models["generator"]))


@pytest.mark.parametrize(("bias", "real", "fake"), [(50.0, 1.0, 0.0), (-50.0, 0.0, 1.0)])
def test_the_discriminator_is_asked_about_validation_crystals(
    stage: Make, bias: float, real: float, fake: float
) -> None:
    gan = stage()
    with torch.no_grad():
        list(gan.models["discriminator"].head.modules())[-1].bias[REAL] += bias  # type: ignore[index, operator, union-attr]
    found = gan.validate()
    assert found["val/discriminator_accuracy_real"] == real
    assert found["val/discriminator_accuracy_fake"] == fake
    assert gan.validate() == found
    assert gan.models["discriminator"].training
