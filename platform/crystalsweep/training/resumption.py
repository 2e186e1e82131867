"""What a training leaves after an epoch, and how it goes on from there exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crystalsweep.artifacts.kept import KEPT
from crystalsweep.data import DataSet
from crystalsweep.networks.checkpoint import (
    CheckpointInfo,
    read_info,
    read_training_state,
    read_weights,
    save_checkpoint,
)
from crystalsweep.training.best import BestFiles
from crystalsweep.training.config import StageConfig
from crystalsweep.training.machine import backbones
from crystalsweep.training.stage import Metrics, Stage

FREE = {"max_minutes", "patience", "ahead", "backbone.activation_checkpointing"}
"""Settings that may differ when a run is resumed: they change no number that an epoch gives."""

TRAINED = "/trained"
"""Ends the name of a network's weights as they are trained, in the training state, where those evaluated are others."""


COMPILED = "/compiled"
"""Whether each backbone was, in the training state: compiled or not, the ninth digit differs."""


def save(stage: Stage, metrics: Metrics, folder: Path, *, best: BestFiles | None = None) -> None:
    """Write the checkpoint of the epoch that `metrics` are of.

    Args:
        stage: As it is after that epoch.
        metrics: Of the epoch; where they name another as `KEPT`, that one's weights are left.
        folder: Existing and empty.
        best: Keeps those weights.
    """
    info = CheckpointInfo(
        stage=stage.name,
        config=stage.config.model_dump(mode="json"),
        epoch=int(metrics["epoch"]),
        step=int(metrics["step"]),
        data_sha256=stage.data.data_sha256,
        split_sha256=stage.data.split_sha256,
        metrics=metrics,
        dropped=stage.dropped,
        ancestry=stage.ancestry,
    )
    save_checkpoint(folder, info, {name: stage.evaluated(name) for name in stage.models}, _training_state(stage))
    stage.write_extra(folder)
    if best is not None and KEPT in metrics:
        if metrics[KEPT] == metrics["epoch"]:
            best.take(folder)
        else:
            best.give(folder)


def _training_state(stage: Stage) -> dict[str, Any]:
    """Return what resuming needs beside the weights that are evaluated, which are not those trained where they are
    averaged or the best epoch's."""
    state: dict[str, Any] = {name: optimizer.state_dict() for name, optimizer in stage.optimizers.items()}
    state[COMPILED] = [backbone.compiles for backbone in backbones(stage)]
    for name, model in stage.models.items():
        average = stage.averages.get(name)
        if average or stage.config.keep_best:
            state[f"{name}{TRAINED}"] = {"weights": model.state_dict(), "updates": average.updates if average else 0}
        if average and stage.config.keep_best:
            state[f"{name}{TRAINED}"]["average"] = average.model.state_dict()
    return state


def resume(stage: Stage, folder: Path | None) -> CheckpointInfo | None:
    """Load a checkpoint of this run. Raises `ValueError` when it was made with other settings or data."""
    if folder is None:
        return None
    info = read_info(folder)
    changed = _changed(stage.config, info.config)
    if info.stage != stage.name or changed or _data(info) != _data(stage.data):
        what = f"settings {', '.join(changed)}" if changed else "stage or data"
        raise ValueError(f"{folder} was trained with other {what}; start a new run, or restore them to resume this one")
    stage.dropped, stage.ancestry = info.dropped or stage.dropped, info.ancestry or stage.ancestry
    training = read_training_state(folder)
    stage.compiled = training.get(COMPILED)
    for name in stage.models:
        _load_weights(stage, name, read_weights(folder, name), training.get(f"{name}{TRAINED}"))
    if missing := stage.optimizers.keys() - training.keys():
        raise ValueError(f"{folder} has no state of the optimizer {min(missing)}; resume from another checkpoint")
    for name, optimizer in stage.optimizers.items():
        _load_all_but_rates(optimizer, training[name])
    return info


def _load_weights(stage: Stage, name: str, evaluated: dict[str, Tensor], trained: dict[str, Any] | None) -> None:
    """Load the weights that are trained on, and their average where there is one; it begins with them where none was
    kept, as after a change of settings by a sweep."""
    own: dict[str, Any] = {"weights": evaluated, "updates": 0} if trained is None else trained
    stage.models[name].load_state_dict(own["weights"])
    if name in stage.averages:
        average = own.get("average", evaluated if own["updates"] else own["weights"])
        stage.averages[name].load(average, own["updates"])


def _changed(config: StageConfig, before: dict[str, Any]) -> list[str]:
    """Return settings that are not as in a checkpoint's config; those that it is too old to know had their default."""
    ours, theirs = (
        _flat(each.model_dump(mode="json") | {"best_mode": each.better})
        for each in (config, type(config).model_validate(before))
    )
    free = FREE | ({"epochs"} if config.schedule == "constant" else set())
    return [key for key in {**ours, **theirs} if key not in free and theirs.get(key) != ours.get(key)]


def _load_all_but_rates(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load an optimizer's state; learning rates stay those of the config in hand, which may not be that of the
    checkpoint's training."""
    rates = [(group["initial_lr"], group["lr"]) for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, (initial, rate) in zip(optimizer.param_groups, rates, strict=True):
        group["initial_lr"], group["lr"] = initial, rate


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return values by dotted path."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _data(described: CheckpointInfo | DataSet) -> tuple[str, str]:
    return described.data_sha256, described.split_sha256
