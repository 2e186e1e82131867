"""The GAN stage: `g_steps_per_d_step` generator updates, then one of the discriminator."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from crystalsweep.data import DataSet
from crystalsweep.losses import (
    discriminator_loss,
    generator_loss,
    reconstruction_loss,
    species_for_discriminator,
)
from crystalsweep.losses.adversarial import FAKE, REAL, gradient_penalty, realness, squared_gradient
from crystalsweep.losses.gradient_ratio import RatioController, weighed
from crystalsweep.losses.trust_region import divergence_from_start
from crystalsweep.networks.architectures import resized, run_as
from crystalsweep.networks.checkpoint import lineage, read_backbone, read_weights
from crystalsweep.networks.models import Generator, PropertyModel, Restoration, graph_of, load_matching, one_hot
from crystalsweep.seeding import stream
from crystalsweep.structures.batch import CrystalBatch, collate, without_jumps, wrap_into_cell
from crystalsweep.structures.corruption import Corrupted, draw_noise, draw_sigma_noise
from crystalsweep.structures.graph import Graph
from crystalsweep.training.restoration import RestorationStage, Task, corrupted_task
from crystalsweep.training.session import Session
from crystalsweep.training.stage import Losses, Metrics, average_degree, select, step_stream
from trainables.gan.config import GanConfig

DISCRIMINATOR_VALIDATION = 512
"""Validation crystals that the discriminator is asked about after each epoch, at most."""

VALIDATION_BATCH = 64

Crystals = tuple[Tensor, Tensor]
"""As D̂ reads them: (n, 119) species weights and (n, 3) positions, Å."""


class Gan(RestorationStage):
    """Ĝ against D̂; each is frozen while the other learns."""

    name = "gan"
    config: GanConfig

    def __init__(
        self, config: GanConfig, data: DataSet, session: Session, generator: Generator, discriminator: PropertyModel
    ) -> None:
        super().__init__(config, data, session)
        if config.adversarial.trust_region:  # kept in checkpoints, since a resumed run may not find it again
            self.models["start"] = deepcopy(generator).requires_grad_(False).eval().to(session.device)
        if config.adversarial.gradient_ratio is not None:
            self.models["controller"] = RatioController(config.adversarial.gradient_ratio)
        self.generator = self.learn("generator", generator, config.learning_rate)
        self.discriminator = self.learn(
            "discriminator", discriminator, config.discriminator_learning_rate, betas=(0.5, 0.999), averaged=False
        )

    def step(self, batch: Task, epoch: int, step: int) -> Losses:
        """Return a generator update, and after every `g_steps_per_d_step` of them one of the discriminator; while that
        warms up, one of the discriminator alone."""
        task = batch.to(self.session.device)
        if step < self.config.adversarial.discriminator_warmup:
            return self._discriminator_step(task.corrupted, task.graph, epoch, step)
        losses = self._generator_step(task.corrupted, task.graph, epoch, step)
        if (step + 1) % self.config.adversarial.g_steps_per_d_step == 0:
            losses |= self._discriminator_step(task.corrupted, task.graph, epoch, step)
        return losses

    def validate(self) -> Metrics:
        """Measure the restoration of validation crystals, and what the discriminator says of them and of what the
        generator makes of them: one that only knows its training crystals by heart is seen."""
        return super().validate() | self._discriminator_on_validation()

    def _generator_step(self, corrupted: Corrupted, graph: Graph, epoch: int, step: int) -> Losses:
        config = self.config.adversarial
        discriminator = self.models["discriminator"].requires_grad_(False).eval()
        restored = self._restore(self.generator, corrupted, graph)
        reconstruction = reconstruction_loss(restored, corrupted, self.config.reconstruction)
        own = reconstruction.total
        near: Losses = {}
        if "start" in self.models:
            with torch.no_grad():
                start = self._restore(self.models["start"], corrupted, graph)
            divergence = divergence_from_start(restored.logits, start.logits, corrupted.masked)
            own, near = own + config.trust_region * divergence, {"loss/divergence": divergence.detach()}
        with torch.set_grad_enabled(self._teaches):
            adversarial = self._adversarial_loss(discriminator, restored, corrupted, epoch, step)
        weight, audit = self._weight_and_audit(adversarial, own, step)
        weighted = weight * adversarial
        norm = self.update("generator", weighted + own)
        discriminator.requires_grad_(True).train()
        return {
            "loss": (weighted + own).detach(),
            "loss/species": reconstruction.species.detach(),
            "loss/position": reconstruction.position.detach(),
            "loss/adversarial": adversarial.detach(),
            **near,
            **audit,
            **norm,
        }

    @property
    def _teaches(self) -> bool:
        config = self.config.adversarial
        return config.species_gradient != "none" and (config.w_wasserstein > 0 or config.gradient_ratio is not None)

    def _adversarial_loss(
        self, discriminator: nn.Module, restored: Restoration, corrupted: Corrupted, epoch: int, step: int
    ) -> Tensor:
        config, batch = self.config.adversarial, corrupted.pristine
        fake = self._fake(restored, corrupted, epoch, step)
        fake_logits = self._scored(discriminator, *fake, batch, corrupted.masked)
        if config.loss != "relativistic":
            return generator_loss(fake_logits, config.loss)
        with torch.no_grad():
            real = self._real(fake, batch, epoch, step)
            real_logits = self._scored(discriminator, *real, batch, corrupted.masked)
        return generator_loss(fake_logits, config.loss, real_logits)

    def _weight_and_audit(self, adversarial: Tensor, own: Tensor, step: int) -> tuple[float, Losses]:
        """Return w_W of this step and, where it is audited, the gradients of the two on the generator's weights."""
        controller = cast(RatioController | None, self.models.get("controller"))
        weight, found = weighed(
            adversarial,
            own,
            list(self.models["generator"].parameters()),
            given=self.config.adversarial.w_wasserstein,
            controller=controller,
            asked=step % self.config.audit_every == 0,
        )
        if found is None:
            return weight, {}
        told = {} if controller is None else {"audit/w_wasserstein": weight}
        return weight, {**found.as_metrics(), **told}

    def _discriminator_step(self, corrupted: Corrupted, graph: Graph, epoch: int, step: int) -> Losses:
        config, batch = self.config.adversarial, corrupted.pristine
        with torch.no_grad():
            restored = self._restore(self.models["generator"], corrupted, graph)
            fake = self._fake(restored, corrupted, epoch, step)
            real = self._real(fake, batch, epoch, step)
        real_logits, fake_logits = (
            self._scored(self.discriminator, *crystals, batch, corrupted.masked) for crystals in (real, fake)
        )
        loss = discriminator_loss(real_logits, fake_logits, config.loss)
        if config.penalised:
            loss = loss + self._penalty(real, fake, corrupted, epoch, step)
        norm = self.update("discriminator", loss)
        return {
            "discriminator/loss": loss.detach(),
            "discriminator/score_gap": (realness(real_logits).mean() - realness(fake_logits).mean()).detach(),
            "discriminator/accuracy_real": (real_logits.argmax(dim=-1) == REAL).float().mean(),
            "discriminator/accuracy_fake": (fake_logits.argmax(dim=-1) == FAKE).float().mean(),
            **norm,
        }

    @torch.no_grad()
    def _discriminator_on_validation(self) -> Metrics:
        shown = self.val[:DISCRIMINATOR_VALIDATION]
        generator, discriminator = self.evaluated("generator"), self.models["discriminator"]
        training = generator.training, discriminator.training
        generator.eval(), discriminator.eval()
        right, names = torch.zeros(2), ("real", "fake")
        for start in range(0, len(shown), VALIDATION_BATCH):
            batch = collate(shown[start : start + VALIDATION_BATCH])
            random = stream(self.config.seed, "discriminator", start)
            task = corrupted_task(batch, self.config.corruption, self.config.backbone, random).to(self.session.device)
            restored = self._restore(generator, task.corrupted, task.graph)
            fake = self._fake(restored, task.corrupted, 0, start)
            real = self._real(fake, task.corrupted.pristine, 0, start)
            for place, (crystals, label) in enumerate(((real, REAL), (fake, FAKE))):
                logits = self._scored(discriminator, *crystals, task.corrupted.pristine, task.corrupted.masked)
                right[place] += (logits.argmax(dim=-1) == label).sum().cpu()
        generator.train(training[0]), discriminator.train(training[1])
        shares = (right / len(shown)).tolist()
        return {f"val/discriminator_accuracy_{name}": share for name, share in zip(names, shares, strict=True)}

    def _restore(self, generator: nn.Module, corrupted: Corrupted, graph: Graph) -> Restoration:
        return cast(Restoration, generator(one_hot(corrupted.species), graph))

    def _fake(self, restored: Restoration, corrupted: Corrupted, epoch: int, step: int) -> Crystals:
        """Return generated crystals as D̂ is shown them."""
        config, batch = self.config.adversarial, corrupted.pristine
        weights, cart = self._generated(restored, corrupted, epoch, step)
        cart = cart.detach() if config.shared_positions else cart
        return weights, self._blurred(cart, batch, "fake input", epoch, step)

    def _real(self, fake: Crystals, batch: CrystalBatch, epoch: int, step: int) -> Crystals:
        """Return real crystals as D̂ is shown them beside the generated ones: at their own positions or at the same."""
        if self.config.adversarial.shared_positions:
            return one_hot(batch.species), fake[1]
        cart = _wrapped(batch, batch.cart + self._real_noise(batch, epoch, step))
        return one_hot(batch.species), self._blurred(cart, batch, "real input", epoch, step)

    def _generated(self, restored: Restoration, corrupted: Corrupted, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        """Return (n, 119) species weights and (n, 3) positions of the generated crystals."""
        config, batch = self.config.adversarial, corrupted.pristine
        sampled = step_stream(self, "gumbel", epoch, step)
        weights = species_for_discriminator(restored.logits, config.species_gradient, config.temperature, sampled)
        if config.keep_known:
            weights = torch.where(corrupted.masked[:, None], weights, one_hot(batch.species))
        return weights, restored.cart(corrupted.cart, batch.lattice, batch.crystal)

    def _scored(
        self,
        discriminator: nn.Module,
        weights: Tensor,
        cart: Tensor,
        batch: CrystalBatch,
        masked: Tensor | None = None,
    ) -> Tensor:
        graph = graph_of(cart, batch.lattice, batch.counts, self.config.backbone)
        logits: Tensor = discriminator(weights, graph, masked)
        return logits

    def _real_noise(self, batch: CrystalBatch, epoch: int, step: int) -> Tensor:
        sigma = torch.full((len(batch),), self.config.adversarial.real_sigma_noise)
        host = batch.to("cpu")
        return draw_noise(host, sigma, False, step_stream(self, "real", epoch, step)).to(batch.cart.device)

    def _blurred(self, cart: Tensor, batch: CrystalBatch, name: str, epoch: int, step: int) -> Tensor:
        """Return positions with the noise on all that D̂ is shown."""
        if self.config.adversarial.input_sigma_noise == 0.0:
            return cart
        random, host = step_stream(self, name, epoch, step), batch.to("cpu")
        sigma = draw_sigma_noise(self.config.adversarial.input_sigma_noise, len(batch), random)
        return _wrapped(batch, cart + draw_noise(host, sigma, False, random).to(cart.device))

    def _penalty(self, real: Crystals, fake: Crystals, corrupted: Corrupted, epoch: int, step: int) -> Tensor:
        """Return the gradient penalties that the settings ask for."""
        config, batch = self.config.adversarial, corrupted.pristine

        def score(weights: Tensor, cart: Tensor) -> Tensor:
            return self._scored(self.discriminator, weights, cart, batch, corrupted.masked)

        total = torch.zeros((), device=batch.cart.device)
        for weight, crystals in ((config.real_penalty, real), (config.fake_penalty, fake)):
            if weight:
                total = total + weight / 2 * squared_gradient(score, *crystals, batch.crystal, len(batch)).mean()
        if config.loss == "wgan_gp":
            beside = fake[0], real[1] + without_jumps(fake[1] - real[1], batch.lattice, batch.crystal)
            mix = torch.rand(len(batch), generator=step_stream(self, "penalty", epoch, step)).to(batch.cart.device)
            total = total + config.gradient_penalty * gradient_penalty(score, real, beside, batch.crystal, mix)
        return total


def _wrapped(batch: CrystalBatch, cart: Tensor) -> Tensor:
    return wrap_into_cell(cart, batch.lattice, batch.crystal)


def build(config: GanConfig, data: DataSet, session: Session, inputs: dict[str, Path]) -> Gan:
    """Return the stage, started from the `generator` and `discriminator` checkpoints among `inputs`, where given.

    The generator's backbone replaces the config's, and D has the size of what it starts from. Raises `ValueError` when
    the two differ in more than that, or the config asks for another size.
    """
    config = _sized_as(config, inputs)
    torch.manual_seed(config.seed)
    generator = Generator(config.backbone)
    discriminator = PropertyModel(config.discriminator_backbone, pooling=config.adversarial.pooling)
    degree = average_degree(select(data.train, config, stable_only=config.stable_only, split="train"), config)
    dropped: list[str] = []
    for model, name, weights in (
        (generator, "generator", "generator"),
        (discriminator, "discriminator", "classifier"),
    ):
        model.backbone.average_degree.fill_(degree)
        if name in inputs:
            dropped += load_matching(model, read_weights(inputs[name], weights))
    stage = Gan(config, data, session, generator, discriminator)
    stage.dropped, stage.ancestry = dropped, lineage(inputs.values())
    return stage


def _sized_as(config: GanConfig, inputs: dict[str, Path]) -> GanConfig:
    """Return the config with the backbones of the checkpoints."""
    given = {name: run_as(read_backbone(path), config.backbone) for name, path in inputs.items()}
    own = given.get("discriminator")
    backbone = given.get("generator") or own or config.backbone
    if own is None:
        return config.model_copy(update={"backbone": backbone})
    size = {"width": own.width, "layers": own.layers}
    if resized(backbone, **size) != own:
        raise ValueError(
            f"the checkpoints have different backbones, which differ in more than width and layers: "
            f"{', '.join(map(str, inputs.values()))}"
        )
    asked = {"width": config.discriminator_width, "layers": config.discriminator_layers}
    for name, value in asked.items():
        if value not in (None, size[name]):
            raise ValueError(
                f"discriminator_{name}={value}, but {inputs['discriminator']} has {size[name]}: leave it out, or start "
                "from another classifier"
            )
    sizes = {f"discriminator_{name}": value for name, value in size.items() if value != getattr(backbone, name)}
    return config.model_copy(update={"backbone": backbone, **sizes})
