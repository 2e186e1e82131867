"""Which epoch's weights a checkpoint holds, as the metrics of its own epoch say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

KEPT = "kept_epoch"
"""Of a row of metrics: the epoch whose weights the checkpoint holds; absent where it is the row's own."""

KEPT_STEP = "kept_step"
"""Of such a row: the steps after that epoch."""


def kept_row(history: Sequence[Mapping[str, float]]) -> Mapping[str, float]:
    """Return the row of the epoch whose weights the last checkpoint holds: the best where the training keeps that,
    else the last. An empty one of no history."""
    if not history:
        return {}
    kept = history[-1].get(KEPT, history[-1]["epoch"])
    return next((row for row in history if row["epoch"] == kept), history[-1])
