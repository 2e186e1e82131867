"""Evaluating and comparing from Python, as `crystalsweep evaluate` and `compare` do from a shell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from crystalsweep.artifacts.places import default_storage
from crystalsweep.config import override
from crystalsweep.evaluation.comparing import compare_evaluations
from crystalsweep.evaluation.driver import evaluate_checkpoint, evaluate_structures
from crystalsweep.evaluation.freezing import require_same_crystals
from crystalsweep.evaluation.outcome import Evaluation
from crystalsweep.evaluation.request import EvaluationRequest, Machine
from crystalsweep.evaluation.settings import EvaluationSettings
from crystalsweep.evaluation.suite import find_suite
from crystalsweep.inference.locate import is_local, tracker_for


def evaluate(
    checkpoint: str | Path | None = None,
    *,
    structures: str | Path | None = None,
    data: str | None = None,
    part: str | None = None,
    reference: str | None = None,
    originals: str | None = None,
    suite: str | None = None,
    calculator: str | None = None,
    settings: Sequence[str] = (),
    out: str | Path | None = None,
    name: str | None = None,
    workers: int | None = None,
    device: str | None = None,
    tracking_uri: str | None = None,
    storage: str | Path | None = None,
) -> Evaluation:
    """Score a generator's restored crystals, or crystals of a file, with ceiling, baselines and 95 % intervals.

    The result folder has report.html, metrics.json and a row per crystal; nothing is logged to MLflow.

        outcome = crystalsweep.evaluate("runs/gan", suite="bundled-100", out="evaluations/gan")
        outcome.rows[outcome.name]["compositional_validity"].mean

    Args:
        checkpoint: Run folder, MLflow run id, `models:/name@alias`, or a reference row such as `identity`.
        structures: Instead: crystals made by any tool, as a file or folder; needs `reference`.
        data: Crystals to corrupt and restore: `bundled`, which is the default, a data set, or TRAIN,VAL.
        part: Part of `data`: train, val, test or all; by default test, else val, else all.
        reference: Training crystals to be new against; by default the train part of `data`.
        originals: True crystals of the same ids as `structures`; by default those of `reference`.
        suite: Instead of data and settings: a frozen suite by name, or the path of its .json file.
        calculator: That of the suite, where it is code of your own (`module:factory`, `uma:FILE`): nothing that only a
            file names is run. Without a suite, the one of the settings.
        settings: Assignments such as `max_atoms=20`, as `crystalsweep evaluate --settings` lists them.
        out: Result folder; by default `evaluations/NAME-HASH`. An evaluation that was begun there goes on.
        name: What tables and plots call it.
        workers: Processes, on Ray if more than one; by default one for few crystals, else one per CPU.
        device: cpu, cuda, …; by default the GPU if there is one.
        tracking_uri: MLflow server or database of run ids and names; by default MLFLOW_TRACKING_URI, or the local one.
        storage: Folder of the local store and of downloads; by default ~/crystalsweep.

    Raises:
        ValueError: Options do not go together, or something named is not there.
    """
    machine, place = Machine(workers=workers, device=device), Path(storage) if storage else default_storage()
    target = Path(out) if out else None
    named = [f"energies.calculator={calculator}"] if calculator else []
    if suite:
        if checkpoint is None or settings or reference or part or data:
            raise ValueError("a suite is frozen: it goes with a checkpoint, without other data or settings")
        frozen = find_suite(suite, calculator)
        require_same_crystals(frozen)
        asked = EvaluationRequest.of_suite(frozen, str(checkpoint), out=target, name=name, machine=machine)
    else:
        asked = EvaluationRequest(
            checkpoint=None if checkpoint is None else str(checkpoint),
            structures=None if structures is None else Path(structures),
            source=data,
            part=part,
            reference=reference,
            originals=originals,
            settings=override(EvaluationSettings(), [*named, *settings]),
            out=target,
            name=name,
            machine=machine,
        )
    asked.require_sound()
    if asked.structures is not None:
        return evaluate_structures(asked)[1]
    return evaluate_checkpoint(asked, tracker_for(str(checkpoint), tracking_uri, place), place)[1]


def compare(
    *evaluations: str | Path,
    all_metrics: bool = False,
    all_pairs: bool = False,
    preset: str | None = None,
    tracking_uri: str | None = None,
    storage: str | Path | None = None,
) -> tuple[pd.DataFrame, list[str]]:
    """Say per metric whether evaluations differ: better, worse, or not resolved.

        verdicts, notes = crystalsweep.compare("evaluations/control", "evaluations/gan")

    Args:
        *evaluations: Folders of evaluations, or MLflow runs as RUN_ID or RUN_ID/NAME; the first is the baseline.
            "A,B,C" or "NAME=A,B,C" is one arm, a training seed each.
        all_metrics: Compare every metric that they have, not the headline alone.
        all_pairs: Each against each; otherwise every one against the first.
        preset: Compare the scores that `crystalsweep rescore` has added under this name.
        tracking_uri: MLflow server or database of run ids; by default MLFLOW_TRACKING_URI, or the local one.
        storage: Folder of the local store and of downloads; by default ~/crystalsweep.

    Returns:
        A row per pair and metric with difference, 95 % interval, corrected p and verdict; and what to know of them.

    Raises:
        ValueError: There are fewer than two, or they cannot be compared.
    """
    if len(evaluations) < 2:
        raise ValueError("give two evaluations or more")
    place = Path(storage) if storage else default_storage()
    return compare_evaluations(
        [str(each) for each in evaluations],
        next((tracker_for(each, tracking_uri, place) for each in map(str, evaluations) if not is_local(each)), None),
        place / "downloads",
        all_metrics=all_metrics,
        all_pairs=all_pairs,
        preset=preset,
    )
