"""What a row is ranked by: metrics with a mean, an interval, and a value per corrupted crystal to be paired by."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from crystalsweep.leaderboard.entries import On
from crystalsweep.metrics.bootstrap import Interval
from crystalsweep.metrics.pairing import other_inputs, pairing_keys
from crystalsweep.metrics.summary import EXTENDED, METRICS, ROW_SCORE, SECONDARY, Metric
from crystalsweep.metrics.verdicts import verdicts

_OF_THE_SET = {"uniqueness"}
"""Whether a crystal is the first of its kind depends on the others: its rows cannot be paired."""


def known_metrics(on: On) -> dict[str, Metric]:
    """Return, by name, what tables of validations or of evaluations have."""
    more = EXTENDED if on == "evaluation" else ()
    return {
        metric.name: metric for metric in (ROW_SCORE, *METRICS, *SECONDARY, *more) if metric.name not in _OF_THE_SET
    }


def chosen_metric(name: str, on: On) -> Metric:
    """Return the metric of this name. Raises `ValueError` naming the nearest where there is none."""
    known = known_metrics(on)
    if name in known:
        return known[name]
    if name in _OF_THE_SET:
        raise ValueError(f"{name} is of a set of crystals: rows cannot be paired, so that no rank would have a verdict")
    elsewhere = ", which only tables of --on evaluation have" if name in known_metrics("evaluation") else ""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f" (nearest: {near[0]})" if near and not elsewhere else ""
    raise ValueError(f"there is no metric {name!r}{elsewhere}{hint}; --on {on} has {', '.join(known)}")


def metric_interval(metric: Metric, tables: Sequence[pd.DataFrame]) -> Interval:
    """Return mean with its 95 % interval over the parents, of one table or of several trainings' together."""
    whole = pd.concat(tables, ignore_index=True) if len(tables) > 1 else tables[0]
    return metric.over(whole)


def spread(metric: Metric, tables: Sequence[pd.DataFrame]) -> float:
    """Return standard deviation between trainings of their means; NaN for one."""
    return (
        float(np.std([metric_interval(metric, [table]).mean for table in tables], ddof=1))
        if len(tables) > 1
        else np.nan
    )


def unlike(tables: Mapping[str, pd.DataFrame]) -> dict[str, str]:
    """Return, of tables by run, those that cannot be paired row by row with most of the others, and why."""
    if not tables:
        return {}
    rows = {name: tuple(sorted(_rows(table, pairing_keys(table, table)))) for name, table in tables.items()}
    usual = Counter(rows.values()).most_common(1)[0][0]  # of equally many, the first
    found = {name: "other corrupted crystals" for name, own in rows.items() if own != usual}
    like = next(name for name in tables if name not in found)
    for name in tables:
        if name not in found and (n := other_inputs(tables[like], tables[name])):
            found[name] = f"{n:,} crystals corrupted otherwise"
    return found


def _rows(table: pd.DataFrame, keys: Sequence[str]) -> list[tuple[Any, ...]]:
    rounded = table[list(keys)].round({"sigma_noise": 6})
    return list(rounded.itertuples(index=False, name=None))


def all_pairs(metric: Metric, tables: Mapping[str, Sequence[pd.DataFrame]]) -> pd.DataFrame:
    """Return verdicts on every pair of rows of the board, corrected together; each is the mean of its tables, row by
    row.

    All tables hold the same corrupted crystals (`unlike`). Empty for fewer than two rows or two parents.
    """
    first = next(iter(tables.values()), [pd.DataFrame({"parent": []})])[0]
    if len(tables) < 2 or first["parent"].nunique() < 2:
        return pd.DataFrame()
    keys = pairing_keys(first, first)
    numbers = {key: i for i, key in enumerate(_rows(first, keys))}  # one number pairs much faster than four columns
    slim = {name: _slim(metric, each, numbers, keys) for name, each in tables.items()}
    plain = replace(metric, values=lambda t: t["value"], weights=(lambda t: t["weight"]) if metric.weights else None)
    return verdicts(slim, [plain], pairs="all", keys=("number",))


def _slim(
    metric: Metric, tables: Sequence[pd.DataFrame], numbers: Mapping[tuple[Any, ...], int], keys: Sequence[str]
) -> pd.DataFrame:
    """Return number, parent, value and weight of each corrupted crystal, means over the tables that define it."""
    kept = [
        pd.DataFrame(
            {
                "number": [numbers[key] for key in _rows(table, keys)],
                "parent": table["parent"],
                "value": metric.values(table),
                "weight": metric.weights(table) if metric.weights else 1.0,
            }
        )
        for table in tables
    ]
    return pd.concat(kept).groupby(["number", "parent"], as_index=False)[["value", "weight"]].mean()
