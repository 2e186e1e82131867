"""The row that every report prints for a model or a reference: five figures with 95 % intervals."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from crystalsweep.metrics.bootstrap import Interval
from crystalsweep.metrics.settings import CompositionRules
from crystalsweep.metrics.summary import METRICS, SECONDARY, headline
from crystalsweep.wording.stranger import tabulated

SHOWN = (*METRICS, next(metric for metric in SECONDARY if metric.name == "masked_accuracy"))
"""Metrics of a row, in order."""

HEADERS = ("structural validity", "compositional validity", "compositional sim.", "structural sim.", "masked accuracy")
"""Their column heads."""


def cells(table: pd.DataFrame) -> list[str]:
    """Return the row of a table of scores; `n = 0` where a metric is undefined."""
    intervals = headline(table, metrics=SHOWN)
    return [_cell(intervals[metric.name]) for metric in SHOWN]


def footnote(table: pd.DataFrame) -> str:
    """Return what the figures rest on, and how they are to be read."""
    parents = table["parent"].nunique()
    rules = CompositionRules()
    return (
        f"95 % intervals: bootstrap over {parents} parent crystals, {len(table)} restored crystals per row.\n"
        f"Compositional validity: SMACT 4, {rules.oxidation_states} oxidation states; elements and alloys are valid.\n"
        "Structural similarity: aligned, over crystals whose composition was restored; identity is scored on its\n"
        "positions alone (0 by construction). Ceiling: the true crystals."
    )


def rows_table(tables: Mapping[str, pd.DataFrame]) -> str:
    """Return rows by name, with the footnote."""
    rows = [[name, *cells(table)] for name, table in tables.items()]
    return f"{tabulated(rows, headers=['', *HEADERS], disable_numparse=True)}\n{footnote(next(iter(tables.values())))}"


def _cell(interval: Interval) -> str:
    return str(interval) if interval.n else "n = 0"
