"""One evaluation of a property model, from its request to its folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crystalsweep.artifacts.atomic import file_sha256, write_whole
from crystalsweep.artifacts.places import folder_name
from crystalsweep.evaluation.outcome import METRICS_FILE
from crystalsweep.evaluation.properties.asked import PropertyTarget, predicted_by, targets_of, values_of
from crystalsweep.evaluation.properties.inputs import PropertyInputs, read_property_inputs
from crystalsweep.evaluation.properties.outcome import PREDICTIONS_FILE, PropertyEvaluation, read_property_outcome
from crystalsweep.evaluation.properties.pictures import draw_pictures
from crystalsweep.evaluation.properties.report import write_property_report
from crystalsweep.evaluation.properties.scoring import Predicted, score
from crystalsweep.evaluation.properties.tables import bins_of, predictions_table
from crystalsweep.evaluation.report import REPORT_FILE
from crystalsweep.evaluation.run import open_folder
from crystalsweep.evaluation.settings import EvaluationSettings, versions
from crystalsweep.inference.predicting import Predictor, load_predictor
from crystalsweep.metrics.properties.baselines import BASELINES, Seen, predicted_by_baselines
from crystalsweep.metrics.properties.statistic import RESAMPLES
from crystalsweep.networks.checkpoint import CheckpointInfo, lineage, read_info

SCRATCH = "from scratch"
"""Row of the same network, trained as long from random weights."""

_LEARNERS = ("scikit-learn",)
"""Libraries that decide the baselines, beside those that measure."""

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class PropertyRequest:
    """What is asked of the evaluation of a property model."""

    checkpoint: Path
    """Folder of the checkpoint."""
    scratch: Path | None = None
    """Folder of the same network's checkpoint, trained from random weights."""
    source: str | None = None
    """What is predicted; the bundled crystals where left out."""
    part: str | None = None
    reference: str | None = None
    """The run's own data, where `source` is another."""
    max_atoms: int | None = None
    max_crystals: int | None = None
    seed: int = EvaluationSettings().protocol.seed
    """Of samples, trees and resamples; by default that of every evaluation."""
    name: str | None = None
    """Row name; by default the stage."""
    run: str | None = None
    """MLflow run of the checkpoint, where known."""
    out: Path | None = None
    """Result folder; by default `evaluations/NAME-HASH`."""
    report: bool = True
    """Whether plots and page are drawn, which change no figure."""
    device: str = "cpu"
    """Where the networks run."""


def evaluate_property(asked: PropertyRequest) -> tuple[Path, PropertyEvaluation]:
    """Return folder and figures; those in the folder where the same evaluation was finished there.

    Raises `ValueError` where the checkpoint predicts no property, or the data is not the run's.
    """
    predictor, info = load_predictor(asked.checkpoint, asked.device), read_info(asked.checkpoint)
    name = _row_name(asked.name or info.stage)
    inputs = read_property_inputs(
        asked.source,
        asked.part,
        asked.reference,
        info,
        targets_of(predictor),
        max_atoms=asked.max_atoms,
        max_crystals=asked.max_crystals,
        seed=asked.seed,
    )
    request = _request(asked, name, info, inputs, targets_of(predictor))
    folder = asked.out or Path("evaluations") / f"{folder_name(name)}-{_hash(request)[:8]}"
    open_folder(folder, request)
    if (folder / METRICS_FILE).exists() and ((folder / REPORT_FILE).exists() or not asked.report):
        return folder, read_property_outcome(folder)
    scratch = load_predictor(asked.scratch, asked.device) if asked.scratch else None
    predicted = predictions(predictor, scratch, inputs, name, asked.seed)
    bins = bins_of(inputs.asked, inputs.train)
    outcome = PropertyEvaluation(
        name=name,
        model=request["model"],
        data=request["data"],
        settings=request["settings"],
        versions=request["versions"],
        metrics_lock=_hash({"settings": request["settings"], "versions": request["versions"]}),
        flags=_flags(asked, info, inputs, name),
        targets={each.target.name: score(each, bins, asked.seed) for each in predicted},
    )
    write_whole(folder / PREDICTIONS_FILE, predictions_table(inputs.asked, bins, predicted).to_csv(index=False))
    if asked.report:
        write_property_report(outcome, draw_pictures(outcome, predicted, folder / "plots"), folder)
    write_whole(folder / METRICS_FILE, outcome.model_dump_json(indent=2) + "\n")  # last: it says that all is there
    return folder, outcome


def predictions(
    predictor: Predictor, scratch: Predictor | None, inputs: PropertyInputs, name: str, seed: int
) -> list[Predicted]:
    """Return what model, from-scratch network and baselines say of the crystals asked, for each property.

    Args:
        predictor: The model.
        scratch: The same network from scratch, where there is one.
        inputs: Crystals asked, and those that baselines are fitted on.
        name: Row of the model.
        seed: Of the trees.
    """
    crystals = inputs.asked
    own, other = predicted_by(predictor, crystals), predicted_by(scratch, crystals) if scratch else {}
    asked, train = Seen.of(crystals, progress=True), Seen.of(inputs.train, progress=True)
    found = []
    for target in targets_of(predictor):
        labels = values_of(inputs.train, target)
        known = np.asarray(~np.isnan(labels.reshape(len(labels), -1)).any(axis=1))
        fitted = predicted_by_baselines(
            target.kind,
            train.take(known),
            _learned(labels[known], target),
            asked,
            classes=max(len(target.classes), 2),
            seed=seed,
        )
        rows = {name: own[target.name]} | ({SCRATCH: other[target.name]} if target.name in other else {})
        rows |= {row: _as_label(values, target) for row, values in fitted.items()}
        truth = values_of(crystals, target)
        found.append(Predicted(target=target, truth=truth, rows=rows, trained_on=int(known.sum())))
    return found


def _learned(labels: Array, target: PropertyTarget) -> Array:
    """Return labels in the space that the model learned in."""
    return np.log10(labels) if target.log10 else labels


def _as_label(values: Array, target: PropertyTarget) -> Array:
    return np.asarray(10.0**values) if target.log10 else values


def _row_name(name: str) -> str:
    taken = (SCRATCH, *(row for rows in BASELINES.values() for row in rows))
    if name in taken:
        raise ValueError(f"{name!r} is what a row beside every model is called; choose another --name")
    return name


def _request(
    asked: PropertyRequest,
    name: str,
    info: CheckpointInfo,
    inputs: PropertyInputs,
    targets: Sequence[PropertyTarget],
) -> dict[str, Any]:
    """Return what decides every figure; the same request finds its folder again."""
    model: dict[str, Any] = {"run": asked.run} if asked.run else {}
    model |= {
        "stage": info.stage,
        "epoch": info.kept_epoch,
        "step": info.kept_step,
        "weights_sha256": _weights(asked.checkpoint),
        "trained_on": info.data_sha256,
        "split": info.split_sha256,
        "config": info.config,
    }
    if asked.scratch:
        model |= {"scratch_sha256": _weights(asked.scratch)}
    return {
        "kind": "property",
        "name": name,
        "model": model,
        "data": inputs.record(),
        "settings": {
            "seed": asked.seed,
            "max_atoms": asked.max_atoms,
            "max_crystals": asked.max_crystals,
            "resamples": RESAMPLES,
            "targets": [each.model_dump(mode="json") for each in targets],
        },
        "versions": versions(_LEARNERS),
    }


def _weights(checkpoint: Path) -> str:
    """Return sha256 over the networks of a checkpoint."""
    files = sorted(checkpoint.glob("*.safetensors"))
    return hashlib.sha256("".join(f"{file.name}{file_sha256(file)}" for file in files).encode()).hexdigest()


def _flags(asked: PropertyRequest, info: CheckpointInfo, inputs: PropertyInputs, name: str) -> dict[str, list[str]]:
    found = {name: list(inputs.flags)}
    if asked.scratch:
        found[SCRATCH] = unlike(info, read_info(asked.scratch), len(lineage([asked.scratch])))
    return {row: sentences for row, sentences in found.items() if sentences}


def unlike(model: CheckpointInfo, scratch: CheckpointInfo, trainings: int) -> list[str]:
    """Return in what a training from scratch is not the model's own at equal budget, a sentence each; best none.

    Args:
        model: Of the checkpoint evaluated.
        scratch: Of the other one.
        trainings: Of the other one's lineage; one is from scratch.
    """
    told = []
    if trainings > 1:
        told.append(f"it was started from another checkpoint ({trainings} trainings): it is not from scratch")
    if (model.data_sha256, model.split_sha256) != (scratch.data_sha256, scratch.split_sha256):
        told.append("it was trained on other data or another split")
    if model.step != scratch.step:
        told.append(f"it made {scratch.step:,} steps, the model {model.step:,}: budgets are not equal")
    names = sorted((model.config.keys() | scratch.config.keys()) - {"from_scratch"})
    if different := [key for key in names if model.config.get(key) != scratch.config.get(key)]:
        told.append(f"its settings are others: {', '.join(different)}")
    return told


def _hash(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
