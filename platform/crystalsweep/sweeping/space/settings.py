"""A trial's settings, and the config that they make of a stage's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from crystalsweep.config import override
from crystalsweep.training.catalogue import config_from
from crystalsweep.training.config import StageConfig

Choices = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Settings whose value is a name: by key and name, the settings that the name stands for."""


def configured(stage: str, base: dict[str, Any], settings: Mapping[str, Any], choices: Choices) -> StageConfig:
    """Return the base config with a trial's settings, keyed by dotted path or unambiguous last name."""
    meant: dict[str, Any] = {}
    for key, value in settings.items():
        meant |= choices[key][value] if key in choices else {key: value}
    return override(config_from(stage, base), [f"{key}={json.dumps(value)}" for key, value in meant.items()])
