"""A property model evaluated into a folder: predictions of every row, scores with intervals, figures, a page."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalsweep.artifacts.atomic import whole_file, write_whole
from crystalsweep.data import DataSet, Part, pick
from crystalsweep.data.target_values import require_labels, target_values
from crystalsweep.evaluation.properties.assessment import Assessment, assess
from crystalsweep.evaluation.properties.baselines import COMPOSITION, Baselines, fit_baselines
from crystalsweep.evaluation.scoring import crystal_systems
from crystalsweep.inference.predicting import Prediction, load_predictor
from crystalsweep.inference.target_records import TargetRecord
from crystalsweep.networks.checkpoint import CheckpointInfo, read_info
from crystalsweep.plots.properties import plot_answers, plot_parity
from crystalsweep.structures.crystal import Crystal
from crystalsweep.structures.targets import Target

Values = NDArray[np.float64]

MODEL, SCRATCH = "model", "from scratch"

FEWEST = 10
"""Labelled crystals of a crystal system below which it has no row of its own."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EvaluatedTarget:
    """One target's predictions and what they come to."""

    record: TargetRecord
    table: pd.DataFrame
    """A row per labelled crystal: id, crystal_system, label, and a column per row of predictions."""
    whole: Assessment
    systems: Mapping[str, Assessment]
    """By crystal system, of those with `FEWEST` crystals or more."""
    baselines: Baselines
    covered: float | None
    """Share of the evaluated crystals whose label is in the interval or set; None where there is none."""
    figure: Path


@dataclass(frozen=True, kw_only=True, eq=False)
class PropertyEvaluation:
    """An evaluation of a property model."""

    name: str
    source: str
    part: str
    crystals: int
    """Of the part, labelled or not, after `left_out`."""
    left_out: Mapping[str, int]
    targets: Sequence[EvaluatedTarget]
    warnings: Sequence[str]
    """What to bear in mind: whose crystals these are."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Hashes and settings."""


def evaluate_properties(
    checkpoint: Path,
    data: DataSet,
    part: Part,
    folder: Path,
    *,
    source: str,
    name: str,
    scratch: Path | None = None,
    max_atoms: int | None = None,
    device: str = "cpu",
    say: Callable[[str], object] = lambda line: None,  # noqa: ARG005
) -> PropertyEvaluation:
    """Evaluate a checkpoint into `folder`, which is made: predictions.csv, metrics.json and the figures.

    Args:
        checkpoint: Of `train finetune`.
        data: Its part is predicted; the train part is what baselines are fitted on.
        part: Which.
        folder: Of results.
        source: What the data are called.
        name: What the model is called.
        scratch: Another checkpoint with the same targets, trained from scratch at equal budget, as a row.
        max_atoms: Larger crystals are left out.
        device: Of the networks.
        say: Hears what is being done.

    Raises:
        ValueError: A target's label is missing, or the checkpoints have other targets.
    """
    predictor, info = load_predictor(checkpoint, device), read_info(checkpoint)
    targets = [record.target for record in predictor.records]
    given = data.part(part)
    kept = [crystal for crystal in given if max_atoms is None or len(crystal) <= max_atoms]
    require_labels(kept, targets, part)
    labelled = [crystal for crystal in kept if any(target.label in crystal.labels for target in targets)]
    say(f"predicting {len(labelled):,} crystals")
    rows = {MODEL: predictor.predict(labelled)}
    if scratch is not None:
        other = load_predictor(scratch, device)
        if [record.name for record in other.records] != [record.name for record in predictor.records]:
            raise ValueError(f"{scratch} learnt {', '.join(r.name for r in other.records)}, not what {checkpoint} did")
        rows[SCRATCH] = other.predict(labelled)
    folder.mkdir(parents=True, exist_ok=True)
    systems = crystal_systems(labelled)
    seed = int(info.config.get("seed", 0))
    found = []
    for record in predictor.records:
        say(f"{record.name}: fitting baselines on the training crystals")
        predictions = {row: each[record.name] for row, each in rows.items()}
        found.append(_evaluated(record, predictions, labelled, data.part("train"), systems, folder, seed))
    done = PropertyEvaluation(
        name=name,
        source=source,
        part=part,
        crystals=len(kept),
        left_out={f"over max_atoms={max_atoms}": len(given) - len(kept), "unlabelled": len(kept) - len(labelled)},
        targets=found,
        warnings=_warnings(info, data),
        facts={
            "checkpoint_data_sha256": info.data_sha256,
            "data_sha256": data.data_sha256,
            "split_sha256": data.split_sha256,
            "stage": info.stage,
            "config": info.config,
        },
    )
    _write(done, folder)
    return done


def _warnings(info: CheckpointInfo, data: DataSet) -> list[str]:
    """Return what is not known of the evaluated crystals: whether the model, or what it started from, had seen them."""
    said = []
    if (info.data_sha256, info.split_sha256) != (data.data_sha256, data.split_sha256):
        said.append(
            "The model was fine-tuned on other data than these, or on another split: whether evaluated crystals were "
            "among them was not compared."
        )
    others = {each.get("data_sha256", "") for each in info.ancestry or []} - {data.data_sha256}
    if others:
        said.append(
            "What it was pre-trained on is other data: structures of the evaluated crystals may be among them, their "
            "labels are not; this was not compared."
        )
    return said


def _evaluated(
    record: TargetRecord,
    predictions: Mapping[str, Prediction],
    crystals: Sequence[Crystal],
    training: Sequence[Crystal],
    systems: Mapping[str, str],
    folder: Path,
    seed: int,
) -> EvaluatedTarget:
    target = record.target
    learnt = target_values(crystals, target)
    known = np.flatnonzero(~np.isnan(learnt))
    chosen = [*pick(crystals, known)]
    wanted = _in_units(target, learnt[known])
    baselines = fit_baselines(target, training, chosen, seed)
    rows = {row: each.value[known] for row, each in predictions.items()}
    rows |= {row: _in_units(target, values) for row, values in baselines.rows.items()}
    own = predictions[MODEL]
    table = pd.DataFrame(
        {"id": [c.id for c in chosen], "crystal_system": [systems[c.id] for c in chosen], "label": wanted, **rows}
    )
    by_system = {
        str(system): assess(target.kind, wanted[at], {row: values[at] for row, values in rows.items()}, MODEL)
        for system, at in table.groupby("crystal_system").indices.items()
        if len(at) >= FEWEST
    }
    figure = folder / f"{''.join(c if c.isalnum() else '_' for c in record.name)}.png"
    if target.kind == "classification":
        plot_answers(record.name, wanted, rows[MODEL], figure)
        inside = np.where(wanted > 0.5, own.yes[known], own.no[known])
    else:
        low, high = own.low[known], own.high[known]
        plot_parity(target.label, target.unit, wanted, rows[MODEL], low, high, figure)
        inside = (low <= wanted) & (wanted <= high)
    return EvaluatedTarget(
        record=record,
        table=table,
        whole=assess(target.kind, wanted, rows, MODEL),
        systems=by_system,
        baselines=baselines,
        covered=float(inside.mean()) if record.margin is not None else None,
        figure=figure,
    )


def _in_units(target: Target, learnt: Values) -> Values:
    return 10**learnt if target.log10 else learnt


def _write(done: PropertyEvaluation, folder: Path) -> None:
    """Write the tables; the same evaluation twice gives the same files."""
    tables = [each.table.assign(target=each.record.name) for each in done.targets]
    with whole_file(folder / "predictions.csv") as partial:
        pd.concat(tables, ignore_index=True).to_csv(partial, index=False)
    content = {
        "kind": "properties",
        "name": done.name,
        "source": done.source,
        "part": done.part,
        "crystals": done.crystals,
        "left_out": dict(done.left_out),
        "warnings": list(done.warnings),
        **done.facts,
        "targets": {each.record.name: _as_json(each) for each in done.targets},
    }
    write_whole(folder / "metrics.json", f"{json.dumps(content, indent=2, sort_keys=True, allow_nan=False)}\n")


def _as_json(each: EvaluatedTarget) -> dict[str, Any]:
    return {
        "n": each.whole.n,
        "record": each.record.model_dump(mode="json"),
        "covered": each.covered,
        "baselines_fitted_on": each.baselines.fitted_on,
        "baselines_sampled": each.baselines.sampled,
        "scores": _records(each.whole.scores),
        "verdicts": _records(each.whole.verdicts),
        "by_crystal_system": {
            system: {"n": own.n, "scores": _records(own.scores), "verdicts": _records(own.verdicts)}
            for system, own in each.systems.items()
        },
    }


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows as JSON has them: None where a number is undefined."""
    rows: list[dict[str, Any]] = [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]
    return [{key: None if isinstance(v, float) and not np.isfinite(v) else v for key, v in row.items()} for row in rows]


BESIDE = COMPOSITION
"""The baseline that a model of structures is held against in every crystal system."""
