"""The GAN stage: `g_steps_per_d_step` generator updates, then one of the discriminator."""

from __future__ import annotations

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
from crystalsweep.losses.adversarial import FAKE, REAL, gradient_penalty, realness
from crystalsweep.losses.audit import audit_gradients
from crystalsweep.networks.architectures import run_as
from crystalsweep.networks.checkpoint import lineage, read_backbone, read_weights
from crystalsweep.networks.models import Generator, PropertyModel, Restoration, graph_of, load_matching, one_hot
from crystalsweep.structures.batch import CrystalBatch, wrap_into_cell
from crystalsweep.structures.corruption import Corrupted, draw_noise
from crystalsweep.structures.graph import Graph
from crystalsweep.training.restoration import RestorationStage, RestorationValidation, Task
from crystalsweep.training.session import Session
from crystalsweep.training.stage import Losses, average_degree, select, step_stream
from trainables.gan.config import GanConfig


class Gan(RestorationStage):
    """Ĝ against D̂; each is frozen while the other learns."""

    name = "gan"
    config: GanConfig

    def __init__(
        self, config: GanConfig, data: DataSet, session: Session, generator: Generator, discriminator: PropertyModel
    ) -> None:
        super().__init__(config, data, session)
        self.train = select(data.train, config, stable_only=config.stable_only, split="train")
        self.val = select(data.val, config, stable_only=config.stable_only, split="val")
        self.generator = self.learn("generator", generator, config.learning_rate)
        self.discriminator = self.learn(
            "discriminator", discriminator, config.discriminator_learning_rate, betas=(0.5, 0.999), averaged=False
        )
        self.validation = RestorationValidation(
            self.evaluated("generator"), self.val, config.evaluation, session.device
        )

    def step(self, batch: Task, epoch: int, step: int) -> Losses:
        """Return a generator update, and after every `g_steps_per_d_step` of them one of the discriminator."""
        task = batch.to(self.session.device)
        losses = self._generator_step(task.corrupted, task.graph, epoch, step)
        if (step + 1) % self.config.adversarial.g_steps_per_d_step == 0:
            losses |= self._discriminator_step(task.corrupted, task.graph, epoch, step)
        return losses

    def _generator_step(self, corrupted: Corrupted, graph: Graph, epoch: int, step: int) -> Losses:
        config = self.config.adversarial
        discriminator = self.models["discriminator"].requires_grad_(False).eval()
        restored = self._restore(self.generator, corrupted, graph)
        reconstruction = reconstruction_loss(restored, corrupted, self.config.reconstruction)
        teaches = config.species_gradient != "none" and config.w_wasserstein > 0
        with torch.set_grad_enabled(teaches):
            weights, cart = self._generated(restored, corrupted, epoch, step)
            adversarial = generator_loss(self._scored(discriminator, weights, cart, corrupted.pristine), config.loss)
        weighted = config.w_wasserstein * adversarial
        audited = step % self.config.audit_every == 0
        parameters = list(self.models["generator"].parameters())
        audit = audit_gradients(weighted, reconstruction.total, parameters).as_metrics() if audited else {}
        norm = self.update("generator", weighted + reconstruction.total)
        discriminator.requires_grad_(True).train()
        return {
            "loss": (weighted + reconstruction.total).detach(),
            "loss/species": reconstruction.species.detach(),
            "loss/position": reconstruction.position.detach(),
            "loss/adversarial": adversarial.detach(),
            **audit,
            **norm,
        }

    def _discriminator_step(self, corrupted: Corrupted, graph: Graph, epoch: int, step: int) -> Losses:
        config, batch = self.config.adversarial, corrupted.pristine
        with torch.no_grad():
            restored = self._restore(self.models["generator"], corrupted, graph)
            fake = self._generated(restored, corrupted, epoch, step)
        noise = self._real_noise(batch, epoch, step)
        real = (one_hot(batch.species), wrap_into_cell(batch.cart + noise, batch.lattice, batch.crystal))
        real_logits = self._scored(self.discriminator, *real, batch)
        fake_logits = self._scored(self.discriminator, *fake, batch)
        loss = discriminator_loss(real_logits, fake_logits, config.loss)
        if config.loss == "wgan_gp":
            straight = corrupted.noise - restored.perturbation  # from real to fake without a jump between cells
            penalised = (fake[0], real[1] + straight - noise)
            loss = loss + config.gradient_penalty * self._penalty(real, penalised, batch, epoch, step)
        norm = self.update("discriminator", loss)
        return {
            "discriminator/loss": loss.detach(),
            "discriminator/score_gap": (realness(real_logits).mean() - realness(fake_logits).mean()).detach(),
            "discriminator/accuracy_real": (real_logits.argmax(dim=-1) == REAL).float().mean(),
            "discriminator/accuracy_fake": (fake_logits.argmax(dim=-1) == FAKE).float().mean(),
            **norm,
        }

    def _restore(self, generator: nn.Module, corrupted: Corrupted, graph: Graph) -> Restoration:
        return cast(Restoration, generator(one_hot(corrupted.species), graph))

    def _generated(self, restored: Restoration, corrupted: Corrupted, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        """Return (n, 119) species weights and (n, 3) positions of the generated crystals, as D̂ reads them."""
        config, batch = self.config.adversarial, corrupted.pristine
        sampled = step_stream(self, "gumbel", epoch, step)
        weights = species_for_discriminator(restored.logits, config.species_gradient, config.temperature, sampled)
        if config.keep_known:
            weights = torch.where(corrupted.masked[:, None], weights, one_hot(batch.species))
        return weights, restored.cart(corrupted.cart, batch.lattice, batch.crystal)

    def _scored(self, discriminator: nn.Module, weights: Tensor, cart: Tensor, batch: CrystalBatch) -> Tensor:
        logits: Tensor = discriminator(weights, graph_of(cart, batch.lattice, batch.counts, self.config.backbone))
        return logits

    def _real_noise(self, batch: CrystalBatch, epoch: int, step: int) -> Tensor:
        sigma = torch.full((len(batch),), self.config.adversarial.real_sigma_noise)
        host = batch.to("cpu")
        return draw_noise(host, sigma, False, step_stream(self, "real", epoch, step)).to(batch.cart.device)

    def _penalty(
        self, real: tuple[Tensor, Tensor], fake: tuple[Tensor, Tensor], batch: CrystalBatch, epoch: int, step: int
    ) -> Tensor:
        mix = torch.rand(len(batch), generator=step_stream(self, "penalty", epoch, step)).to(batch.cart.device)

        def critic(weights: Tensor, cart: Tensor) -> Tensor:
            return self._scored(self.discriminator, weights, cart, batch)

        return gradient_penalty(critic, real, fake, batch.crystal, mix)


def build(config: GanConfig, data: DataSet, session: Session, inputs: dict[str, Path]) -> Gan:
    """Return the stage, started from the `generator` and `discriminator` checkpoints among `inputs`, where given.

    Their backbone replaces the config's. Raises `ValueError` when the two have different ones.
    """
    backbones = [run_as(read_backbone(path), config.backbone) for path in inputs.values()]
    if any(backbone != backbones[0] for backbone in backbones):
        raise ValueError(f"the checkpoints have different backbones: {', '.join(map(str, inputs.values()))}")
    if backbones:
        config = config.model_copy(update={"backbone": backbones[0]})
    torch.manual_seed(config.seed)
    generator, discriminator = Generator(config.backbone), PropertyModel(config.backbone)
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
