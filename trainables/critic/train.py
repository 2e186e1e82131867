"""The critic's stage: a frozen generator chooses species, the critic learns to tell them from the true ones."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import cast

import torch

from crystalsweep.data import DataSet
from crystalsweep.networks.architectures import run_as
from crystalsweep.networks.checkpoint import lineage, load_generator, read_backbone
from crystalsweep.networks.models import Critic, Generator, load_matching
from crystalsweep.seeding import stream
from crystalsweep.structures.batch import CrystalBatch, collate
from crystalsweep.training.records import SCORE
from crystalsweep.training.restoration import Task, corrupted_task
from crystalsweep.training.session import Session
from crystalsweep.training.stage import Losses, Metrics, Stage, select, step_stream
from trainables.critic.config import CriticConfig
from trainables.critic.pairs import Pairs, chosen_pairs, judged

VALIDATION_BATCH = 64


class CriticStage(Stage):
    """A critic over the generator's own backbone; the generator does not change."""

    name = "critic"
    config: CriticConfig

    def __init__(
        self, config: CriticConfig, data: DataSet, session: Session, generator: Generator, critic: Critic
    ) -> None:
        super().__init__(config, data, session)
        self.train = select(data.train, config, stable_only=config.stable_only, split="train")
        self.val = select(data.val, config, stable_only=config.stable_only, split="val")
        self.generator = generator.requires_grad_(False).eval().to(session.device)
        self.critic = self.learn("critic", critic, config.learning_rate)
        self.models["generator"] = self.generator  # kept beside the critic, which judges no other

    def prepare(self, batch: CrystalBatch, epoch: int, step: int) -> Task:
        """Return the batch freshly corrupted, and its graph."""
        random = step_stream(self, "corruption", epoch, step)
        return corrupted_task(batch, self.config.corruption, self.config.backbone, random)

    def step(self, batch: Task, epoch: int, step: int) -> Losses:
        """Make one update of the critic."""
        pairs = self._pairs(batch.to(self.session.device), step_stream(self, "choice", epoch, step))
        told = judged(self.critic, pairs)
        total = told.loss.total(self.config.site_weight)
        norm = self.update("critic", total)
        parts = told.losses(pairs)
        accuracy = parts.pop("pair_accuracy")
        named = {f"loss/{name}": part for name, part in parts.items()}
        return {"loss": total.detach(), **named, "pair_accuracy": accuracy, **norm}

    @torch.no_grad()
    def validate(self) -> Metrics:
        """Measure how often the true crystal of a pair has the greater logit, and how often a masked site's answer is
        right, on validation crystals whose corruption and choices are the same after every epoch."""
        critic = cast(Critic, self.evaluated("critic")).eval()
        right, pairs_in_all, sites, right_sites, losses = 0.0, 0, 0, 0.0, 0.0
        for pairs in self._validation:
            true, chosen, loss = judged(critic, pairs)
            differs, masked = pairs.differs, pairs.masked
            right += float((true.crystal > chosen.crystal)[differs].sum())
            pairs_in_all += int(differs.sum())
            answers = torch.cat([true.site[masked] > 0, (chosen.site > 0)[masked] != pairs.replaced[masked]])
            right_sites, sites = right_sites + float(answers.sum()), sites + len(answers)
            losses += float(loss.pair) * int(differs.sum())
        critic.train()
        accuracy = right / max(pairs_in_all, 1)
        return {
            "val/pair_accuracy": accuracy,
            "val/pairs": float(pairs_in_all),
            "val/site_accuracy": right_sites / max(sites, 1),
            "val/loss": losses / max(pairs_in_all, 1),
            SCORE: accuracy,
        }

    @cached_property
    def _validation(self) -> list[Pairs]:
        pairs = []
        for start in range(0, len(self.val), VALIDATION_BATCH):
            batch = collate(self.val[start : start + VALIDATION_BATCH])
            random = stream(self.config.seed, "validation corruption", start)
            task = corrupted_task(batch, self.config.corruption, self.config.backbone, random)
            pairs.append(self._pairs(task.to(self.session.device), stream(self.config.seed, "validation", start)))
        return pairs

    def _pairs(self, task: Task, random: torch.Generator) -> Pairs:
        config = self.config
        return chosen_pairs(
            self.generator,
            task,
            config.backbone,
            passes=config.passes,
            argmax_share=config.argmax_share,
            temperature=config.temperature,
            random=random,
        )


def build(config: CriticConfig, data: DataSet, session: Session, inputs: dict[str, Path]) -> CriticStage:
    """Return the stage against the `generator` checkpoint among `inputs`, whose backbone the critic starts from.

    Raises `ValueError` where none is given.
    """
    if "generator" not in inputs:
        raise ValueError("a critic judges a generator: give the one that it is to judge, as with --generator runs/gan")
    folder = inputs["generator"]
    config = config.model_copy(update={"backbone": run_as(read_backbone(folder), config.backbone)})
    torch.manual_seed(config.seed)
    generator, critic = load_generator(folder), Critic(config.backbone)
    dropped = load_matching(critic, generator.state_dict())
    stage = CriticStage(config, data, session, generator, critic)
    stage.dropped, stage.ancestry = dropped, lineage([folder])
    return stage
