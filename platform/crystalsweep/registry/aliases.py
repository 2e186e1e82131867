"""Moving an alias of a registered model, by one process at a time.

MLflow lets the last writer win. Here a process first takes a lease: a registered model `NAME.lock-G`, whose name only
one process can create. The lease is held for seconds, while nothing but the alias is moved. One whose holder died is
passed over after `STALE_S`: the next process takes `NAME.lock-(G+1)`, notes the generation G+1 on the model and frees
the old lease; whoever creates a lease of an earlier generation finds that noted and lets go.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from crystalsweep.provenance import is_gone, user
from crystalsweep.tracking.holders import holder_of, registered
from crystalsweep.tracking.tracker import Tracker, now_ms

GENERATION = "crystalsweep.lease_generation"
"""Tag of the registered model."""
HOLDER = "crystalsweep.lease_holder"
"""Tag of the lease: who holds it, as `claimant` tells."""
REPLACED = "crystalsweep.replaced"
"""Tag of a version, followed by an alias: the version that had it before; empty where there was none."""

STALE_S = 120.0
"""Age at which a lease's holder counts as dead; clocks of clients and server may differ by less."""
BUSY_S = 20.0
"""A holder that has taken longer than this lets go without moving anything."""


class ConflictError(ValueError):
    """Another process moved the alias, or is moving it."""


def ensure_registered(tracker: Tracker, model: str) -> None:
    """Make the registered model if it is absent."""
    try:
        tracker.client.create_registered_model(model)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def move(
    tracker: Tracker, model: str, alias: str, version: str | None, *, expected: str | None, forward: bool = True
) -> None:
    """Give the alias to `version`, or to none, if it is still at the version `expected` (None: at none).

    `forward` notes on `version` which one it replaces; giving an alias back does not.
    The alias is written last and at once, so that a process that dies on the way leaves it where it was.

    Args:
        tracker: The server.
        model: Name in the registry.
        alias: As `champion`.
        version: Who gets it; None takes it away.
        expected: Who has it now.
        forward: Whether to note which version this one replaces.

    Raises:
        ConflictError: It is elsewhere by now, or another process is moving it; nothing was changed.
        MlflowException: The server failed; the alias is where it was, or already moved.
    """
    with lease(tracker, model) as began:
        found = holder_of(tracker, model, alias)
        at = None if found is None else str(found.version)
        if at == version:
            return
        if at != expected:
            raise ConflictError(
                f"{model}@{alias} moved meanwhile: {_told(at)} now, {_told(expected)} when this began; nothing was "
                "changed; start again to be judged against the present one"
            )
        if version is not None and forward:
            tracker.client.set_model_version_tag(model, version, f"{REPLACED}.{alias}", at or "")
        if time.monotonic() - began > BUSY_S:
            raise ConflictError(f"the server took more than {BUSY_S:.0f} s; nothing was changed, try again")
        if version is not None:
            tracker.client.set_registered_model_alias(model, alias, version)
        elif at is not None:
            tracker.client.delete_registered_model_alias(model, alias)


def replaced_by(version: ModelVersion, alias: str) -> str | None:
    """Return the version that had the alias before this one; None where none had it, or where it is not noted."""
    return version.tags.get(f"{REPLACED}.{alias}") or None


def claimant() -> str:
    """Return who asks: user, host and process, and a number that no other request has."""
    return f"{user()} {socket.gethostname()} {os.getpid()} {secrets.token_hex(4)}"


@contextmanager
def lease(tracker: Tracker, model: str) -> Iterator[float]:
    """Hold the model's lease for the block; gives when it was asked for, by the monotonic clock.

    Raises `ConflictError` where another process holds it.
    """
    began = time.monotonic()
    name = _take(tracker, model, claimant())
    try:
        yield began
    finally:
        with suppress(MlflowException):  # a server that is away: the lease grows stale
            tracker.client.delete_registered_model(name)


def _take(tracker: Tracker, model: str, who: str) -> str:
    generation = _generation(tracker, model)
    passed_over: list[str] = []
    while not _created(tracker, f"{model}.lock-{generation}", who):
        passed_over.append(f"{model}.lock-{generation}")
        generation += 1
    name = f"{model}.lock-{generation}"
    if passed_over:
        tracker.client.set_registered_model_tag(model, GENERATION, str(generation))
        for old in passed_over:
            with suppress(MlflowException):  # another account's, or freed by now; it has been passed over all the same
                tracker.client.delete_registered_model(old)
    elif _generation(tracker, model) != generation:  # freed by who passed it over
        tracker.client.delete_registered_model(name)
        raise ConflictError(f"another process is promoting {model}; try again in a moment")
    return name


def _created(tracker: Tracker, name: str, who: str) -> bool:
    """Return whether the lease is ours now; False where its holder is dead. `ConflictError` where the holder lives."""
    try:
        tracker.client.create_registered_model(name, tags={HOLDER: who})
        return True
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    found = registered(tracker, name)
    if found is None:
        raise ConflictError(f"another account moves an alias by {name}, or just did; try again in a moment")
    holder = found.tags.get(HOLDER, "unknown unknown 0 0")
    if holder == who:  # MLflow's client repeated a request whose answer was lost
        return True
    account, host, pid, _ = holder.split(" ", 3)
    if is_gone(host, pid) or now_ms() - found.creation_timestamp > STALE_S * 1000:
        return False
    model = name.rpartition(".lock-")[0]
    raise ConflictError(
        f"{account} is moving an alias of {model} at this moment (process {pid} on {host}); nothing was changed, try "
        "again in a moment"
    )


def _generation(tracker: Tracker, model: str) -> int:
    found = registered(tracker, model)
    return int(found.tags.get(GENERATION, "0")) if found else 0


def _told(version: str | None) -> str:
    return "at no version" if version is None else f"at version {version}"
