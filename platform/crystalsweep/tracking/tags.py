"""Tags of MLflow runs that several rooms write or read, and the one form in which a run names its process."""

from __future__ import annotations

import os
import re
import socket

from crystalsweep.provenance import is_gone

PARENT = "mlflow.parentRunId"
"""MLflow's own: the id of the run that a run belongs to."""

NOTE = "mlflow.note.content"
"""MLflow's own: the description that its UI shows, in Markdown."""

KIND = "crystalsweep.kind"
"""`sweep`, `trial`, the stage of a prerequisite, `evaluation`, or `promotion`."""

STATE = "state"
"""`running`, or how a training or a sweep ended (`space.outcome.TrainingState`)."""

REASON = "crystalsweep.reason"
"""Why a run did not finish."""

PROCESS = "crystalsweep.process"
"""Host and id of the process that owns a run, as `this_process` writes it."""


_REFUSED = re.compile(r"[^\w\-./ ]+")


def plain_key(name: str) -> str:
    """Return a name as MLflow takes it of a metric or a tag: of `e_above_hull<=0`, `e_above_hull_0`."""
    return _REFUSED.sub("_", name)


def this_process() -> str:
    """Return host and id of this process, as `node1:4711`."""
    return f"{socket.gethostname()}:{os.getpid()}"


def is_orphan(process: str) -> bool:
    """Return whether the process that a run names was on this host and is no more; promotions once wrote a blank."""
    found = re.fullmatch(r"(.*)[: ](\d+)", process)
    return found is not None and is_gone(found[1], found[2])
