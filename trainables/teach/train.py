"""The stage in which the critic teaches: by examples, the signal survives the choice of a species, a categorical step
through which a gradient gets only as an estimate."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import softplus

from crystalsweep.data import DataSet
from crystalsweep.losses import reconstruction_loss, species_for_discriminator, species_loss
from crystalsweep.losses.gradient_ratio import RatioController, weighed
from crystalsweep.losses.preference import preference_loss
from crystalsweep.networks.architectures import run_as
from crystalsweep.networks.checkpoint import lineage, load_critic, load_generator, read_backbone
from crystalsweep.networks.models import Critic, Generator, Restoration, graph_of, load_matching, one_hot
from crystalsweep.training.restoration import RestorationStage, Task
from crystalsweep.training.session import Session
from crystalsweep.training.stage import Losses, average_degree, select, step_stream
from trainables.critic.pairs import chosen_pairs, judged
from trainables.teach.candidates import against_truth, candidates, ranked
from trainables.teach.config import ASKS_CRITIC, PREFERS, TeachConfig


class Teach(RestorationStage):
    """Ĝ learns from the critic's lesson and the data; the critic, in turns with it, from what Ĝ then chooses."""

    name = "teach"
    config: TeachConfig

    def __init__(
        self, config: TeachConfig, data: DataSet, session: Session, generator: Generator, critic: Critic
    ) -> None:
        super().__init__(config, data, session)
        if config.lesson in PREFERS:  # kept in checkpoints, since a resumed run may not find it again
            self.models["start"] = deepcopy(generator).requires_grad_(False).eval().to(session.device)
        if config.lesson == "gradient":
            self.models["controller"] = RatioController(config.gradient_ratio)
        self.generator = self.learn("generator", generator, config.learning_rate)
        self.critic = self.learn("critic", critic, config.critic_learning_rate, averaged=False)

    def step(self, batch: Task, epoch: int, step: int) -> Losses:
        """Make an update of the generator, or in the last steps of a turn one of the critic."""
        task, critic_learns = batch.to(self.session.device), self.config.critic_learns_at(step)
        return (self._critic_step if critic_learns else self._generator_step)(task, epoch, step)

    def _generator_step(self, task: Task, epoch: int, step: int) -> Losses:
        config, corrupted = self.config, task.corrupted
        restored = cast(Restoration, self.generator(one_hot(corrupted.species), task.graph))
        truth = reconstruction_loss(restored, corrupted, config.reconstruction)
        own = config.truth_weight * truth.species + config.reconstruction.w_pos * truth.position
        lesson, told = self._lesson(task, restored, epoch, step)
        weight, audit = self._weight_and_audit(lesson, own, step)
        norm = self.update("generator", own + weight * lesson)
        return {
            "loss": (own + weight * lesson).detach(),
            "loss/species": truth.species.detach(),
            "loss/position": truth.position.detach(),
            "loss/lesson": lesson.detach(),
            **told,
            **audit,
            **norm,
        }

    def _lesson(self, task: Task, restored: Restoration, epoch: int, step: int) -> tuple[Tensor, Losses]:
        """Return the loss of the lesson, and what is told of it."""
        corrupted, config = task.corrupted, self.config
        if config.lesson == "none":
            return restored.logits.new_zeros(()), {}
        if config.lesson == "gradient":
            return self._against_critic(task, restored, epoch, step), {}
        random = step_stream(self, "candidates", epoch, step)
        generator = cast(Generator, self.models["generator"].eval())
        chains = candidates(generator, task, restored.logits.detach(), config, random)
        generator.train()
        critic = self._frozen_critic() if config.lesson in ASKS_CRITIC else None
        ends = (
            against_truth(chains, task)
            if config.lesson == "self_play"
            else ranked(chains, task, restored, critic, config)
        )
        true, hidden = corrupted.pristine.species, corrupted.masked
        right = ((ends.first == true) & hidden).sum() / hidden.sum().clamp(min=1)
        told: Losses = {"lesson/moved": ends.moved, "lesson/right": right}
        if config.lesson not in PREFERS:
            return species_loss(restored.logits, ends.first, hidden), told
        with torch.no_grad():
            start = self.models["start"](one_hot(corrupted.species), task.graph).logits
        crystal, size = corrupted.pristine.crystal, len(corrupted.pristine)
        loss = preference_loss(
            restored.logits,
            start,
            ends.first,
            ends.last,
            hidden,
            crystal,
            size=size,
            strength=config.preference_strength,
        )
        return loss, told

    def _against_critic(self, task: Task, restored: Restoration, epoch: int, step: int) -> Tensor:
        """Return −log σ(critic), mean over crystals, of species drawn through Gumbel's straight-through estimate on
        restored positions, which carry no gradient."""
        corrupted, batch = task.corrupted, task.corrupted.pristine
        random = step_stream(self, "gumbel", epoch, step)
        drawn = species_for_discriminator(restored.logits, "gumbel", self.config.temperature, random)
        weights = torch.where(corrupted.masked[:, None], drawn, one_hot(batch.species))
        cart = restored.cart(corrupted.cart, batch.lattice, batch.crystal).detach()
        graph = graph_of(cart, batch.lattice, batch.counts, self.config.backbone)
        return softplus(-self._frozen_critic()(weights, graph, corrupted.masked).crystal).mean()

    def _frozen_critic(self) -> Critic:
        return cast(Critic, self.models["critic"].requires_grad_(False).eval())

    def _weight_and_audit(self, lesson: Tensor, own: Tensor, step: int) -> tuple[float, Losses]:
        """Return the lesson's weight in this step and, where it is audited, the gradients of both on the generator."""
        weight, found = weighed(
            lesson,
            own,
            list(self.models["generator"].parameters()),
            given=self.config.lesson_weight,
            controller=cast(RatioController | None, self.models.get("controller")),
            asked=self.config.audited_at(step),
        )
        return weight, {} if found is None else {**found.as_metrics(), "audit/weight": weight}

    def _critic_step(self, task: Task, epoch: int, step: int) -> Losses:
        config, generator = self.config, cast(Generator, self.models["generator"].eval())
        pairs = chosen_pairs(
            generator,
            task,
            config.backbone,
            passes=config.passes,
            argmax_share=config.argmax_share,
            temperature=config.temperature,
            random=step_stream(self, "choice", epoch, step),
        )
        generator.train()
        self.models["critic"].requires_grad_(True).train()
        told = judged(self.critic, pairs)
        total = told.loss.total(config.site_weight)
        norm = self.update("critic", total)
        parts = {f"critic/{name}": part for name, part in told.losses(pairs).items()}
        return {"critic/loss": total.detach(), **parts, **norm}


def build(config: TeachConfig, data: DataSet, session: Session, inputs: dict[str, Path]) -> Teach:
    """Return the stage, started from generator and critic of the `generator` checkpoint among `inputs`, where given.

    A critic that is not there starts from the generator's backbone. Raises `ValueError` where a lesson comes from a
    critic that has not learnt anything.
    """
    folder = inputs.get("generator")
    if folder is not None:
        config = config.model_copy(update={"backbone": run_as(read_backbone(folder), config.backbone)})
    torch.manual_seed(config.seed)
    generator = load_generator(folder).train() if folder else Generator(config.backbone)
    critic, dropped = load_critic(folder) if folder else None, []
    if critic is None:
        if config.lesson in ASKS_CRITIC and not config.critic_warmup:
            raise ValueError(
                f"lesson={config.lesson} comes from a critic, and {folder or 'a new network'} has none: give a run of "
                "`crystalsweep train critic` as --generator, or set critic_warmup to the steps that it may learn first"
            )
        critic = Critic(config.backbone)
        dropped = load_matching(critic, generator.state_dict())
    if folder is None:
        degree = average_degree(select(data.train, config, stable_only=config.stable_only, split="train"), config)
        for network in (generator, critic):
            network.backbone.average_degree.fill_(degree)
    stage = Teach(config, data, session, generator, critic)
    stage.dropped, stage.ancestry = dropped, lineage([folder] if folder else [])
    return stage
