"""The training loop of every stage: epochs, shards, averages, checkpoints, exact resumption.

Every random stream is named by seed, purpose, epoch, step and rank, and torch's global state is seeded anew at each
epoch, so the seed and the epoch in a checkpoint are its whole random state.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from functools import partial

import torch
import torch.distributed

from crystalsweep.seeding import derive_seed, stream
from crystalsweep.structures.batch import CrystalBatch, collate
from crystalsweep.structures.crystal import Crystal
from crystalsweep.training.means import DivergedError, EpochMeans
from crystalsweep.training.optimization import set_rates
from crystalsweep.training.resumption import resume, save
from crystalsweep.training.schedule import rate_factor
from crystalsweep.training.session import Session
from crystalsweep.training.stage import Metrics, Stage

__all__ = ["DivergedError", "epoch_batches", "fit", "step_stream"]


def fit(stage: Stage, session: Session) -> None:
    """Train `stage` to its last epoch, from the session's checkpoint if it has one, reporting after every epoch."""
    began = time.monotonic()
    info = resume(stage, session.resume_from())
    before = sum(row.get("time/epoch_s", 0.0) for row in session.history()) if info else 0.0
    if _agreed(_time_is_over(stage, before), session):
        return
    step = info.step if info else 0
    for epoch in range(info.epoch if info else 0, stage.config.epochs):
        started = time.monotonic()
        torch.manual_seed(derive_seed(stage.config.seed, "epoch", epoch, session.rank))
        batches = epoch_batches(stage, session, epoch)
        averages, step = _train_epoch(stage, session, batches, epoch, step)
        trained = time.monotonic() - started
        metrics = {**averages, **(stage.validate() if session.rank == 0 else {}), "epoch": epoch + 1, "step": step}
        timing = {"time/structures_per_s": len(stage.train) / trained, "time/epoch_s": time.monotonic() - started}
        _require_finite(stage, metrics, epoch)
        over = _agreed(_time_is_over(stage, before + time.monotonic() - began), session)
        session.report({**metrics, **timing}, partial(save, stage, metrics), over or epoch + 1 == stage.config.epochs)
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


def epoch_batches(stage: Stage, session: Session, epoch: int) -> list[list[Crystal]]:
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
    return [[stage.train[i] for i in chosen[session.rank :: session.world_size]] for chosen in steps]


def _train_epoch(
    stage: Stage, session: Session, batches: list[list[Crystal]], epoch: int, step: int
) -> tuple[Metrics, int]:
    means = EpochMeans(epoch, session.device)
    loaded: Iterator[CrystalBatch] = (collate(crystals) for crystals in batches)
    for number, batch in enumerate(session.steps(loaded, len(batches), epoch)):
        set_rates(stage.optimizers.values(), rate_factor(stage.config, epoch, number / len(batches), step))
        means.add(stage.step(batch, epoch, step), step)
        step += 1
    return means.over_ranks(session.world_size), step


def _agreed(stop: bool, session: Session) -> bool:
    """Rank 0's clock decides for all."""
    if session.world_size == 1:
        return stop
    decision = torch.tensor([int(stop)], device=session.device)
    torch.distributed.broadcast(decision, 0)
    return bool(decision.item())


def step_stream(stage: Stage, purpose: str, epoch: int, step: int) -> torch.Generator:
    """Return the random stream of one step on one rank."""
    return stream(stage.config.seed, purpose, epoch, step, stage.session.rank)
