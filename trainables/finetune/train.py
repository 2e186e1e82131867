"""The fine-tuning stage: a stability classifier over the pre-trained backbone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from crystalsweep.data import DataSet
from crystalsweep.networks.architectures import run_as
from crystalsweep.networks.checkpoint import lineage, read_backbone, read_weights
from crystalsweep.networks.models import PropertyModel, load_matching, one_hot, pristine_graph_of
from crystalsweep.structures.batch import CrystalBatch, collate, on_device
from crystalsweep.structures.graph import Graph
from crystalsweep.training.session import Session
from crystalsweep.training.stage import Losses, Metrics, Stage, average_degree, used
from trainables.finetune.config import LABELS, FinetuneConfig

VALIDATION_BATCH = 128


@dataclass(frozen=True, kw_only=True, eq=False)
class Labelled:
    """Crystals that are stable or not, and their graph."""

    stable: Tensor
    """(B,) bool."""
    species: Tensor
    """(n,)."""
    graph: Graph

    def to(self, device: torch.device) -> Labelled:
        """Return the same on another device."""
        return on_device(self, device)


class Finetune(Stage):
    """A K = 2 property model; class 1 is stable."""

    name = "finetune"
    config: FinetuneConfig

    def __init__(self, config: FinetuneConfig, data: DataSet, session: Session, pretrained: Path | None) -> None:
        super().__init__(config, data, session)
        self.train, _ = used(data.train, config, split="train", labels=LABELS)
        self.val, _ = used(data.val, config, split="val", labels=LABELS)
        torch.manual_seed(config.seed)
        classifier = PropertyModel(config.backbone)
        classifier.backbone.average_degree.fill_(average_degree(self.train, config))
        if pretrained:
            self.dropped = load_matching(classifier, read_weights(pretrained, "generator"))
            self.ancestry = lineage([pretrained])
        if config.trainable == "head":
            classifier.backbone.requires_grad_(False)
        self.classifier = self.learn("classifier", classifier, config.learning_rate)

    def prepare(self, batch: CrystalBatch, epoch: int, step: int) -> Labelled:
        """Return the batch with its graph."""
        del epoch, step
        graph = pristine_graph_of(batch, self.config.backbone)
        return Labelled(stable=batch.stable, species=batch.species, graph=graph)

    def step(self, batch: Labelled, epoch: int, step: int) -> Losses:
        """Make one update on labelled crystals."""
        del epoch, step
        given = batch.to(self.session.device)
        logits = self.classifier(one_hot(given.species), given.graph)
        loss = functional.cross_entropy(logits, given.stable.long())
        norm = self.update("classifier", loss)
        return {"loss": loss.detach(), **norm}

    @torch.no_grad()
    def validate(self) -> Metrics:
        """Measure loss, accuracy, balanced accuracy and F1 of "stable", beside the majority class's accuracy."""
        model = self.evaluated("classifier").eval()
        logits, stable = [], []
        for start in range(0, len(self.val), VALIDATION_BATCH):
            batch = self.prepare(collate(self.val[start : start + VALIDATION_BATCH]), 0, 0).to(self.session.device)
            logits.append(model(one_hot(batch.species), batch.graph))
            stable.append(batch.stable)
        model.train()
        return classification_metrics(torch.cat(logits).cpu(), torch.cat(stable).cpu())


def classification_metrics(logits: Tensor, stable: Tensor) -> Metrics:
    """Score (M, 2) logits against (M,) bool labels; class 1 is stable."""
    called = logits.argmax(dim=-1).bool()
    hits, misses = (called & stable).sum().item(), (~called & stable).sum().item()
    rejections, alarms = (~called & ~stable).sum().item(), (called & ~stable).sum().item()
    prevalence = float(stable.float().mean())
    recall, specificity = hits / max(hits + misses, 1), rejections / max(rejections + alarms, 1)
    return {
        "val/loss": float(functional.cross_entropy(logits, stable.long())),
        "val/accuracy": (hits + rejections) / len(stable),
        "val/balanced_accuracy": (recall + specificity) / 2,
        "val/f1": 2 * hits / max(2 * hits + misses + alarms, 1),
        "val/majority_accuracy": max(prevalence, 1 - prevalence),
        "val/n": float(len(stable)),
    }


def build(config: FinetuneConfig, data: DataSet, session: Session, inputs: dict[str, Path]) -> Finetune:
    """Return the stage; with a `generator` checkpoint among `inputs` it starts from that backbone and takes its
    config."""
    pretrained = inputs.get("generator")
    if pretrained:
        config = config.model_copy(update={"backbone": run_as(read_backbone(pretrained), config.backbone)})
    return Finetune(config, data, session, pretrained)
