"""One training of a sweep: a trial of the study with one seed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Training:
    """What is to be trained, or trained on."""

    key: str
    """Names its folder of checkpoints, its MLflow run and its Tune trial: `0007-s1`, or the stage of a prerequisite."""
    name: str
    """For people: `gan σ=0.2 w_W=0.1 10:1 seed 1`."""
    settings: Mapping[str, Any]
    """By parameter key; of a mutated training the latest ones."""
    seed: int = 0
    control: bool = False
    seconds: float = 0.0
    """For which earlier attempts held their resources."""


def training_key(number: int, seed: int) -> str:
    """Return key of a study's trial with a seed."""
    return f"{number:04d}-s{seed}"


def parse_training_key(key: str) -> tuple[int, int]:
    """Return number and seed; (0, 0) for a prerequisite."""
    found = re.fullmatch(r"(\d+)-s(\d+)", key)
    return (int(found[1]), int(found[2])) if found else (0, 0)
