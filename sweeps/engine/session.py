"""One process's share of a sweep: what all its parts need to know."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from crystalsweep.checkpoint_store import child
from crystalsweep.data import DataSet
from crystalsweep.outbox import Outbox
from crystalsweep.tracking import Tracker
from sweeps.display.display import Display
from sweeps.engine.budget import Caps, Used
from sweeps.engine.folder import Record
from sweeps.plan.plan import Plan
from sweeps.plan.request import Request
from sweeps.space.objectives import Objective
from sweeps.space.spec import SweepSpec


@dataclass(frozen=True, kw_only=True)
class Session:
    """One process's share of a sweep."""

    spec: SweepSpec
    record: Record
    folder: Path
    """Local, of the sweep."""
    plan: Plan
    crystals: DataSet
    objectives: tuple[Objective, ...]
    tracker: Tracker
    outbox: Outbox
    display: Display
    experiments: dict[str, str]
    """Ids in MLflow by name."""
    tags: dict[str, str]

    @property
    def request(self) -> Request:
        """What was asked."""
        return self.record.request

    @property
    def caps(self) -> Caps:
        """Of the whole sweep."""
        asked = self.request
        return Caps(cpu_hours=asked.max_cpu_hours, gpu_hours=asked.max_gpu_hours, bytes=asked.max_bytes)

    @property
    def checkpoints(self) -> str:
        """Address below which the trainings' checkpoints are kept."""
        return child(child(child(self.request.storage, "sweeps"), self.record.name), "checkpoints")

    @property
    def prerequisites_used(self) -> Used:
        """By prerequisites, in all sessions."""
        used = self.record.prerequisites_used
        return Used(cpu_hours=used["cpu_hours"], gpu_hours=used["gpu_hours"])
