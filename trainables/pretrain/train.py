"""The pre-training stage."""

from __future__ import annotations

from pathlib import Path

import torch

from crystalsweep.data import DataSet
from crystalsweep.losses import reconstruction_loss
from crystalsweep.networks.architectures import run_as
from crystalsweep.networks.checkpoint import PUBLISHED, lineage, read_backbone, read_weights
from crystalsweep.networks.models import Generator, load_matching, one_hot
from crystalsweep.networks.pretrained import load_pretrained
from crystalsweep.training.restoration import RestorationStage, Task
from crystalsweep.training.session import Session
from crystalsweep.training.stage import Losses, average_degree
from trainables.pretrain.config import PretrainConfig


class Pretrain(RestorationStage):
    """Ĝ minimises L_species + w_pos · L_position (Eq. 1)."""

    name = "pretrain"
    config: PretrainConfig

    def __init__(
        self,
        config: PretrainConfig,
        data: DataSet,
        session: Session,
        published: Path | None = None,
        earlier: Path | None = None,
    ) -> None:
        super().__init__(config, data, session)
        torch.manual_seed(config.seed)
        generator = Generator(config.backbone)
        generator.backbone.average_degree.fill_(average_degree(self.train, config))
        if published:
            self.dropped = load_pretrained(generator.backbone, published)
            self.ancestry = [{"stage": PUBLISHED, "file": published.name}]
        if earlier:
            self.dropped = load_matching(generator, read_weights(earlier, "generator"))
            self.ancestry = lineage([earlier])
        self.generator = self.learn("generator", generator, config.learning_rate)

    def step(self, batch: Task, epoch: int, step: int) -> Losses:
        """Make one update on freshly corrupted crystals."""
        del epoch, step
        task = batch.to(self.session.device)
        restored = self.generator(one_hot(task.corrupted.species), task.graph)
        loss = reconstruction_loss(restored, task.corrupted, self.config.reconstruction)
        norm = self.update("generator", loss.total)
        return {
            "loss": loss.total.detach(),
            "loss/species": loss.species.detach(),
            "loss/position": loss.position.detach(),
            **norm,
        }


def build(config: PretrainConfig, data: DataSet, session: Session, inputs: dict[str, Path]) -> Pretrain:
    """Return the stage, started from what `inputs` name.

    `generator` is a checkpoint whose weights and backbone it takes, with a fresh optimizer; `backbone` a checkpoint
    file of fairchem's, for the backbone's weights alone. Raises `ValueError` for both at once.
    """
    earlier, published = inputs.get("generator"), inputs.get("backbone")
    if earlier and published:
        raise ValueError(f"{earlier} and {published.name} both give the backbone's weights; start from one of them")
    if earlier:
        config = config.model_copy(update={"backbone": run_as(read_backbone(earlier), config.backbone)})
    return Pretrain(config, data, session, published, earlier)
