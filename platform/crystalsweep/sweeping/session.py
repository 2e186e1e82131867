"""One process's share of a sweep: what all its parts need to know."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from crystalsweep.artifacts.checkpoint_store import child
from crystalsweep.data import DataSet
from crystalsweep.sweeping.display.display import Display
from crystalsweep.sweeping.folder import SweepRecord
from crystalsweep.sweeping.plan.budget import Caps, Usage
from crystalsweep.sweeping.plan.plan import Plan
from crystalsweep.sweeping.plan.request import SweepRequest
from crystalsweep.sweeping.space.limits import Limit, limits
from crystalsweep.sweeping.space.objectives import Objective
from crystalsweep.sweeping.space.spec import SweepSpec
from crystalsweep.tracking.outbox import Outbox
from crystalsweep.tracking.tracker import Tracker


@dataclass(frozen=True, kw_only=True)
class SweepSession:
    """One process's share of a sweep."""

    spec: SweepSpec
    record: SweepRecord
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
    def request(self) -> SweepRequest:
        """What was asked."""
        return self.record.request

    @property
    def limits(self) -> tuple[Limit, ...]:
        """What trials must not lose to the control arms."""
        return limits(self.request.subject_to)

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
    def prerequisites_used(self) -> Usage:
        """By prerequisites, in all sessions."""
        used = self.record.prerequisites_used
        return Usage(cpu_hours=used["cpu_hours"], gpu_hours=used["gpu_hours"])
