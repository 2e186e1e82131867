"""Who has which alias, and giving one back."""

from __future__ import annotations

from pathlib import Path

from crystalsweep.registry import attempts
from crystalsweep.registry.aliases import ConflictError, move, replaced_by
from crystalsweep.tracking.holders import holder_of, registered
from crystalsweep.tracking.tracker import Tracker


def holders(tracker: Tracker, model: str) -> dict[str, str]:
    """Return version by alias; empty where no such model is registered."""
    found = registered(tracker, model)
    return {alias: str(version) for alias, version in sorted(found.aliases.items())} if found else {}


def demote(tracker: Tracker, model: str, alias: str, reason: str, artifacts: Path) -> tuple[str, str | None]:
    """Give an alias back to the version that had it before, or to none; returns the version it left and that one.

    Raises `ValueError` where no version has it, `ConflictError` where another process moves it.

    Args:
        tracker: The server.
        model: Name in the registry.
        alias: To give back.
        reason: Why; kept with the run.
        artifacts: Folder of a local store's artifacts.
    """
    held = holder_of(tracker, model, alias)
    if held is None:
        raise ValueError(f"no version of {model} is {alias} in {tracker.uri}")
    back = replaced_by(held, alias)
    if back == str(held.version):
        raise ValueError(f"version {back} replaced no other {alias}; promote another one")
    if back is not None and not tracker.client.search_model_versions(f"name = '{model}' and version_number = {back}"):
        raise ConflictError(f"version {back}, which was {alias} before, is no longer registered; promote another one")
    run = attempts.begin(tracker, model, alias, f"version {held.version}", artifacts)
    try:
        move(tracker, model, alias, back, expected=str(held.version), forward=False)
        note = f"Version {held.version} is no longer {model}@{alias}: {reason}"
        attempts.conclude(tracker, run, "demoted", version=back, note=note, tags={attempts.REASONS: reason})
    except BaseException as error:
        attempts.try_to_fail(tracker, run, error)
        raise
    return str(held.version), back
