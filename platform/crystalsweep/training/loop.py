"""The training loop of every stage: epochs, shards, averages, checkpoints, exact resumption.

Every random stream is named by seed, purpose, epoch, step and rank, and torch's global state is seeded anew at each
epoch, so the seed and the epoch in a checkpoint are its whole random state.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed

from crystalsweep.data import DataSet, pick
from crystalsweep.networks.checkpoint import (
    CheckpointInfo,
    read_info,
    read_training_state,
    read_weights,
    save_checkpoint,
)
from crystalsweep.seeding import derive_seed, stream
from crystalsweep.structures.batch import CrystalBatch, collate
from crystalsweep.structures.crystal import Crystal
from crystalsweep.training.session import Session
from crystalsweep.training.stage import Metrics, Stage


class DivergedError(ValueError):
    """A loss is no longer finite."""


def fit(stage: Stage, session: Session) -> None:
    """Train `stage` to its last epoch, from the session's checkpoint if it has one, reporting after every epoch."""
    began = time.monotonic()
    info = _resume(stage, session.resume_from())
    before = sum(row.get("time/epoch_s", 0.0) for row in session.history()) if info else 0.0
    if _agreed(_time_is_over(stage, before), session):
        return
    step = info.step if info else 0
    for epoch in range(info.epoch if info else 0, stage.config.epochs):
        started = time.monotonic()
        torch.manual_seed(derive_seed(stage.config.seed, "epoch", epoch, session.rank))
        _set_learning_rates(stage, epoch)
        batches = epoch_batches(stage, session, epoch)
        averages, step = _train_epoch(stage, session, batches, epoch, step)
        trained = time.monotonic() - started
        metrics = {**averages, **(stage.validate() if session.rank == 0 else {}), "epoch": epoch + 1, "step": step}
        timing = {"time/structures_per_s": len(stage.train) / trained, "time/epoch_s": time.monotonic() - started}
        _require_finite(stage, metrics, epoch)
        over = _agreed(_time_is_over(stage, before + time.monotonic() - began), session)
        session.report({**metrics, **timing}, partial(_save, stage, metrics), over or epoch + 1 == stage.config.epochs)
        if over:
            break


def _time_is_over(stage: Stage, seconds: float) -> bool:
    limit = stage.config.max_minutes
    return limit is not None and seconds > 60 * limit


def _require_finite(stage: Stage, metrics: Metrics, epoch: int) -> None:
    """Check what the epoch's last update made of the weights; every step's loss is checked as it comes."""
    bad = [name for name, model in stage.models.items() if not all(p.isfinite().all() for p in model.parameters())]
    if bad or not math.isfinite(metrics.get("val/loss", 0.0)) or metrics.get("val/failed") == 1.0:
        what = f"weights of the {bad[0]}" if bad else "outputs on the validation split"
        raise DivergedError(
            f"{what} are not finite after epoch {epoch + 1}, step {metrics['step']:.0f}; lower learning_rate"
        )


def epoch_batches(stage: Stage, session: Session, epoch: int) -> list[Sequence[Crystal]]:
    """Return this rank's crystals of every step of an epoch; the order depends on seed and epoch alone."""
    size = stage.config.batch_size_at(epoch)
    if size < session.world_size:
        raise ValueError(f"batch_size {size} leaves some of {session.world_size} workers without a crystal")
    order = torch.randperm(len(stage.train), generator=stream(stage.config.seed, "order", epoch)).tolist()
    steps = [order[i : i + size] for i in range(0, len(order), size)]
    if len(steps[-1]) < session.world_size:  # every rank needs a crystal in every step
        steps.pop()
    if not steps:
        raise ValueError(f"{len(order)} training crystals are too few for {session.world_size} workers")
    return [pick(stage.train, np.array(chosen[session.rank :: session.world_size])) for chosen in steps]


def _train_epoch(
    stage: Stage, session: Session, batches: list[Sequence[Crystal]], epoch: int, step: int
) -> tuple[Metrics, int]:
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    loaded: Iterator[CrystalBatch] = (collate(crystals) for crystals in batches)
    for batch in session.steps(loaded, len(batches), epoch):
        for name, value in stage.step(batch, epoch, step).items():
            number = float(value)
            if not math.isfinite(number):
                raise DivergedError(f"{name} is {number} in epoch {epoch + 1}, step {step + 1}; lower learning_rate")
            sums[name][0] += number
            sums[name][1] += 1
        step += 1
    return _mean_over_ranks(sums, session), step


def _mean_over_ranks(sums: dict[str, list[float]], session: Session) -> Metrics:
    totals = torch.tensor([sums[name] for name in sorted(sums)], dtype=torch.float64, device=session.device)
    if session.world_size > 1:
        torch.distributed.all_reduce(totals)
    return {name: float(total / count) for name, (total, count) in zip(sorted(sums), totals, strict=True)}


def _agreed(stop: bool, session: Session) -> bool:
    """Rank 0's clock decides for all."""
    if session.world_size == 1:
        return stop
    decision = torch.tensor([int(stop)], device=session.device)
    torch.distributed.broadcast(decision, 0)
    return bool(decision.item())


def _set_learning_rates(stage: Stage, epoch: int) -> None:
    if stage.config.schedule == "constant":
        return
    factor = 0.5 * (1 + math.cos(math.pi * epoch / stage.config.epochs))
    for optimizer in stage.optimizers.values():
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor


def _save(stage: Stage, metrics: Metrics, folder: Path) -> None:
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
    training: dict[str, Any] = {name: optimizer.state_dict() for name, optimizer in stage.optimizers.items()}
    save_checkpoint(folder, info, stage.models, training)
    stage.write_extra(folder)


def _resume(stage: Stage, folder: Path | None) -> CheckpointInfo | None:
    """Load a checkpoint of this run. Raises `ValueError` when it was made with other settings or data."""
    if folder is None:
        return None
    info = read_info(folder)
    ours = _flat(stage.config.model_dump(mode="json"))
    theirs = _flat(info.config)
    free = {"max_minutes", "backbone.activation_checkpointing"}
    if stage.config.schedule == "constant":
        free.add("epochs")
    changed = [key for key in ours if key not in free and theirs.get(key) != ours[key]]
    if info.stage != stage.name or changed or _data(info) != _data(stage.data):
        what = f"settings {', '.join(changed)}" if changed else "stage or data"
        raise ValueError(f"{folder} was trained with other {what}; start a new run, or restore them to resume this one")
    stage.dropped, stage.ancestry = info.dropped or stage.dropped, info.ancestry or stage.ancestry
    for name, model in stage.models.items():
        model.load_state_dict(read_weights(folder, name))
    training = read_training_state(folder)
    if missing := stage.optimizers.keys() - training.keys():
        raise ValueError(f"{folder} has no state of the optimizer {min(missing)}; resume from another checkpoint")
    for name, optimizer in stage.optimizers.items():
        _load_all_but_rates(optimizer, training[name])
    return info


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


def step_stream(stage: Stage, purpose: str, epoch: int, step: int) -> torch.Generator:
    """Return the random stream of one step on one rank."""
    return stream(stage.config.seed, purpose, epoch, step, stage.session.rank)
