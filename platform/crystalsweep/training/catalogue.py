"""The stages by name, with their configs and presets. Imports without torch; `stage_builder` loads the stage itself."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import trainables.finetune.config as finetune
import trainables.gan.config as gan
import trainables.pretrain.config as pretrain
from crystalsweep.config import suggestion
from crystalsweep.networks.architectures import size
from crystalsweep.training.config import StageConfig

PRESETS: dict[str, dict[str, StageConfig]] = {
    "pretrain": dict(pretrain.PRESETS),
    "finetune": dict(finetune.PRESETS),
    "gan": dict(gan.PRESETS),
}
"""Preset configs by stage and name, before their backbone."""

PACE = {"painn": 1.0, "equiformer_v2": 0.3, "escn_md": 0.3}
"""Learning rate of each backbone over that of PaiNN, for which the presets were tuned; `paper` keeps the paper's."""


def preset(stage: str, name: str, backbone: str = "painn") -> StageConfig:
    """The preset of a stage on a backbone. Raises `ValueError` naming the nearest for an unknown name."""
    presets = PRESETS[stage]
    if name not in presets:
        raise ValueError(f"{stage} has no preset {name!r}; {suggestion(name, presets)}")
    chosen, pace = presets[name], 1.0 if name == "paper" else PACE[backbone]
    sized = {"backbone": size(backbone, name), "learning_rate": chosen.learning_rate * pace}
    return chosen.model_copy(update=sized)


def config_from(stage: str, content: dict[str, Any]) -> StageConfig:
    """A stage's config from its JSON form."""
    return type(next(iter(PRESETS[stage].values()))).model_validate(content)


def stage_builder(stage: str) -> Callable[..., Any]:
    """`build(config, data, session, inputs) -> Stage` of a stage."""
    builder: Callable[..., Any] = import_module(f"trainables.{stage}.train").build
    return builder
