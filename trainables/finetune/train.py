"""Fine-tuning: the pre-trained backbone learns properties; stability first (paper, Fig. 1C)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from crystalsweep.data import DataSet, pick
from crystalsweep.data.classes import MOST_CLASSES, classes_of
from crystalsweep.data.packed import ids_of
from crystalsweep.data.spectra import column_of
from crystalsweep.data.target_values import require_answers, require_labels, target_values, told_answers
from crystalsweep.inference.familiarity import training_of
from crystalsweep.inference.target_records import SpectrumRecord, TargetRecord, Values, write_targets
from crystalsweep.losses.properties import property_loss
from crystalsweep.networks.architectures import run_as
from crystalsweep.networks.checkpoint import lineage, read_backbone, read_weights
from crystalsweep.networks.models import PropertyModel, load_matching, one_hot, pristine_graph_of
from crystalsweep.structures.batch import CrystalBatch, collate, on_device
from crystalsweep.structures.crystal import Crystal
from crystalsweep.structures.graph import Graph
from crystalsweep.structures.targets import Target
from crystalsweep.training.layer_rates import layer_factors
from crystalsweep.training.records import SCORED_FILE
from crystalsweep.training.session import Session
from crystalsweep.training.stage import Losses, Metrics, Stage, average_degree, used
from trainables.finetune.config import FinetuneConfig
from trainables.finetune.validation import calibrated, errors_table, learnt_errors, mean_error, property_metrics

VALIDATION_BATCH = 128

ERRORS_FILE = SCORED_FILE["predictions"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Labelled:
    """Crystals with what is to be learnt of them, and their graph."""

    wanted: Tensor
    """(B, W) scaled labels, 1 for yes and 0 for no, or the index of a class, a column for each target and each point
    of a spectrum; NaN where unlabelled."""
    species: Tensor
    """(n,)."""
    graph: Graph

    def to(self, device: torch.device) -> Labelled:
        """Return the same on another device."""
        return on_device(self, device)


class Finetune(Stage):
    """A property model with as many outputs as its targets take; of stability alone two, of which 1 is stable."""

    name = "finetune"
    config: FinetuneConfig

    def __init__(self, config: FinetuneConfig, data: DataSet, session: Session, pretrained: Path | None) -> None:
        super().__init__(config, data, session)
        labels = [target.label for target in config.asked]
        for part in ("train", "val"):
            require_labels(data.part(part), config.asked, part, data.notes)
        whole = config.model_copy(update={"train_share": 1.0})
        labelled, _ = used(data.train, whole, split="train", labels=labels)
        learnt, _ = used(data.train, config, split="train", labels=labels)
        require_labels(learnt, config.asked, f"of {len(learnt):,} train crystals (train_share={config.train_share:g})")
        self.train = pick(learnt, np.resize(np.arange(len(learnt)), len(labelled)))  # as many steps for every share
        self.val, _ = used(data.val, config, split="val", labels=labels)
        self.records = [_record(config, target, learnt, self.val) for target in config.asked]
        told = [told_answers(self.val, record.target, record.classes) for record in self.records]
        for line in filter(None, told if session.rank == 0 else ()):
            session.tell(line)
        self._training = training_of(learnt)
        self._means = [_mean_of(each, _values(learnt, each)) for each in self.records]
        self._errors: pd.DataFrame | None = None
        self._val_wanted = [record.scaled(_values(self.val, record)) for record in self.records]
        torch.manual_seed(config.seed)
        classifier = PropertyModel(config.backbone, sum(record.outputs for record in self.records), config.pooling)
        classifier.backbone.average_degree.fill_(average_degree(learnt, config))
        if pretrained:
            self.dropped = load_matching(classifier, read_weights(pretrained, "generator"))
            self.ancestry = lineage([pretrained])
        if config.trainable == "head":
            classifier.backbone.requires_grad_(False)
        factors = layer_factors(classifier, classifier.backbone, config.layer_decay)
        self.classifier = self.learn("classifier", classifier, config.learning_rate, factors=factors)

    def prepare(self, batch: CrystalBatch, epoch: int, step: int) -> Labelled:
        """Return the batch with what is wanted of it and its graph."""
        del epoch, step
        graph = pristine_graph_of(batch, self.config.backbone)
        wanted = _side_by_side([record.scaled(_values(batch.crystals, record)) for record in self.records])
        return Labelled(wanted=wanted, species=batch.species, graph=graph)

    def step(self, batch: Labelled, epoch: int, step: int) -> Losses:
        """Make one update on labelled crystals."""
        del epoch, step
        given = batch.to(self.session.device)
        answers = self.classifier(one_hot(given.species), given.graph)
        losses = self._losses(answers, given.wanted)
        loss = torch.stack(losses).mean()
        norm = self.update("classifier", loss)
        each = zip(self.records, losses, strict=True) if len(losses) > 1 else ()
        return {"loss": loss.detach(), **{f"loss/{r.name}": part.detach() for r, part in each}, **norm}

    @torch.no_grad()
    def validate(self) -> Metrics:
        """Measure each target on the validation crystals, beside what knows nothing of the crystal, and how far off its
        predictions may be."""
        model = self.evaluated("classifier").eval()
        answers = []
        for start in range(0, len(self.val), VALIDATION_BATCH):
            batch = collate(self.val[start : start + VALIDATION_BATCH])
            graph = pristine_graph_of(batch, self.config.backbone)
            given = Labelled(wanted=torch.empty(0), species=batch.species, graph=graph).to(self.session.device)
            answers.append(model(one_hot(given.species), given.graph))
        model.train()
        outputs = torch.cat(answers).cpu()
        losses = self._losses(outputs, _side_by_side(self._val_wanted))
        metrics = {"val/loss": float(torch.stack(losses).mean())}
        if not torch.isfinite(outputs).all():
            return {"val/loss": float("nan")}  # told as a training that diverged
        records, errors = [], {}
        parts = outputs.double().split([record.outputs for record in self.records], dim=1)
        for i, (record, part) in enumerate(zip(self.records, parts, strict=True)):
            own = part.numpy()
            found = property_metrics(record, own, self._val_wanted[i], self._means[i])
            prefix = "val" if len(self.records) == 1 else f"val/{record.name}"
            metrics |= {f"{prefix}/{name}": value for name, value in found.items()}
            errors[record.name] = learnt_errors(record, own, self._val_wanted[i])
            metrics |= {f"{prefix}/{name}": value for name, value in mean_error(errors[record.name]).items()}
            records.append(calibrated(record, own, self._val_wanted[i], self.config.seed))
        self.records, self._errors = records, errors_table(ids_of(self.val), errors)
        return metrics

    def write_extra(self, folder: Path) -> None:
        """Write `targets.json`, and the errors of the last validation, a row per crystal and target."""
        write_targets(folder, self.records, self._training)
        if self._errors is not None:
            self._errors.to_parquet(folder / ERRORS_FILE, index=False, write_page_checksum=True)

    def _losses(self, answers: Tensor, wanted: Tensor) -> list[Tensor]:
        own = answers.split([record.outputs for record in self.records], dim=1)
        labels = wanted.split([record.columns for record in self.records], dim=1)
        return [
            property_loss(each, label, record.target.kind, self.config.loss)
            for record, each, label in zip(self.records, own, labels, strict=True)
        ]


def _record(config: FinetuneConfig, target: Target, learnt: Sequence[Crystal], val: Sequence[Crystal]) -> TargetRecord:
    """Return a target with the scale of its training labels; answers keep theirs, and so does what does not vary. Its
    classes are those that any training or validation crystal is of, its grid the one on which they have the spectrum.

    Of a sum over atoms no mean is taken off: a twice as large cell would no longer have twice the label.
    """
    if target.spectrum:
        return _spectrum_record(config, target, learnt, val)
    classes = classes_of([learnt, val], target.label) if target.classed else ()
    if target.classed and not 2 <= len(classes) <= MOST_CLASSES:
        there = ", ".join(classes[:MOST_CLASSES])
        raise ValueError(
            f"{target.name}: 2 to {MOST_CLASSES} classes can be learnt, here are {len(classes):,}: {there}"
        )
    require_answers(learnt, target, classes)
    values = target_values(learnt, target, classes)
    known = values[~np.isnan(values)]
    counts = tuple(int((known == i).sum()) for i in range(len(classes)))
    record = TargetRecord(
        name=target.name,
        mean=0.0,
        std=1.0,
        trained_on=len(known),
        coverage=config.coverage,
        classes=classes,
        counts=counts,
    )
    if record.target.kind == "classification" or not len(known):
        return record
    spread, middle = float(known.std()), 0.0 if config.pooling == "sum" else float(known.mean())
    return record.model_copy(update={"mean": middle, "std": spread if spread > 0 else 1.0})


def _spectrum_record(
    config: FinetuneConfig, target: Target, learnt: Sequence[Crystal], val: Sequence[Crystal]
) -> TargetRecord:
    column = column_of([learnt, val], target.label)
    assert column is not None, "crystals without a label were refused before"
    values = target_values(learnt, target, column=column)
    known = values[~np.isnan(values).any(axis=1)]
    mean = known.mean(axis=0)
    spread = float(np.sqrt(((known - mean) ** 2).mean()))
    middle = np.zeros_like(mean) if config.pooling == "sum" else mean
    return TargetRecord(
        name=target.name,
        mean=0.0,
        std=spread if spread > 0 else 1.0,
        trained_on=len(known),
        coverage=config.coverage,
        spectrum=SpectrumRecord(grid=column.grid, mean=tuple(middle.tolist())),
    )


def _values(crystals: Sequence[Crystal], record: TargetRecord) -> Values:
    """Return (M,), or (M, P), what is learnt of crystals, unscaled."""
    return target_values(crystals, record.target, record.classes, record.column)


def _side_by_side(wanted: Sequence[Values]) -> Tensor:
    """Return (M, W) of arrays (M,) and (M, P)."""
    return torch.from_numpy(np.concatenate([each.reshape(len(each), -1) for each in wanted], axis=1)).float()


def _mean_of(record: TargetRecord, values: Values) -> Values:
    """Return the mean of the training labels in scaled units, (1,) or (P,), which a model that knows no crystal
    predicts; 0 where there is none."""
    scaled = record.scaled(values).reshape(len(values), -1)
    known = scaled[~np.isnan(scaled).any(axis=1)]
    return np.asarray(known.mean(axis=0)) if len(known) else np.zeros(scaled.shape[1])


def build(config: FinetuneConfig, data: DataSet, session: Session, inputs: dict[str, Path]) -> Finetune:
    """Return the stage; with a `generator` checkpoint among `inputs` it starts from that backbone and takes its
    config."""
    pretrained = inputs.get("generator")
    if pretrained:
        config = config.model_copy(update={"backbone": run_as(read_backbone(pretrained), config.backbone)})
    return Finetune(config, data, session, None if config.from_scratch else pretrained)
