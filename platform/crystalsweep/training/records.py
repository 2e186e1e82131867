"""A run folder's record: a line of metrics per epoch, wall-clock kept apart so that metrics repeat byte by byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from crystalsweep.artifacts.atomic import write_whole
from crystalsweep.artifacts.safe_json import MEND_LINE, read_lines

METRICS_FILE, TIMING_FILE = "metrics.jsonl", "timing.jsonl"

SCORE = "val/score"
"""`metrics.ranking_score`: what a sweep maximises."""

Scored = Literal["restorations", "predictions"]
"""What a stage is judged by: crystals that it restores, or properties that it predicts."""

SCORED_FILE: dict[Scored, str] = {"restorations": "evaluation.parquet", "predictions": "validation.parquet"}
"""Of a checkpoint: a row per restored crystal, or per validation crystal and target, of its last validation."""

_FILES = ((TIMING_FILE, True), (METRICS_FILE, False))

_ERRORS = ("/mae", "/mae_of_mean", "/r2")
"""Ends of metrics of a predicted number, beside that of the mean."""

_SHOWN = (
    "val/structural_validity",
    "val/compositional_validity",
    "val/compositional_similarity",
    "val/structural_similarity",
    "val/masked_accuracy",
    "val/accuracy",
    "val/majority_accuracy",
)


def record_epoch(folder: Path, metrics: dict[str, float]) -> None:
    """Add an epoch's line to both files, timing first; lines of this epoch or later, left by a crash, are dropped."""
    for name, timed in _FILES:
        _write(
            folder / name, [row for row in _rows(folder / name) if row["epoch"] < metrics["epoch"]], [metrics], timed
        )


def mend(folder: Path, history: list[dict[str, float]]) -> None:
    """Make the record agree with the `history` in a run's last checkpoint, where a crash lost lines or left some."""
    if not history:
        return
    told = {row["epoch"] for row in history}
    for name, timed in _FILES:
        kept = [row for row in _rows(folder / name) if row["epoch"] < history[-1]["epoch"] and row["epoch"] not in told]
        _write(folder / name, kept, history, timed)


def recorded(folder: Path) -> list[dict[str, float]]:
    """Return all epochs of a run folder, metrics and timing together."""
    rows = [{row["epoch"]: row for row in _rows(folder / name)} for name in (METRICS_FILE, TIMING_FILE)]
    return [{**rows[1].get(epoch, {}), **rows[0][epoch]} for epoch in sorted(rows[0])]


def epoch_line(metrics: dict[str, float]) -> str:
    """Write one epoch for a person: losses, the headline metrics, speed."""
    shown = [name for name in metrics if name.startswith("loss")] + [name for name in _SHOWN if name in metrics]
    shown += [name for name in metrics if name.startswith("val/") and name.endswith(_ERRORS)]
    parts = [f"{name.removeprefix('val/')} {metrics[name]:.3f}" for name in shown]
    return f"epoch {int(metrics['epoch'])}: {'  '.join(parts)}  ({metrics['time/structures_per_s']:.0f} structures/s)"


def _rows(path: Path) -> list[dict[str, float]]:
    rows = read_lines(path)
    for number, row in enumerate(rows, 1):
        if not isinstance(row.get("epoch"), int | float):
            raise ValueError(f"line {number} of {path} names no epoch; {MEND_LINE}")
    return rows


def _write(path: Path, kept: list[dict[str, float]], added: list[dict[str, float]], timed: bool) -> None:
    chosen = [{key: value for key, value in row.items() if key.startswith("time/") == timed} for row in added]
    epochs = [int(row["epoch"]) for row in added]
    rows = [*kept, *({**row, "epoch": epoch} for row, epoch in zip(chosen, epochs, strict=True))]
    write_whole(path, "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows))
