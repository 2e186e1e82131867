"""Numbers, intervals and durations of a sweep as a person reads them."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

from crystalsweep.sweeping.display.snapshot import Snapshot, TrainingRow
from crystalsweep.wording.stranger import in_a_line, plain

ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
"""Colours, cursor movements and window titles, as messages of other libraries have them."""


def unescaped(text: str) -> str:
    """Return the text without escape codes."""
    return ESCAPES.sub("", text)


def one_line(text: str) -> str:
    """Return the text on one line, without colours and as plain text."""
    return plain(" ".join(unescaped(text).split()))


def in_lines(picture: Snapshot) -> Snapshot:
    """Return the picture with names that anybody may have given as plain text, none of which begins a line."""
    told: dict[str, Any] = {name: in_a_line(getattr(picture, name)) for name in ("title", "stage", "objective", "used")}
    best = None if picture.best is None else row_in_lines(picture.best)
    return replace(picture, rows=[row_in_lines(row) for row in picture.rows], best=best, **told)


def row_in_lines(row: TrainingRow) -> TrainingRow:
    """Return the row likewise."""
    told: dict[str, Any] = {name: in_a_line(getattr(row, name)) for name in ("key", "shown", "losses")}
    return replace(row, note=one_line(row.note), **told)


def number(value: float | None) -> str:
    """Write a value with three decimals, or three digits of a large one; a dash if there is none."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:.3g}"


def interval(row: TrainingRow) -> str:
    """Return `[0.590, 0.633]`, or nothing."""
    if row.low is None or row.high is None or math.isnan(row.low) or math.isnan(row.high):
        return ""
    return f"[{number(row.low)}, {number(row.high)}]"


def value_with_interval(row: TrainingRow) -> str:
    """Return `0.611 [0.590, 0.633]`."""
    return f"{number(row.value)} {interval(row)}".rstrip()


def rate(value: float | None) -> str:
    """Return `412/s`."""
    if value is None or not math.isfinite(value):
        return ""
    return f"{value:,.0f}/s" if value >= 10 else f"{value:.2g}/s"


def way(row: TrainingRow) -> str:
    """Return `2/4`, or `0.31/2 min` if it has a budget of minutes."""
    if row.budget_minutes is not None:
        return f"{row.minutes:.2f}/{row.budget_minutes:g} min"
    return f"{row.epoch}/{row.epochs}" if row.epochs else str(row.epoch)


def duration(seconds: float) -> str:
    """Return `42 s`, `12 min`, `3 h 05 min`, `2 d 4 h`."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 90:
        return f"{minutes} min"
    hours = round(seconds / 3600)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes < 48 * 60 else f"{hours // 24} d {hours % 24} h"


def counts(picture: Snapshot) -> str:
    """Return `2/8 finished, 4 running, 1 pruned, 1 failed`; what is none but running is left out."""
    by = picture.counts
    others = (f", {by[status]} {status}" for status in ("pruned", "failed", "stopped") if by[status])
    whole = max(picture.planned, len(picture.rows))
    return f"{by['complete']}/{whole} finished, {by['running']} running{''.join(others)}"


def time_left(picture: Snapshot) -> str:
    """Return `about 9 min left`, or why that is not known."""
    if picture.left is not None and math.isfinite(picture.left):
        return f"about {duration(max(0.0, picture.left))} left"
    return "time left not known yet" if picture.share > 0 else "starting"


def per_hour(trainings: float) -> str:
    """Return `12 trainings/h`, or nothing."""
    return f"{trainings:.0f} trainings/h" if trainings >= 10 else f"{trainings:.1f} trainings/h" if trainings else ""


def best(picture: Snapshot) -> str:
    """Return `best Score 0.611 [0.590, 0.633] by 0003-s0 σ=0.1 w_W=1`, or nothing."""
    row = picture.best
    return (
        "" if row is None else f"best {picture.objective} {value_with_interval(row)} by {row.key} {row.shown}".rstrip()
    )


def behind(picture: Snapshot) -> str:
    """Return `MLflow is 12 behind`, or nothing."""
    return f"MLflow is {picture.behind} behind" if picture.behind > 0 else ""


def ended(row: TrainingRow) -> str:
    """Return `0003-s0 σ=0.1 w_W=1 FAILED in epoch 3: NaN loss`, for a training that failed or was cut."""
    how = f"FAILED in epoch {row.epoch + 1}" if row.status == "failed" else f"{row.status} after epoch {row.epoch}"
    return f"{row.key} {row.shown} {how}: {one_line(row.note)}".removesuffix(": ")
