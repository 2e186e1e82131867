"""Losses against values computed by hand, and the gradients they send."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from crystalsweep.hyperparameters import ReconstructionConfig
from crystalsweep.losses import (
    discriminator_loss,
    generator_loss,
    position_loss,
    reconstruction_loss,
    species_for_discriminator,
    species_loss,
)
from crystalsweep.losses.adversarial import AdversarialLoss, gradient_penalty, l1_to_label, realness
from crystalsweep.losses.audit import audit_gradients
from crystalsweep.losses.species_gradient import SpeciesGradient
from crystalsweep.networks.architectures import PaiNNConfig
from crystalsweep.networks.models import PropertyModel, Restoration, graph_of, one_hot
from crystalsweep.structures.batch import CrystalBatch, collate
from crystalsweep.structures.corruption import Corrupted, apply
from crystalsweep.structures.crystal import Crystal

LOSSES: tuple[AdversarialLoss, ...] = ("l1", "bce", "hinge", "wgan_gp")
CARRIERS: tuple[SpeciesGradient, ...] = ("straight_through", "gumbel", "soft")

BOX = Crystal.of("box", [8, 8], np.diag([4.0, 5.0, 10.0]), [[0, 0, 0], [0.5, 0, 0]])
"""min_edge 2 Å."""
LONE = Crystal.of("lone", [29], 4.0 * np.eye(3), [[0, 0, 0]])
"""min_edge 4 Å."""
SKEWED = Crystal.of("skewed", [11, 17], [[4, 0, 0], [2, 5, 0], [1, -1, 6]], [[0, 0, 0], [0.5, 0.5, 0.5]])


@pytest.fixture
def batch() -> CrystalBatch:
    return collate([BOX, LONE])


ERROR = torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 2.0], [0.0, 0.0, 3.0]])
"""Å; of the atoms of BOX and LONE."""


# Reconstruction


@pytest.mark.parametrize(
    ("unit", "box", "lone"),
    [
        ("angstrom", (1 + 8) / 2, 9.0),
        ("min_edge", (1 + 8) / 2 / 2**2, 9.0 / 4**2),
        ("fractional", (1 / 4**2 + 2**2 / 5**2 + 2**2 / 10**2) / 2, 9.0 / 4**2),
    ],
)
def test_position_loss_is_the_value_computed_by_hand(batch: CrystalBatch, unit: str, box: float, lone: float) -> None:
    """(1/N) Σ |Δ|² per crystal, then the mean over crystals, whatever their sizes."""
    found = position_loss(ERROR, batch, unit)  # type: ignore[arg-type]
    assert float(found) == pytest.approx((box + lone) / 2, rel=1e-6)


@pytest.mark.parametrize(
    ("unit", "box", "lone"),
    [("angstrom", (1 + 8**0.5) / 2, 3.0), ("min_edge", (1 + 8**0.5) / 2 / 2, 3.0 / 4)],
)
def test_position_loss_as_a_distance_is_the_mean_length(
    batch: CrystalBatch, unit: str, box: float, lone: float
) -> None:
    """d_m of Eq. 5 per crystal, then the mean over crystals."""
    found = position_loss(ERROR, batch, unit, "distance")  # type: ignore[arg-type]
    assert float(found) == pytest.approx((box + lone) / 2, rel=1e-6)


def test_no_error_has_a_finite_gradient_as_a_distance(batch: CrystalBatch) -> None:
    error = torch.zeros(3, 3, requires_grad=True)
    position_loss(error, batch, "min_edge", "distance").backward()
    assert error.grad is not None and error.grad.abs().max() == 0


def test_fractional_position_loss_is_three_times_torchs_mse() -> None:
    """The paper's w_pos = 200 on torch's MSELoss is 66.7 here."""
    skewed = collate([SKEWED])
    truth, guess = torch.randn(2, 3, generator=torch.Generator().manual_seed(0)), torch.zeros(2, 3)
    frac = (truth - guess) @ torch.linalg.inv(skewed.lattice[0])
    expected = 3 * functional.mse_loss(frac, torch.zeros(2, 3))
    assert float(position_loss(truth - guess, skewed, "fractional")) == pytest.approx(float(expected), rel=1e-5)


def test_position_loss_is_computed_in_float32_under_autocast(batch: CrystalBatch) -> None:
    expected = position_loss(ERROR * 1.2345, batch, "fractional")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(position_loss(ERROR * 1.2345, batch, "fractional"), expected)


def test_species_loss_is_the_mean_negative_log_likelihood() -> None:
    logits = torch.zeros(3, 118)
    logits[0, 7] = math.log(117.0)  # half of the probability on oxygen, index Z − 1
    species = torch.tensor([8, 8, 29])
    one, uniform = math.log(2), math.log(118)
    assert float(species_loss(logits, species)) == pytest.approx((one + 2 * uniform) / 3, rel=1e-6)
    over = torch.tensor([True, False, True])
    assert float(species_loss(logits, species, over)) == pytest.approx((one + uniform) / 2, rel=1e-6)


def test_species_loss_over_no_atom_is_zero() -> None:
    assert float(species_loss(torch.randn(2, 118), torch.tensor([1, 2]), torch.tensor([False, False]))) == 0.0


@pytest.mark.parametrize("z", [1, 118])
def test_first_and_last_element_have_their_output(z: int) -> None:
    logits = torch.full((1, 118), -50.0)
    logits[0, z - 1] = 50.0
    assert float(species_loss(logits, torch.tensor([z]))) == 0.0


def corrupted_of(batch: CrystalBatch) -> Corrupted:
    return apply(batch, torch.tensor([True, False, False]), ERROR * 0.1)


@pytest.mark.parametrize("unit", ["min_edge", "angstrom", "fractional"])
@pytest.mark.parametrize("masked_only", [False, True])
def test_perfect_prediction_costs_nothing(batch: CrystalBatch, unit: str, masked_only: bool) -> None:
    corrupted = corrupted_of(batch)
    logits = 200.0 * one_hot(batch.species)[:, 1:]
    config = ReconstructionConfig.model_validate({"position_unit": unit, "masked_only": masked_only})
    loss = reconstruction_loss(Restoration(logits, corrupted.noise), corrupted, config)
    assert [float(term) for term in loss] == [0.0, 0.0, 0.0]


def test_reconstruction_is_species_plus_weighted_position(batch: CrystalBatch) -> None:
    corrupted = corrupted_of(batch)
    restored = Restoration(torch.zeros(3, 118), torch.zeros(3, 3))
    loss = reconstruction_loss(restored, corrupted, ReconstructionConfig(w_pos=60.0, position_unit="angstrom"))
    assert float(loss.species) == pytest.approx(math.log(118), rel=1e-6)
    assert float(loss.position) == pytest.approx(0.01 * (4.5 + 9) / 2, rel=1e-5)
    assert float(loss.total) == pytest.approx(math.log(118) + 0.6 * 6.75, rel=1e-6)
    of_distance = ReconstructionConfig(w_pos=60.0, position_unit="angstrom", position_error="distance")
    distance = 0.1 * ((1 + 8**0.5) / 2 + 3) / 2
    assert float(reconstruction_loss(restored, corrupted, of_distance).total) == pytest.approx(
        math.log(118) + 60 * distance, rel=1e-6
    )


def test_masked_species_loss_reads_masked_atoms_only(batch: CrystalBatch) -> None:
    corrupted = corrupted_of(batch)
    logits = torch.zeros(3, 118)
    logits[1:] = 200.0 * one_hot(batch.species)[1:, 1:]  # right where visible
    restored = Restoration(logits, corrupted.noise)
    terms = {
        over: float(
            reconstruction_loss(restored, corrupted, ReconstructionConfig(masked_only=over == "masked")).species
        )
        for over in ("all", "masked")
    }
    assert terms == pytest.approx({"all": math.log(118) / 3, "masked": math.log(118)}, rel=1e-6)


# Adversarial


def logits_of(*realness: float) -> Tensor:
    """(B, 2) logits with the given logit of real and 0 for fake."""
    return torch.tensor([[0.0, r] for r in realness])


def test_l1_has_its_known_values() -> None:
    """2 (1 − p) where p is the probability of the label; class 1 is real."""
    assert float(l1_to_label(logits_of(0.0), 1)) == pytest.approx(1.0)
    assert float(l1_to_label(logits_of(math.log(3)), 1)) == pytest.approx(0.5)
    assert float(l1_to_label(logits_of(math.log(3)), 0)) == pytest.approx(1.5)
    assert float(l1_to_label(logits_of(math.log(3), 0.0), 1)) == pytest.approx(0.75)


def test_l1_runs_from_zero_to_two() -> None:
    assert float(l1_to_label(logits_of(60.0), 1)) == pytest.approx(0.0, abs=1e-6)
    assert float(l1_to_label(logits_of(-60.0), 1)) == pytest.approx(2.0)
    found = [float(l1_to_label(logits_of(x), 1)) for x in torch.linspace(-9, 9, 50).tolist()]
    assert all(0 <= value <= 2 for value in found)
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize(
    ("loss", "generator", "discriminator"),
    [
        ("l1", 2 * 0.75, 2 * 0.25 + 2 * 0.25),
        ("bce", math.log(4), 2 * math.log(4 / 3)),
        ("hinge", math.log(3), 2 * max(0.0, 1 - math.log(3))),
        ("wgan_gp", math.log(3), -2 * math.log(3)),
    ],
)
def test_losses_have_their_known_values(loss: AdversarialLoss, generator: float, discriminator: float) -> None:
    """D gives real crystals three to one to be real and fake ones three to one to be fake."""
    real, fake = logits_of(math.log(3)), logits_of(-math.log(3))
    assert float(generator_loss(fake, loss)) == pytest.approx(generator, rel=1e-6)
    assert float(discriminator_loss(real, fake, loss)) == pytest.approx(discriminator, rel=1e-6, abs=1e-7)


def test_hinge_saturates_beyond_its_margin() -> None:
    assert float(discriminator_loss(logits_of(1.5), logits_of(-1.5), "hinge")) == 0.0
    assert float(discriminator_loss(logits_of(0.5), logits_of(0.0), "hinge")) == pytest.approx(1.5)


@pytest.mark.parametrize("loss", LOSSES)
def test_generator_wants_its_crystals_called_real(loss: AdversarialLoss) -> None:
    fake = logits_of(0.3, -0.2).requires_grad_()
    (gradient,) = torch.autograd.grad(generator_loss(fake, loss), fake)
    assert (gradient[:, 1] < 0).all()
    assert (gradient[:, 0] > 0).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_discriminator_wants_real_called_real_and_fake_called_fake(loss: AdversarialLoss) -> None:
    real, fake = logits_of(0.3, -0.2).requires_grad_(), logits_of(0.1, -0.4).requires_grad_()
    of_real, of_fake = torch.autograd.grad(discriminator_loss(real, fake, loss), (real, fake))
    assert (of_real[:, 1] < 0).all()
    assert (of_fake[:, 1] > 0).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_are_means_over_the_batch(loss: AdversarialLoss) -> None:
    once, thrice = logits_of(0.4, -0.3), logits_of(0.4, -0.3).repeat(3, 1)
    assert float(generator_loss(thrice, loss)) == pytest.approx(float(generator_loss(once, loss)))
    assert float(discriminator_loss(thrice, thrice, loss)) == pytest.approx(float(discriminator_loss(once, once, loss)))


# Gradient penalty


def linear_critic(slope: float) -> tuple[nn.Parameter, object]:
    """A critic whose score has a gradient of norm |slope| in every crystal: slope times one atom's x."""
    weight = nn.Parameter(torch.tensor(slope))

    def critic(weights: Tensor, cart: Tensor) -> Tensor:
        first = cart[[0, 2], 0] + 0 * weights.sum()
        return torch.stack([-0.25 * weight * first, 0.75 * weight * first], dim=1)

    return weight, critic


def penalty_of(critic: object, batch: CrystalBatch) -> Tensor:
    real = (one_hot(batch.species), batch.cart)
    fake = (one_hot(torch.tensor([1, 2, 3])), batch.cart + ERROR)
    return gradient_penalty(critic, real, fake, batch.crystal, torch.tensor([0.3, 0.8]))  # type: ignore[arg-type]


@pytest.mark.parametrize(("slope", "expected"), [(1.0, 0.0), (-1.0, 0.0), (3.0, 4.0), (0.5, 0.25), (0.0, 1.0)])
def test_gradient_penalty_is_the_squared_distance_of_the_slope_from_one(
    batch: CrystalBatch, slope: float, expected: float
) -> None:
    _, critic = linear_critic(slope)
    assert float(penalty_of(critic, batch).detach()) == pytest.approx(expected, abs=1e-5)


def test_gradient_penalty_pulls_the_slope_towards_one(batch: CrystalBatch) -> None:
    """d (s − 1)² / ds through the second derivative."""
    weight, critic = linear_critic(3.0)
    penalty_of(critic, batch).backward()
    assert weight.grad is not None
    assert float(weight.grad) == pytest.approx(4.0, rel=1e-4)


def test_gradient_penalty_counts_slopes_in_species_too(batch: CrystalBatch) -> None:
    def critic(weights: Tensor, cart: Tensor) -> Tensor:
        score = 2.0 * weights[[0, 2], 8] + 0 * cart.sum()
        return torch.stack([torch.zeros_like(score), score], dim=1)

    assert float(penalty_of(critic, batch)) == pytest.approx(1.0, rel=1e-5)


def test_gradient_penalty_of_a_network_reaches_its_weights(batch: CrystalBatch) -> None:
    torch.manual_seed(0)
    config = PaiNNConfig(width=8, layers=2, radial_functions=8)
    model = PropertyModel(config)

    def critic(weights: Tensor, cart: Tensor) -> Tensor:
        logits: Tensor = model(weights, graph_of(cart, batch.lattice, batch.counts, config))
        return logits

    penalty = penalty_of(critic, batch)
    assert float(penalty.detach()) > 0
    penalty.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert model.backbone.embedding.weight.grad.any()  # type: ignore[union-attr]


# Species on their way to the discriminator


def random_logits(seed: int = 0) -> Tensor:
    return (3 * torch.randn(50, 118, generator=torch.Generator().manual_seed(seed))).requires_grad_()


def drawn(logits: Tensor, mode: SpeciesGradient, temperature: float = 1.0, seed: int = 0) -> Tensor:
    return species_for_discriminator(logits, mode, temperature, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("mode", ["straight_through", "none"])
def test_most_likely_species_enters_as_one_hot(mode: SpeciesGradient) -> None:
    logits = random_logits()
    expected = one_hot(logits.argmax(dim=1) + 1)
    assert torch.allclose(drawn(logits, mode), expected, atol=1e-6)


def test_soft_species_are_the_softmax() -> None:
    logits = random_logits()
    assert torch.allclose(drawn(logits, "soft")[:, 1:], logits.softmax(dim=1), atol=1e-7)


@pytest.mark.parametrize("mode", [*CARRIERS, "none"])
def test_nothing_lies_on_the_mask_token(mode: SpeciesGradient) -> None:
    weights = drawn(random_logits(), mode)
    assert weights.shape == (50, 119)
    assert not weights[:, 0].any()
    assert weights.sum(dim=1).tolist() == pytest.approx([1.0] * 50, abs=1e-5)


@pytest.mark.parametrize("mode", CARRIERS)
def test_gradient_reaches_every_logit(mode: SpeciesGradient) -> None:
    logits = random_logits()
    slopes = torch.randn(50, 119, generator=torch.Generator().manual_seed(3))
    (gradient,) = torch.autograd.grad((drawn(logits, mode) * slopes).sum(), logits)
    assert torch.isfinite(gradient).all()
    assert (gradient != 0).any(dim=1).all()


def test_straight_through_has_the_softmaxs_gradient() -> None:
    logits, slopes = random_logits(), torch.randn(50, 119, generator=torch.Generator().manual_seed(3))
    gradients = [
        torch.autograd.grad((drawn(logits, mode) * slopes).sum(), logits)[0] for mode in ("straight_through", "soft")
    ]
    assert torch.allclose(*gradients, atol=1e-7)


def test_none_carries_no_gradient() -> None:
    assert not drawn(random_logits(), "none").requires_grad


def test_gumbel_is_one_hot_and_follows_its_seed() -> None:
    logits = random_logits()
    first, again, other = drawn(logits, "gumbel"), drawn(logits, "gumbel"), drawn(logits, "gumbel", seed=1)
    assert torch.equal(first, again)
    assert not torch.equal(first.argmax(dim=1), other.argmax(dim=1))
    assert torch.allclose(first.amax(dim=1), torch.ones(50), atol=1e-6)


@pytest.mark.parametrize("temperature", [0.2, 1.0, 5.0])
def test_gumbel_samples_the_softmax_at_every_temperature(temperature: float) -> None:
    """Temperature smooths the gradient, not the sample."""
    draws = 20_000
    logits = torch.full((draws, 118), -100.0)
    logits[:, 0], logits[:, 1] = math.log(3), 0.0
    picked = drawn(logits, "gumbel", temperature).argmax(dim=1)
    assert set(picked.unique().tolist()) == {1, 2}
    assert float((picked == 1).float().mean()) == pytest.approx(0.75, abs=5 * math.sqrt(0.75 * 0.25 / draws))


# Audit


def test_audit_measures_norms_ratio_and_cosine() -> None:
    weight = nn.Parameter(torch.tensor([1.0, 1.0]))
    first, second = (3 * weight[0]), (2 * weight[0] + 2 * weight[1])
    audit = audit_gradients(first, second, [weight])
    assert (audit.adversarial_norm, audit.reconstruction_norm) == pytest.approx((3.0, 8**0.5))
    assert (audit.ratio, audit.cosine) == pytest.approx((3 / 8**0.5, 0.5**0.5))
    assert audit_gradients(first, -first, [weight]).cosine == pytest.approx(-1.0)
    assert weight.grad is None


def test_audit_of_a_loss_that_is_cut_off_is_exactly_zero() -> None:
    weight = nn.Parameter(torch.tensor([1.0, 1.0]))
    audit = audit_gradients(torch.tensor(5.0), weight.sum(), [weight])
    assert (audit.adversarial_norm, audit.ratio, audit.cosine) == (0.0, 0.0, 0.0)
    assert audit_gradients(weight.sum(), torch.tensor(5.0), [weight]).ratio == 0.0


def test_score_is_the_logit_of_real_minus_that_of_fake() -> None:
    assert realness(torch.tensor([[1.0, 4.0], [2.0, 0.5]])).tolist() == [3.0, -1.5]
