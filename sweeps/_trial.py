"""One Tune trial: a Ray Train run of a stage, inside the trial's actor."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback

from trainables.catalogue import config_from
from trainables.cluster import Job, Resources, explaining, trainer
from trainables.config import StageConfig

REFUSED = "refused:"
"""Begins the error of a trial that would fail in the same way again."""

Choices = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Settings whose value is a name: by key and name, the settings that the name stands for."""

DRIVER_RESOURCES = {"cpu": 0, "node:__internal_head__": 0.001}
"""The trial's actor only waits: were it to take a CPU, drivers could starve the workers they wait for."""


def run_trial(
    settings: dict[str, Any], job: dict[str, Any], choices: Choices, resources: Resources, storage: str
) -> None:
    """Train `job` with `settings` applied to its config. The run's name is the trial's, so a retry resumes it."""
    described = Job(**job)
    config = configured(described.stage, described.config, settings, choices)
    described = replace(described, config=config.model_dump(mode="json"))
    name = f"trial-{tune.get_context().get_trial_id()}"
    refusal = Path(storage) / f"{name}.refused"
    described = replace(described, refusal=str(refusal))
    callbacks = [TuneReportCallback()]
    try:
        with explaining(refusal):
            trainer(described, resources=resources, name=name, storage=Path(storage), callbacks=callbacks).fit()
    except ValueError as error:
        raise RuntimeError(f"{REFUSED} {error}") from error


def configured(stage: str, base: dict[str, Any], settings: Mapping[str, Any], choices: Choices) -> StageConfig:
    """The base config with a trial's settings, keyed by dotted path or unambiguous last name."""
    from crystalsweep.config import override

    meant: dict[str, Any] = {}
    for key, value in settings.items():
        meant |= choices[key][value] if key in choices else {key: value}
    return override(config_from(stage, base), [f"{key}={json.dumps(value)}" for key, value in meant.items()])
