"""What is chosen for the machine that a training runs on, once, before its first step.

Choices depend on the settings, the crystals and the machine, never on a clock: the same training on the same machine
computes the same. Ratios and seconds named here are of `benchmarks/training_step.py`.
"""

from __future__ import annotations

import ctypes
import platform
import shutil

import torch

from crystalsweep.networks.backbones import Backbone
from crystalsweep.training.stage import Stage

PAYS_AFTER = 300.0
"""Seconds of an uncompiled training on the CPU from which on its blocks are compiled: that costs 5 to 35 s at the
start and saves a quarter of the rest."""

COMPILED = 0.75
"""Seconds of a compiled step over those of an uncompiled one."""

COMPILATION = 20.0
"""Seconds that it takes, between a warm and a cold cache."""

SECONDS_PER_EDGE = 3.5e-8
"""Of a PaiNN's training step on one core, per edge, layer and channel."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt(3)."""


def prepare(stage: Stage) -> str:
    """Set the process and the stage's networks up for this machine; returns what was chosen, in a line, or nothing."""
    if stage.session.device.type != "cpu":
        return ""
    chosen = []
    for backbone in worth_compiling(stage):
        backbone.compiles = True
        chosen = ["blocks of the network are compiled (5 to 35 s, once)"]
    if keep_memory():
        chosen.append("memory is kept between steps")
    if stage.config.backbone.precision == "bf16" and not computes_bf16():
        chosen.append("this CPU has no bf16, which takes four times as long as float32 on such: backbone.precision")
    return "; ".join(chosen)


def worth_compiling(stage: Stage) -> list[Backbone]:
    """Return the networks whose blocks are compiled: where that is left to us, gains, and the training is long. A run
    that is resumed keeps what it began with, however its length was changed."""
    possible = stage.session.device.type == "cpu" and can_compile() and not stage.config.twice_differentiated
    if not possible:
        return []
    left_to_us = [part.config.compile == "auto" and part.gains_compiled for part in backbones(stage)]
    begun = stage.compiled or [expected_seconds(stage) >= PAYS_AFTER] * len(left_to_us)
    chosen = zip(backbones(stage), left_to_us, begun, strict=True)
    return [part for part, ours, compiled in chosen if ours and compiled]


def backbones(stage: Stage) -> list[Backbone]:
    """Return the backbones of all of a stage's networks."""
    return [part for model in stage.models.values() for part in model.modules() if isinstance(part, Backbone)]


def expected_seconds(stage: Stage) -> float:
    """Return about how long the stage would train uncompiled on one core, in seconds; at most its `max_minutes`."""
    config, seconds = stage.config, 0.0
    atoms = sum(map(len, stage.train)) / max(stage.session.world_size, 1)
    for backbone in backbones(stage):
        edges = config.epochs * atoms * float(backbone.average_degree)
        seconds += SECONDS_PER_EDGE * edges * backbone.config.layers * backbone.config.width
    return seconds if config.max_minutes is None else min(seconds, 60 * config.max_minutes)


def can_compile() -> bool:
    """Return whether torch.compile finds a C++ compiler here."""
    return any(shutil.which(name) for name in ("g++", "clang++", "c++"))


def keep_memory() -> bool:
    """Let glibc keep freed memory for the next step, not give it back; returns whether this process has a glibc.

    Every step frees and asks for the same hundred megabytes, and each time the system would clear fourteen thousand
    pages. What the process has in use at most is the same.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_M_MMAP_THRESHOLD, 1 << 30)) and bool(mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1))


def computes_bf16() -> bool:
    """Return whether the CPU has instructions for bf16."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
