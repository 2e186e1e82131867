"""What a sweep over the GAN starts from: the registry's champion where it fits, else a generator pre-trained anew."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from crystalsweep.artifacts.checkpoint_store import CheckpointStore, child
from crystalsweep.artifacts.places import state_folder
from crystalsweep.data import DataSet
from crystalsweep.inference.locate import Location, locate, tracker_for
from crystalsweep.networks.architectures import backbone_config, run_as
from crystalsweep.networks.checkpoint import CheckpointInfo, lineage, read_info
from crystalsweep.sweeping.folder import locked
from crystalsweep.sweeping.plan.plan import Plan
from crystalsweep.sweeping.plan.request import CHAMPION, SCRATCH
from crystalsweep.sweeping.prerequisites import Prerequisite, home, shared
from crystalsweep.tracking.holders import MODEL, holder_of
from crystalsweep.training.catalogue import stage_spec
from crystalsweep.training.config import StageConfig

GENERATOR = "generator"
STARTED_FROM = "started_from"
"""Tag of a sweep and its trainings: the registered version, or what else was named."""

WEIGHTS = f"{GENERATOR}.safetensors"

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Start:
    """A generator that need not be pre-trained."""

    stage: str
    """Whose checkpoint it stands in for."""
    told: str
    """As `crystal-generator version 3`."""
    found: Location
    info: CheckpointInfo
    named: bool
    """Whether it was asked for; the stages then take over its network, as well as its weights."""


def stands_in_for(plan: Plan) -> str | None:
    """Return the prerequisite that a generator makes needless: the first that leaves one; None where none does."""
    return next((stage for stage in plan.prerequisites if stage_spec(stage).leaves == GENERATOR), None)


def look_up(plan: Plan, crystals: DataSet, say: Say, downloads: Path | None = None) -> Start | None:
    """Return what `--start-from` names; None where the sweep pre-trains, which by default is told with the reason.

    It is downloaded below `downloads`, by default where the storage keeps such things.
    Raises `ValueError` where what was named is not there, or does not fit.
    """
    asked, stage = plan.request.start_from, stands_in_for(plan)
    if stage is None or asked == SCRATCH:
        return None
    config = plan.prerequisites[stage]
    reference = f"models:/{MODEL}@champion" if asked == CHAMPION else asked
    tracker = tracker_for(reference, plan.request.tracking_uri, None)
    if asked == CHAMPION and (tracker is None or holder_of(tracker, MODEL, "champion") is None):
        return None
    found = locate(reference, tracker, downloads or state_folder(plan.request.storage) / "downloads")
    info = read_info(found.folder)
    told = f"{found.model} version {found.version}" if found.model else asked
    why = _unfit(found.folder, lineage([found.folder]), config, crystals, named=asked != CHAMPION)
    if not why:
        say(f"starts from {told}{f' (run {found.run})' if found.run else ''}; --start-from scratch pre-trains anew")
        return Start(stage=stage, told=told, found=found, info=info, named=asked != CHAMPION)
    if asked == CHAMPION:
        say(f"the champion, {told}, is left aside: {why}; a generator is pre-trained")
        return None
    raise ValueError(f"--start-from {asked}: {why}")


def _unfit(
    checkpoint: Path,
    trainings: Sequence[Mapping[str, str]],
    config: StageConfig,
    crystals: DataSet,
    *,
    named: bool,
) -> str:
    """Return why a checkpoint cannot stand in for pre-training; one that is named may be of other size and crystals."""
    info = read_info(checkpoint)
    if not (checkpoint / WEIGHTS).exists():
        return f"it is of stage {info.stage} and has no generator"
    network = backbone_config(info.config["backbone"])
    if named:
        return (
            "" if network.name == config.backbone.name else f"its network is {network.name}, not {config.backbone.name}"
        )
    if run_as(network, config.backbone) != config.backbone:
        return (
            f"its network is not this sweep's ({network.name} of width {network.width} and {network.layers} layers, "
            f"here {config.backbone.name} of width {config.backbone.width} and {config.backbone.layers})"
        )
    ours = {"data_sha256": crystals.data_sha256, "split_sha256": crystals.split_sha256}
    if any(ours.items() - each.items() for each in trainings):
        return "it was trained on other crystals, among which may be those that this sweep is judged by"
    return ""


def adopt(start: Start, storage: str, say: Say) -> Prerequisite:
    """Return the same as a prerequisite, where all nodes reach it."""
    weights = (start.found.folder / WEIGHTS).read_bytes()
    key = hashlib.sha256(b"start\n" + weights).hexdigest()
    store = CheckpointStore(child(home(storage, key), start.stage))
    with locked(state_folder(storage) / "prerequisites" / key[:16], wait=say):
        if store.latest() != start.info.epoch:
            store.adopt(start.found.folder, start.info.epoch, start.info.config)
    return Prerequisite(stage=start.stage, key=key, run=start.found.run or "", checkpoint=shared(store))
