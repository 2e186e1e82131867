"""One evaluation from its request to its folder: a checkpoint under the paper's protocol, or crystals from a file."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from crystalsweep.artifacts.places import folder_name
from crystalsweep.data import DataError, fingerprint, read, told_of
from crystalsweep.evaluation.energy_rows import Energies
from crystalsweep.evaluation.inputs import Inputs, normalised, read_inputs
from crystalsweep.evaluation.models import (
    EvaluatedModel,
    allowed_name,
    find_model,
    is_row,
    reference_rows,
    row_as_model,
)
from crystalsweep.evaluation.outcome import METRICS_FILE as METRICS
from crystalsweep.evaluation.outcome import Evaluation, read_outcome
from crystalsweep.evaluation.protocol import blocks
from crystalsweep.evaluation.redrawing import redraw
from crystalsweep.evaluation.report import REPORT_FILE
from crystalsweep.evaluation.request import EvaluationRequest, Machine
from crystalsweep.evaluation.results import finish_evaluation
from crystalsweep.evaluation.run import ROWS, open_folder, run_evaluation
from crystalsweep.evaluation.scoring import MODEL, Protocol, crystal_systems, energy_sample
from crystalsweep.evaluation.seen import learned_from
from crystalsweep.evaluation.settings import EvaluationSettings, versions
from crystalsweep.evaluation.spread import Task, Workers
from crystalsweep.evaluation.structures import POSITIONS
from crystalsweep.evaluation.submitted import SubmissionTask, pair, parts_of
from crystalsweep.evaluation.whole_table import whole_table_columns
from crystalsweep.metrics.baselines import REFERENCES
from crystalsweep.metrics.novelty import Reference
from crystalsweep.networks.checkpoint import CheckpointInfo, trainings
from crystalsweep.structures.crystal import Crystal
from crystalsweep.tracking.tracker import Tracker

P = TypeVar("P")


def evaluate_checkpoint(
    asked: EvaluationRequest, tracker: Tracker | None, storage: Path
) -> tuple[Path, Evaluation, EvaluatedModel]:
    """Return the folder and figures of the whole protocol on one model, and the model; goes on where it was left.

    Run ids and registered names are looked up in `tracker`, and what it gives is kept in `storage`.
    """
    assert asked.checkpoint is not None
    settings, machine = asked.settings, asked.machine
    chosen = allowed_name(asked.name) if asked.name else None
    found = None if is_row(asked.checkpoint) else find_model(asked.checkpoint, tracker, storage / "downloads")
    learned = trainings(found.info) if found and found.info else ()
    inputs = read_inputs(asked.source or "bundled", asked.part, asked.reference, settings, learned)
    counts = inputs.counts()
    model = found or row_as_model(asked.checkpoint, counts)
    model = replace(model, name=chosen or model.name)
    if settings.decode.critic_weight and model.info and not model.critic:
        raise ValueError(f"decode.critic_weight is above 0, but {asked.checkpoint} has no critic; leave it out")
    if model.info and (told := _told_learned(model.info, inputs)):
        inputs = replace(inputs, told=(*inputs.told, told))
    energies = _energies(settings, inputs, machine)
    parts = blocks(inputs.parents, settings.protocol)
    request = _request("checkpoint", model.name, _model_record(model), inputs.record(), settings)
    folder = asked.out or Path("evaluations") / f"{folder_name(model.name)}-{_short(request)}"
    evaluated = list({case.parent.id: case.parent for each in parts for case in each.cases}.values())

    def task() -> Protocol:
        return Protocol(
            restorer=model.restorer,
            references=reference_rows(counts),
            settings=settings,
            reference=Reference(inputs.reference) if inputs.reference else None,
            train_counts=counts,
            crystal_systems=crystal_systems(evaluated),
            with_energies=energy_sample(parts, settings.energies.max_parents, settings.protocol.seed),
            energies=energies,
            device=machine.torch_device,
            critic=model.critic,
            calibration=model.calibration,
        )

    sizes = [len(each.cases) for each in parts]
    outcome = _carry_out(folder, request, asked, task, parts, sizes, evaluated, energies)
    return folder, outcome, model


def _told_learned(info: CheckpointInfo, inputs: Inputs) -> str:
    """Return a line where a model learned from a part of the training crystals that it is held against."""
    if not inputs.reference_is_training_set:
        return ""
    config, known = info.config, inputs.reference
    learned = len(learned_from(known, info))
    if learned == len(known):
        return ""
    chosen = [f"{key}={config[key]}" for key in ("stable_only", "max_atoms", "max_crystals") if config.get(key)]
    return (
        f"the model's stage {info.stage} learned from {learned:,} of the {len(known):,} training crystals "
        f"({', '.join(chosen)}); novelty and frequencies are of all of them"
    )


def evaluate_structures(asked: EvaluationRequest) -> tuple[Path, Evaluation]:
    """Return the folder and scores of crystals from a file; every row of it is a row of the result, readable or not.

    Raises:
        DataError: Something cannot be read, or holds no crystal.
        ValueError: The settings choose parents, which a file has none of.
    """
    structures, settings, machine = asked.structures, asked.settings, asked.machine
    assert structures is not None
    assert asked.reference is not None
    reference, originals = normalised(asked.reference), normalised(asked.originals) if asked.originals else None
    filters = {
        "max_atoms": settings.max_atoms is not None,
        "protocol.max_crystals": settings.protocol.max_crystals is not None,
        "stable_only": settings.stable_only,
    }
    if chosen := [key for key, asked in filters.items() if asked]:
        raise ValueError(f"{', '.join(chosen)} go with --checkpoint: every crystal of --structures is scored")
    inputs = read_inputs(reference, "all", reference, settings)
    paired = read_inputs(originals, "all", None, settings) if originals else inputs
    reading = read(structures, progress=True)
    own = told_of(str(structures), reading.crystals, [], reading.notes)  # what could not be read is counted as failed
    if not reading.n_rows:
        raise DataError(f"{structures}: no rows; give a file or folder with crystals")
    submissions = pair(reading.crystals, reading.rejects, {crystal.id: crystal for crystal in paired.parents})
    energies = _energies(settings, inputs, machine)
    data = inputs.record() | {
        "source": str(structures),
        "part": "all",
        "parents": len(submissions),
        "data_sha256": fingerprint(reading.crystals) if reading.crystals else "",
        "with_original": sum(each.original is not None for each in submissions),
        "unreadable": len(reading.rejects),
        "originals": originals or reference,
        "originals_sha256": paired.data_sha256,
        "told": list(dict.fromkeys((*own, *paired.told, *inputs.told))),
    }
    title = allowed_name(asked.name or structures.stem)
    request = _request("structures", title, {"structures": str(structures)}, data, settings)
    folder = asked.out or Path("evaluations") / f"{folder_name(title)}-{_short(request)}"
    truth = [each.original for each in submissions if each.original] or inputs.reference
    distinct = list({crystal.id: crystal for crystal in truth}.values())
    generator = np.random.default_rng(settings.protocol.seed)
    sampled = generator.permutation(len(submissions))[: settings.energies.max_parents]

    def task() -> SubmissionTask:
        return SubmissionTask(
            settings=settings,
            reference=Reference(inputs.reference),
            energies=energies,
            with_energies=frozenset(submissions[i].id for i in sampled),
            with_ceiling=any(each.original for each in submissions),
        )

    parts = parts_of(submissions)
    sizes = [len(each) for each in parts]
    return folder, _carry_out(folder, request, asked, task, parts, sizes, distinct, energies)


def _carry_out(
    folder: Path,
    request: dict[str, Any],
    asked: EvaluationRequest,
    make_task: Callable[[], Task[P]],
    parts: Sequence[P],
    sizes: Sequence[int],
    true_crystals: Sequence[Crystal],
    energies: Energies | None,
) -> Evaluation:
    """Return the figures of a request: those in its folder if it is finished there, else computed, from where it was
    left."""
    open_folder(folder, request)
    settings, machine = asked.settings, asked.machine
    if (folder / METRICS).exists() and not (folder / ROWS).exists():
        if asked.report and not (folder / REPORT_FILE).exists():  # of a start that left it out
            redraw(folder)
        return read_outcome(folder)
    n = machine.for_crystals(sum(sizes))
    with Workers(n, gpu=n > 1 and machine.torch_device.startswith("cuda")) as workers:
        tables = run_evaluation(make_task(), parts, sizes, folder, workers)
        doubts = energies.doubts(tables[MODEL], true_crystals) if energies else []
        tables = whole_table_columns(tables, settings.metrics, true_crystals, with_sun=not doubts, workers=workers)
    tables[MODEL] = tables[MODEL].drop(columns=POSITIONS["after"])
    outcome = finish_evaluation(
        folder,
        tables,
        name=request["name"],
        kind=request["kind"],
        model=request["model"],
        data=request["data"],
        settings=settings,
        true_crystals=true_crystals,
        energies=energies.record() | {"doubts": doubts} if energies else {},
        report=asked.report,
    )
    shutil.rmtree(folder / ROWS)
    return outcome


def _energies(settings: EvaluationSettings, inputs: Inputs, machine: Machine) -> Energies | None:
    if settings.energies.calculator == "none":
        return None
    energies = Energies(settings.energies, inputs.labelled, machine.torch_device)
    _ = energies.calculator  # a name that means nothing is better told before work starts
    return energies


def _request(
    kind: str, name: str, model: Mapping[str, Any], data: Mapping[str, Any], settings: EvaluationSettings
) -> dict[str, Any]:
    """Return what decides every figure; the same request finds its folder again."""
    return {
        "kind": kind,
        "name": name,
        "model": dict(model),
        "data": dict(data),
        "settings": settings.model_dump(mode="json"),
        "versions": versions(),
        "references": list(REFERENCES),
    }


def _short(request: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()[:8]


def _model_record(model: EvaluatedModel) -> dict[str, Any]:
    if model.info is None:
        return {"reference_row": model.name}
    info = model.info
    weights = {"run": model.run} if model.run else {}
    if model.critic_sha256:
        weights["critic_sha256"] = model.critic_sha256
    if model.calibration:
        weights["calibration_sha256"] = model.calibration.fingerprint()
    return weights | {
        "stage": info.stage,
        "epoch": info.kept_epoch,
        "weights_sha256": model.weights_sha256,
        "trained_on": info.data_sha256,
        "split": info.split_sha256,
        "config": info.config,
    }
