"""What changed from one picture of a sweep to the next."""

from __future__ import annotations

from crystalsweep.sweeping.display.snapshot import OVER, Snapshot, Status, TrainingRow


class Changes:
    """Statuses as the last picture of this stage had them, by key of training."""

    def __init__(self) -> None:
        self._stage = ""
        self._statuses: dict[str, Status] = {}

    def since(self, picture: Snapshot) -> list[TrainingRow]:
        """Return rows that are new or whose status is another than before; of a stage's first picture, all."""
        if picture.stage != self._stage:
            self._stage, self._statuses = picture.stage, {}
        changed = [row for row in picture.rows if self._statuses.get(row.key) != row.status]
        self._statuses.update({row.key: row.status for row in changed})
        return changed

    def ended(self, picture: Snapshot) -> list[TrainingRow]:
        """Return rows that failed or were cut since the last picture; of a stage's first, none: a resumed sweep told
        them."""
        first = picture.stage != self._stage
        changed = self.since(picture)
        return [] if first else [row for row in changed if row.status in ("failed", "pruned")]


class Finishes:
    """When trainings came to their end, as the pictures of one stage tell it."""

    def __init__(self) -> None:
        self._changes = Changes()
        self._began: float | None = None
        self._since = 0
        self.order: dict[str, int] = {}
        """Place in which a training ended, by key: the newest has the greatest."""

    def add(self, picture: Snapshot) -> None:
        """Take note of a picture."""
        over = [row for row in self._changes.since(picture) if row.status in OVER]
        for row in over:
            self.order[row.key] = len(self.order)
        if self._began is None:
            self._began = picture.elapsed
        else:
            self._since += len(over)

    def hourly(self, picture: Snapshot) -> float:
        """Return trainings that ended per hour since the first picture; 0 before the first did."""
        spent = picture.elapsed - (self._began or 0.0)
        return 3600 * self._since / spent if spent > 0 else 0.0
