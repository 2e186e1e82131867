"""A run folder's record: a line of metrics per epoch, wall-clock kept apart so that metrics repeat byte by byte."""

from __future__ import annotations

import json
from pathlib import Path

METRICS, TIMING = "metrics.jsonl", "timing.jsonl"

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
    epoch = int(metrics["epoch"])
    for name, timed in ((TIMING, True), (METRICS, False)):
        chosen = {key: value for key, value in metrics.items() if key.startswith("time/") == timed}
        _append(folder / name, {**chosen, "epoch": epoch})


def recorded(folder: Path) -> list[dict[str, float]]:
    """All epochs of a run folder, metrics and timing together."""
    rows = [{row["epoch"]: row for row in _rows(folder / name)} for name in (METRICS, TIMING)]
    return [{**rows[1].get(epoch, {}), **rows[0][epoch]} for epoch in sorted(rows[0])]


def epoch_line(metrics: dict[str, float]) -> str:
    """One epoch for a person: losses, the headline metrics, speed."""
    shown = [name for name in metrics if name.startswith("loss")] + [name for name in _SHOWN if name in metrics]
    parts = [f"{name.removeprefix('val/')} {metrics[name]:.3f}" for name in shown]
    return f"epoch {int(metrics['epoch'])}: {'  '.join(parts)}  ({metrics['time/structures_per_s']:.0f} structures/s)"


def _rows(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _append(path: Path, row: dict[str, float]) -> None:
    kept = [json.dumps(old, sort_keys=True) for old in _rows(path) if old["epoch"] < row["epoch"]]
    partial = path.with_suffix(".partial")
    partial.write_text("\n".join([*kept, json.dumps(row, sort_keys=True)]) + "\n")
    partial.replace(path)
