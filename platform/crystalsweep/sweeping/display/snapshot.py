"""A sweep at a moment, as the terminal shows it: its trainings, how far they are, what they found."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

Status = Literal["waiting", "running", "complete", "pruned", "failed", "stopped"]
"""waiting: not begun; stopped: by a cap or by the user, resumable; the others as `Outcome` has them."""

OVER: frozenset[Status] = frozenset(("complete", "pruned", "failed"))
"""Of a training that will not go on."""


@dataclass(kw_only=True)
class TrainingRow:
    """One training: a trial with one seed."""

    key: str
    """`0007-s1`."""
    shown: str
    """Its settings, as `σ=0.1 w_W=1`."""
    status: Status
    epoch: int = 0
    """Finished ones."""
    epochs: int = 0
    """Planned; 0 if unknown."""
    minutes: float = 0.0
    """For which it has trained."""
    budget_minutes: float | None = None
    """For which it may train; its way is measured by these if they go faster than epochs."""
    value: float | None = None
    """Of the first objective, after its last epoch; None or NaN without one."""
    low: float | None = None
    """Of the 95 % interval, as `high`."""
    high: float | None = None
    rate: float | None = None
    """Structures per second."""
    losses: str = ""
    """As `L_species 0.913 L_position 0.204`."""
    note: str = ""
    """Why it failed or was cut."""

    @property
    def share(self) -> float:
        """How much of its way is behind it, 0 to 1; one that was cut or failed has nothing before it."""
        return 1.0 if self.status in OVER else self.trained

    @property
    def trained(self) -> float:
        """How much of what was planned for it it has trained, 0 to 1."""
        if self.status == "complete":
            return 1.0
        by_epochs = self.epoch / self.epochs if self.epochs else 0.0
        by_minutes = self.minutes / self.budget_minutes if self.budget_minutes else 0.0
        return min(1.0, max(by_epochs, by_minutes))


@dataclass(kw_only=True)
class Snapshot:
    """A sweep at a moment."""

    title: str
    """Of the sweep."""
    stage: str
    """That is trained, as `gan`."""
    objective: str
    """Title of the first."""
    rows: list[TrainingRow]
    """In the order of their keys."""
    planned: int
    """Trainings in all, with those that have no row yet."""
    best: TrainingRow | None = None
    elapsed: float = 0.0
    """Seconds."""
    left: float | None = None
    """Seconds; None if unknown."""
    used: str = ""
    """Of the budget, as `0.31 of 2 CPU-hours, 41 of 500 MB`; empty without one."""
    behind: int = 0
    """MLflow operations that wait."""

    @property
    def counts(self) -> Counter[Status]:
        """Trainings by status; those without a row are waiting."""
        counts: Counter[Status] = Counter(row.status for row in self.rows)
        counts["waiting"] += max(0, self.planned - len(self.rows))
        return counts

    @property
    def share(self) -> float:
        """How much of the sweep is done, 0 to 1."""
        whole = max(self.planned, len(self.rows))
        return sum(row.share for row in self.rows) / whole if whole else 0.0
