"""The training loop of every stage: epochs, shards, averages, checkpoints, exact resumption.

Every random stream is named by seed, purpose, epoch, step and rank, and torch's global state is seeded anew at each
epoch, so the seed and the epoch in a checkpoint are its whole random state.
"""

from __future__ import annotations

import math
import time
from contextlib import closing
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.distributed

from crystalsweep.artifacts.kept import KEPT, KEPT_STEP
from crystalsweep.data import pick
from crystalsweep.seeding import derive_seed
from crystalsweep.structures.batch import collate
from crystalsweep.training import machine
from crystalsweep.training.ahead import made_ahead, pinned
from crystalsweep.training.batching import by_atoms, by_crystals, share_of, shuffled
from crystalsweep.training.best import BestFiles, best_epoch, patience_is_over
from crystalsweep.training.config import StageConfig
from crystalsweep.training.means import DivergedError, EpochMeans
from crystalsweep.training.optimization import set_rates
from crystalsweep.training.resumption import resume, save
from crystalsweep.training.schedule import rate_factor
from crystalsweep.training.session import Session
from crystalsweep.training.stage import Metrics, Stage

__all__ = ["DivergedError", "epoch_batches", "fit"]


def fit(stage: Stage, session: Session) -> None:
    """Train `stage` to its last epoch, from the session's checkpoint if it has one, reporting after every epoch."""
    began = time.monotonic()
    folder = session.resume_from()
    info = resume(stage, folder)
    rows = list(session.history()) if info else []
    before = sum(row.get("time/epoch_s", 0.0) for row in rows)
    why = _end(stage.config, rows, before)
    if _agreed(bool(why), session):
        if why and session.rank == 0:
            session.tell(f"not trained on: {why}")
        return
    if chosen := machine.prepare(stage):
        session.tell(f"on this machine: {chosen}")
    step = info.step if info else 0
    with closing(BestFiles()) as best:
        if folder and stage.config.keep_best and session.rank == 0:
            best.take(folder)
        for epoch in range(info.epoch if info else 0, stage.config.epochs):
            started = time.monotonic()
            torch.manual_seed(derive_seed(stage.config.seed, "epoch", epoch, session.rank))
            averages, step = _train_epoch(stage, session, epoch, step)
            trained = time.monotonic() - started
            validated = stage.validate() if session.rank == 0 else {}
            metrics: Metrics = {**averages, **validated, "epoch": epoch + 1, "step": step}
            timing = {"time/structures_per_s": len(stage.train) / trained, "time/epoch_s": time.monotonic() - started}
            _require_finite(stage, metrics)
            if session.rank == 0:
                rows.append(metrics)
                metrics |= _kept(rows, stage.config) if stage.config.keep_best else {}
            why = _end(stage.config, rows, before + time.monotonic() - began)
            over = _agreed(bool(why), session)
            last = over or epoch + 1 == stage.config.epochs
            session.report({**metrics, **timing}, partial(save, stage, metrics, best=best), last)
            if last:
                if why and epoch + 1 < stage.config.epochs and session.rank == 0:
                    session.tell(f"stopped after epoch {epoch + 1} of {stage.config.epochs:,}: {why}")
                break


def _kept(rows: list[Metrics], config: StageConfig) -> Metrics:
    """Return the best epoch so far, and the steps after it."""
    best = best_epoch(rows, config)
    return {KEPT: best, KEPT_STEP: next(row["step"] for row in rows if row["epoch"] == best)}


def _end(config: StageConfig, rows: list[Metrics], seconds: float) -> str:
    """Return why a training ends before its last epoch, or an empty text: its time is over, or its patience with
    validation."""
    limit = config.max_minutes
    over = limit is not None and seconds > 60 * limit
    return _out_of_time(config) if over else _out_of_patience(config, rows)


def _out_of_time(config: StageConfig) -> str:
    return "" if config.max_minutes is None else f"max_minutes={config.max_minutes:g} is over"


def _out_of_patience(config: StageConfig, rows: list[Metrics]) -> str:
    if not patience_is_over(rows, config):
        return ""
    return f"{config.best_by} is best after epoch {best_epoch(rows, config)} (patience={config.patience})"


def early_end(config: StageConfig, rows: list[Metrics]) -> str:
    """Return why a finished run, of which these are all epochs, ended before its last; empty where it did not."""
    if not rows or rows[-1]["epoch"] >= config.epochs:
        return ""
    return _out_of_patience(config, rows) or _out_of_time(config)


def _require_finite(stage: Stage, metrics: Metrics) -> None:
    """Check what the epoch's last update made of the weights; every step's loss is checked as it comes."""
    bad = [name for name, model in stage.models.items() if not all(p.isfinite().all() for p in model.parameters())]
    if bad or not math.isfinite(metrics.get("val/loss", 0.0)) or metrics.get("val/failed") == 1.0:
        what = f"weights of the {bad[0]}" if bad else "outputs on the validation split"
        raise DivergedError(
            f"{what} are not finite after epoch {metrics['epoch']:.0f}, step {metrics['step']:.0f}; lower learning_rate"
        )


def epoch_batches(stage: Stage, session: Session, epoch: int) -> list[list[int]]:
    """Return this rank's crystals of every step of an epoch, by index; they depend on seed, epoch and the number of
    workers alone."""
    config, workers = stage.config, session.world_size
    order = shuffled(len(stage.train), config.seed, epoch)
    if config.batch_atoms is not None:
        steps = by_atoms(order, stage.atoms, config.batch_atoms, workers)
    elif (size := config.batch_size_at(epoch)) >= workers:
        steps = by_crystals(order, size)
    else:
        raise ValueError(f"batch_size {size} leaves some of {workers} workers without a crystal")
    if len(steps[-1]) < workers:  # every rank needs a crystal in every step
        steps.pop()
    if not steps:
        raise ValueError(f"{len(order)} training crystals are too few for {workers} workers")
    return steps if workers == 1 else [share_of(step, stage.atoms, session.rank, workers) for step in steps]


def made_ready(stage: Stage, indices: list[int], epoch: int, step: int) -> Any:
    """Return what a step is given, of these training crystals."""
    return stage.prepare(collate(pick(stage.train, np.array(indices))), epoch, step)


def _train_epoch(stage: Stage, session: Session, epoch: int, begun: int) -> tuple[Metrics, int]:
    """Take the steps of an epoch, `begun` steps after the run's beginning; returns means, and the steps in all."""
    batches, means = epoch_batches(stage, session, epoch), EpochMeans(epoch, session.device)

    def ready(number: int) -> Any:
        made = made_ready(stage, batches[number], epoch, begun + number)
        return pinned(made, session.device) if session.device.type == "cuda" else made

    with closing(made_ahead(ready, len(batches), stage.config.ahead)) as prepared, means:
        for number, batch in enumerate(session.steps(prepared, len(batches), epoch)):
            step = begun + number
            set_rates(stage.optimizers.values(), rate_factor(stage.config, epoch, number / len(batches), step))
            means.add(stage.step(batch, epoch, step), step)
    return means.over_ranks(session.world_size), begun + len(batches)


def _agreed(stop: bool, session: Session) -> bool:
    """Return what rank 0 says, which has the clock and the validation that decide for all."""
    if session.world_size == 1:
        return stop
    decision = torch.tensor([int(stop)], device=session.device)
    torch.distributed.broadcast(decision, 0)
    return bool(decision.item())
