"""What the display shows of the trainings of a stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from crystalsweep.sweeping.display.display import Display, Snapshot, TrainingRow
from crystalsweep.sweeping.live import Live
from crystalsweep.sweeping.space.objectives import Objective
from crystalsweep.sweeping.space.training import Training
from crystalsweep.training.config import StageConfig

_TOLD_FROM = 0.1
"""Share of what this session is to do that must be done before it tells the time that is left: starts are slow."""


class Screen:
    """Draws trainings on a display, as rows and as the sweep's progress."""

    def __init__(self, display: Display, *, title: str, stage: str, config: StageConfig, objective: Objective) -> None:
        self.display = display
        self._title, self._stage, self._config, self._objective = title, stage, config, objective
        self._ended: dict[str, TrainingRow] = {}

    def row(self, training: Training) -> TrainingRow:
        """Return the row of a training that has not begun."""
        return TrainingRow(
            key=training.key,
            shown=training.name.removeprefix(self._stage).strip(),
            status="waiting",
            epochs=self._config.epochs,
            budget_minutes=self._config.max_minutes,
        )

    def fill(self, live: Live, epoch: int) -> None:
        """Put into a training's row what it reported at an epoch."""
        metric, shown, row = self._objective.metric, live.row, live.history[epoch]
        shown.epoch, shown.rate = epoch, row.get("time/structures_per_s")
        shown.value, shown.low, shown.high = (row.get(name) for name in (metric, f"{metric}/low", f"{metric}/high"))
        losses = [name for name in row if name == "loss" or name.startswith("loss/")]
        shown.losses = " ".join(f"{name.replace('loss/', 'L_')} {row[name]:.3f}" for name in losses)

    def show(
        self,
        trainings: Mapping[str, Live],
        *,
        planned: int,
        remembered: int,
        elapsed: float,
        used: str,
        behind: int,
    ) -> None:
        """Show the sweep as it is now.

        Args:
            trainings: All that this process knows, by key.
            planned: Trainings in all.
            remembered: How many of them earlier sessions ended; they tell nothing of this session's speed.
            elapsed: Seconds since this session began.
            used: What is used beside its caps, in words.
            behind: Writes that MLflow has not taken yet.
        """
        rows = [self._ended.get(key) or self._now(key, live) for key, live in trainings.items()]
        planned = max(planned, len(rows))
        done = sum(row.share for row in rows)
        now_done = done - remembered
        told = now_done > 0 and now_done >= _TOLD_FROM * (planned - remembered)
        left = 0.0 if done >= planned else elapsed * (planned - done) / now_done if told else None
        valued = [row for row in rows if row.value is not None and row.status in ("complete", "running")]
        sign = 1 if self._objective.mode == "max" else -1
        self.display.show(
            Snapshot(
                title=self._title,
                stage=self._stage,
                objective=self._objective.title,
                rows=rows,
                planned=planned,
                best=max(valued, key=lambda row: sign * (row.value or 0.0), default=None),
                elapsed=elapsed,
                left=left,
                used=used,
                behind=behind,
            )
        )

    def _now(self, key: str, live: Live) -> TrainingRow:
        """Return a copy of a training's row, which is made once of one that ended: a sweep may have thousands."""
        live.row.minutes = live.seconds / 60
        row = replace(live.row)
        if live.state:
            self._ended[key] = row
        return row
