"""A sweep's folder: what was asked of it, what it started from, and the lock of the process that runs it."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from crystalsweep.artifacts.addresses import Address
from crystalsweep.artifacts.atomic import write_whole
from crystalsweep.artifacts.places import state_folder
from crystalsweep.artifacts.safe_json import read_json, read_lines
from crystalsweep.sweeping.plan.request import SweepRequest
from crystalsweep.tracking.tracker import sqlite_uri

SWEEP_FILE, HISTORIES = "sweep.json", "histories"


@dataclass(kw_only=True)
class SweepRecord:
    """`sweep.json`: everything of a sweep that its study and its checkpoints do not hold."""

    name: str
    """`gan_noise-20261123-102707`."""
    sweep: str
    """The sweep file's name."""
    request: SweepRequest
    code_sha256: str
    data_sha256: str
    split_sha256: str
    status: str = "running"
    """running (or killed), stopped, finished."""
    parent: str = ""
    """MLflow run id of the sweep."""
    forecast: dict[str, Any] = field(default_factory=dict)
    prerequisites: dict[str, dict[str, str]] = field(default_factory=dict)
    """By name of the input they are: stage, key, run, checkpoint."""
    started_from: str = ""
    """What stood in for pre-training, as `crystal-generator version 3`; empty where nothing did."""
    network: dict[str, Any] = field(default_factory=dict)
    """Of that, where it was named: the stages take it over; empty where they have their preset's."""
    seconds: float = 0.0
    """Wall-clock of all sessions so far, downtime not counted."""
    prerequisites_used: dict[str, float] = field(default_factory=lambda: {"cpu_hours": 0.0, "gpu_hours": 0.0})
    """By trainings of prerequisites, in all sessions."""


def new_name(sweep: str) -> str:
    """Return a sweep's name, by the time."""
    return f"{sweep}-{datetime.now():%Y%m%d-%H%M%S}"


def write_sweep(folder: Path, record: SweepRecord) -> None:
    """Replace `sweep.json` at once; it has addresses, which are nobody else's."""
    folder.mkdir(parents=True, exist_ok=True)
    content = asdict(record) | {"request": record.request.as_json()}
    write_whole(folder / SWEEP_FILE, json.dumps(content, indent=2, sort_keys=True) + "\n", mode=0o600)


def read_sweep(folder: Path) -> SweepRecord:
    """Return the record. Raises `ValueError` where `folder` is no sweep's, or the record is damaged."""
    try:
        content: dict[str, Any] = read_json(folder / SWEEP_FILE)
    except FileNotFoundError:
        raise ValueError(f"{folder} holds no sweep: it has no {SWEEP_FILE}") from None
    if not isinstance(content, dict) or not isinstance(content.get("request"), dict):
        raise ValueError(f"{folder / SWEEP_FILE} is damaged: it holds no request; copy it from elsewhere")
    try:
        return SweepRecord(**{**content, "request": SweepRequest.from_json(content["request"])})
    except (TypeError, LookupError) as error:
        raise ValueError(
            f"{folder / SWEEP_FILE} was written by another version ({error}); resume it with that one"
        ) from None


def find_sweep(storage: str, sweep: str, name: str) -> Path:
    """Return folder of the sweep `name`, or of the `latest` of this sweep file. Raises `ValueError` naming those
    there."""
    sweeps = state_folder(storage) / "sweeps"
    there = sorted((folder.parent for folder in sweeps.glob(f"{sweep}-*/{SWEEP_FILE}")), key=lambda folder: folder.name)
    if name == "latest" and there:
        return there[-1]
    if sweeps / name in there:
        return sweeps / name
    names = ", ".join(folder.name for folder in there[-5:]) or "none"
    raise ValueError(f"no sweep {name!r} of {sweep}.py in {sweeps} to resume; there is {names}")


def write_history(folder: Path, key: str, rows: Sequence[Mapping[str, float]]) -> None:
    """Keep the epochs of a training that is over, whose checkpoints may be freed."""
    (folder / HISTORIES).mkdir(parents=True, exist_ok=True)
    lines = "".join(f"{json.dumps(dict(row), sort_keys=True)}\n" for row in rows)
    write_whole(folder / HISTORIES / f"{key}.jsonl", lines)


def read_history(folder: Path, key: str) -> list[dict[str, float]]:
    """Return the epochs of a training that is over; none of others."""
    return read_lines(folder / HISTORIES / f"{key}.jsonl")


@contextmanager
def locked(folder: Path, wait: Callable[[str], None] | None = None) -> Iterator[None]:
    """Keep other processes of this host from working on this folder meanwhile; the lock goes with the process, however
    it ends.

    Where another one does, this one waits, which it says to `wait`, or raises `ValueError` without it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if wait is None:
                raise ValueError(f"{folder.name} is being run by another process") from None
            wait(f"another sweep is making {folder.name}; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def moved(request: SweepRequest, storage: str) -> SweepRequest:
    """Return the request of a sweep that was found in `storage`, which may be another folder than the one it began in.

    Raises `ValueError` where one of the two is an object store and not the other.
    """
    if storage == request.storage:
        return request
    if "://" in storage or "://" in request.storage:
        raise ValueError(f"this sweep's checkpoints are in {request.storage}: give that as --storage")
    here, there = (Address(sqlite_uri(Path(each))) for each in (storage, request.storage))
    tracking = here if request.tracking_uri == there else request.tracking_uri
    return replace(request, storage=storage, tracking_uri=tracking)


def allowed(request: SweepRequest, given: Mapping[str, Any]) -> SweepRequest:
    """Return a saved request with the options that were given anew, all of them `FREE`."""
    anew = {"tracking_uri": Address(given["tracking_uri"])} if "tracking_uri" in given else {}
    return SweepRequest(**{**vars(request), **given, **anew})
