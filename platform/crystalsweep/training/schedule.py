"""The learning rate of a step, as a pure function of where in the training it is. Imports without torch."""

from __future__ import annotations

import math

from crystalsweep.training.config import StageConfig


def rate_factor(config: StageConfig, epoch: int, share: float, step: int) -> float:
    """Return what a step's learning rate is multiplied by.

    The cosine runs over `config.epochs`, whatever may end the training earlier: neither the clock nor early stopping
    changes what an epoch computes. It is counted in epochs and their shares, since how many steps an epoch has may
    change; the warm-up is counted in steps, and multiplies the cosine.

    Args:
        config: Its schedule.
        epoch: From 0.
        share: Of the epoch's steps that are done.
        step: From the run's beginning, from 0.
    """
    return _warmup(config, step) * _decay(config, epoch, share)


def _warmup(config: StageConfig, step: int) -> float:
    return min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0


def _decay(config: StageConfig, epoch: int, share: float) -> float:
    if config.schedule == "constant":
        return 1.0
    progress = (epoch + (share if config.schedule_by == "step" else 0.0)) / config.epochs
    return config.final_factor + (1 - config.final_factor) * 0.5 * (1 + math.cos(math.pi * progress))
