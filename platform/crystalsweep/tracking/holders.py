"""Who has an alias of a registered model. Imports no MLflow: where there is no store, nobody need wait for that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crystalsweep.tracking.tracker import Tracker

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel


MODEL = "crystal-generator"
"""Name in the registry of a generator that nobody named otherwise."""


def registered(tracker: Tracker, model: str) -> RegisteredModel | None:
    """Return the registered model; None where there is none. Searched for: a server with accounts forbids what is
    absent."""
    found = tracker.client.search_registered_models(f"name = '{model}'", max_results=1)
    return found[0] if found else None


def holder_of(tracker: Tracker, model: str, alias: str) -> ModelVersion | None:
    """Return the version that has the alias; None where none has, or no such model is registered."""
    found = registered(tracker, model)
    version = found.aliases.get(alias) if found else None
    return None if version is None else tracker.client.get_model_version(model, str(version))
