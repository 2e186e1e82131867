"""What a sweep does before anything starts: read crystals, resolve the plan, look up what to start from.

Imports neither Ray nor MLflow, so that `--dry-run` does with this alone.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from crystalsweep.data import DataSet, Note, absolute_source, load_data, told_of_data
from crystalsweep.data.labels import has_label, told_labels
from crystalsweep.data.splitting import PARTS
from crystalsweep.energies import energy_calculator
from crystalsweep.networks.architectures import backbone_config
from crystalsweep.provenance import code_sha256
from crystalsweep.structures.crystal import Crystal
from crystalsweep.sweeping.display.display import Display, display
from crystalsweep.sweeping.folder import (
    SweepRecord,
    allowed,
    find_sweep,
    locked,
    moved,
    new_name,
    read_sweep,
)
from crystalsweep.sweeping.plan.plan import Plan
from crystalsweep.sweeping.plan.refusals import require_sound
from crystalsweep.sweeping.plan.request import SweepRequest
from crystalsweep.sweeping.space.spec import SweepSpec
from crystalsweep.sweeping.start import Start, look_up
from crystalsweep.training.catalogue import StageSpec, stage_spec
from crystalsweep.training.config import StageConfig
from crystalsweep.training.stage import used


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A sweep that can begin."""

    plan: Plan
    crystals: DataSet
    start: Start | None
    """What stands in for pre-training."""


def tell_plan(
    spec: SweepSpec, request: SweepRequest, *, given: Mapping[str, Any], resume: str | None, json: bool
) -> None:
    """Print plan and expected cost of a sweep, or with `resume` of what is left of one, and start nothing.

    Args:
        spec: What the sweep's page says.
        request: What was asked.
        given: Options that were typed, which a resumed sweep is asked anew.
        resume: Name of a sweep, or `latest`; None asks of a new one.
        json: Write a JSON object per line.
    """
    screen = display(json=json)
    try:
        spec.reporter()  # a wrong place is told now, not at the end
        if not resume:
            _tell(spec, new_record(spec, request), screen, resumed=False)
            return
        folder = find_sweep(request.storage, spec.name, resume)
        with locked(folder):
            _tell(spec, resumed_record(spec, folder, request, given), screen, resumed=True)
    except KeyboardInterrupt:
        screen.say("stopped", error=True)
        sys.exit(130)
    finally:
        screen.close()


def _tell(spec: SweepSpec, record: SweepRecord, screen: Display, *, resumed: bool) -> None:
    with TemporaryDirectory() as scratch:
        ready = prepared(spec, record, screen, resumed=resumed, downloads=Path(scratch))
    found = [ready.start.stage] if ready.start else []
    screen.say(ready.plan.describe(ready.plan.forecast(ready.crystals, found=found)))


def new_record(spec: SweepSpec, request: SweepRequest) -> SweepRecord:
    """Return the record of a sweep that has not begun."""
    request = replace(request, data=absolute_source(request.data))
    return SweepRecord(
        name=new_name(spec.name), sweep=spec.name, request=request, code_sha256="", data_sha256="", split_sha256=""
    )


def resumed_record(spec: SweepSpec, folder: Path, request: SweepRequest, given: Mapping[str, Any]) -> SweepRecord:
    """Return the record of a sweep that goes on, with what was asked anew.

    Raises `ValueError` for what does not go together.
    """
    record = read_sweep(folder)
    record.request = moved(allowed(record.request, given), request.storage)
    if {"num_samples", "max_concurrent"} & given.keys():
        record.forecast = {}
    require_sound(record.request, record.request.search_space(spec))
    return record


def prepared(
    spec: SweepSpec, record: SweepRecord, screen: Display, *, resumed: bool, downloads: Path | None = None
) -> Prepared:
    """Return a sweep that can begin; its record then says which crystals and code it begins with.

    Args:
        spec: What the sweep's page says.
        record: Of the sweep.
        screen: Where what is left out, and what is started from, is told.
        resumed: Whether it goes on: with the crystals that it began with, and from what it has.
        downloads: Folder for what is only looked at; by default the storage keeps it.
    """
    request = record.request
    crystals = load_data(request.data, progress=True)
    for line in told_of_data(request.data, crystals):
        screen.say(line, error=True)
    plan = Plan(spec=spec, request=request, space=request.search_space(spec))
    if plan.space.judges:
        energy_calculator(plan.space.judges.calculator)  # a name that means nothing is told now, not at the end
    for line in _require_usable(plan.space.stages, crystals):
        screen.say(line)
    if resumed:
        _require_same(record, crystals, screen)
    record.data_sha256, record.split_sha256 = crystals.data_sha256, crystals.split_sha256
    record.code_sha256 = code_sha256()
    start = None if resumed else look_up(plan, crystals, screen.say, downloads)
    if start and start.named:
        record.network = dict(start.info.config["backbone"])
    if record.network:
        plan = plan.on(backbone_config(record.network))
    return Prepared(plan=plan, crystals=crystals, start=start)


def _require_usable(stages: Mapping[str, StageConfig], crystals: DataSet) -> list[str]:
    """Require crystals to train and validate on, for the classifier labels: better told now than by a worker.

    Returns how many each stage uses, in a line for each split.
    """
    told = []
    for part in PARTS[:2]:
        for stage, config in stages.items():
            labels = stage_spec(stage).labels(config)
            _require_labels(stage_spec(stage), labels, crystals.part(part), part, crystals.notes)
            told.append(f"{stage}: {used(crystals.part(part), config, split=part, labels=labels)[1]}")
    return told


def _require_labels(
    stage: StageSpec, labels: Sequence[str], crystals: Sequence[Crystal], part: str, notes: Sequence[Note]
) -> None:
    for label in labels:
        if not has_label(crystals, label).any():
            raise ValueError(
                f"no {part} crystal has a label {label}, which the {stage.leaves} learns from; the labels there are: "
                f"{told_labels(crystals, labels, notes)}; add the column, or train `crystalsweep train pretrain --set "
                "stable_only=false` alone"
            )


def _require_same(record: SweepRecord, crystals: DataSet, screen: Display) -> None:
    """Require a sweep's own data to go on; other code is said, and recorded on the runs it makes."""
    if (record.data_sha256, record.split_sha256) != (crystals.data_sha256, crystals.split_sha256):
        raise ValueError(f"{record.request.data} is not the data that {record.name} began with; start a new sweep")
    if record.code_sha256 != code_sha256():
        screen.say(
            f"{record.name} began with other code ({record.code_sha256[:12]}, now {code_sha256()[:12]}): "
            "what follows is trained by the code as it is now",
            error=True,
        )
