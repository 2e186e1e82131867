"""Whether a candidate restores better than the champion, and loses nothing that is guarded.

Both restored the same corrupted crystals; differences are paired by them, parents are resampled (`metrics.verdicts`). A
promotion needs the gain and the absence of every loss at once, so nothing is corrected for the number of metrics, which
would make losses harder to see (an intersection-union test; Berger, Technometrics 24, 295 (1982),
doi:10.1080/00401706.1982.10487790).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd

from crystalsweep.config import suggestion
from crystalsweep.metrics.summary import MATCHING_METRICS, METRICS, ROW_SCORE, SECONDARY, Metric, available
from crystalsweep.metrics.verdicts import verdicts
from crystalsweep.registry.gates.gate import Check, Gate

JUDGED = {
    metric.name: metric
    for metric in (ROW_SCORE, *METRICS, *SECONDARY, *MATCHING_METRICS)
    if metric.name != "uniqueness"
}
"""Metrics that a promotion can be decided by; whether a crystal is unique depends on the others, so it is none."""

GUARDED = (*(metric.name for metric in METRICS), "masked_accuracy", "match_rate")
"""In which a resolved loss stands in the way."""

BASELINES = ("most common", "substitution", "identity")
"""What a first champion must beat."""


def judged(name: str) -> Metric:
    """Return a metric by name. Raises `ValueError` where there is none, naming the nearest."""
    if name not in JUDGED:
        raise ValueError(f"unknown metric {name!r}: {suggestion(name, JUDGED)}")
    return JUDGED[name]


def gain(
    candidate: pd.DataFrame, champion: pd.DataFrame, metric: Metric, guarded: Sequence[Metric], *, holder: str
) -> tuple[Gate, pd.DataFrame]:
    """Return the gate, and its verdicts (candidate minus champion, as `metrics.verdicts` gives them).

    Args:
        candidate: Rows of the suite, with scores.
        champion: The same of the present champion.
        metric: What must be better.
        guarded: What must not be worse.
        holder: What the champion is called, as `champion, version 3`.
    """
    tables = {holder: champion, "candidate": candidate}
    asked = [metric, *(each for each in guarded if each.name != metric.name)]
    shared = [each for each in asked if all(available([each], table) for table in tables.values())]
    frame = pd.concat([verdicts(tables, [each]) for each in shared], ignore_index=True) if shared else pd.DataFrame()
    found = {row["metric"]: row for row in frame.to_dict("records")}
    checks = [_better(metric, found.get(metric.name), holder)]
    checks += [_not_worse(each, found[each.name]) for each in shared if each.name != metric.name]
    checks += [_decided(each, tables) for each in shared if any(map(each.undecided_in, tables.values()))]
    missing = [each for each in asked if each not in shared and each.name != metric.name]
    lost = [each for each in missing if available([each], champion)]
    checks += [
        Check(title=f"{each.title} is not worse", passed=False, says=f"defined for {holder}, not for the candidate")
        for each in lost
    ]
    paired = (
        f"Candidate minus {holder}, paired by corrupted crystal; 95 % intervals (uncorrected) from a bootstrap over "
        "parent crystals; each verdict by its own p < 0.05: all of them must be as they should at once."
    )
    notes = [
        paired,
        "That no loss is resolved does not say there is none: the lower bounds tell how large one could be.",
        "One training of each is compared: the spread between training seeds is not in the intervals.",
    ]
    if never := [each.title for each in missing if each not in lost]:
        notes.append(f"Not measured on this suite: {', '.join(never)}.")
    return Gate(name="gain", title=f"Gain over {holder}", checks=checks, notes=notes), frame


def gain_over_baselines(
    candidate: pd.DataFrame, baselines: dict[str, pd.DataFrame], metric: Metric, guarded: Sequence[str] = ()
) -> tuple[Gate, pd.DataFrame]:
    """Return the gate where there is no champion yet: better than the best of what learned nothing. Metrics that are
    not to become worse are told, and not asked: there is nothing that they could be worse than."""
    usable = {name: table for name, table in baselines.items() if name in BASELINES and available([metric], table)}
    if not usable:
        check = Check(title=metric.title, passed=False, says="no baseline has this metric; choose another --metric")
        return Gate(name="gain", title="Gain over the baselines", checks=[check]), pd.DataFrame()
    sign = 1 if metric.direction == "higher" else -1
    figures = {name: metric.over(table, n_resamples=2) for name, table in usable.items()}
    best = max(figures, key=lambda name: sign * figures[name].mean)
    gate, frame = gain(candidate, usable[best], metric, [], holder=f'the baseline "{best}"')
    told = ", ".join(f"{name} {figure.mean:.3f} n {figure.n:,}" for name, figure in figures.items())
    notes = [f"There is no champion yet. Baselines: {told}."]
    if guarded:
        notes.append(
            f"Not asked, for there is no champion that it could be worse than: {', '.join(guarded)} (--guard)."
        )
    return gate.model_copy(update={"notes": [*notes, *gate.notes]}), frame


def _better(metric: Metric, row: Mapping[Hashable, Any] | None, holder: str) -> Check:
    if row is None:
        return Check(title=metric.title, passed=False, says=f"not defined for both the candidate and {holder}")
    return Check(
        title=f"{metric.title} is better",
        passed=row["verdict"] == "better",
        says=f"{row['verdict']}: {_effect(row)}",
        numbers=_numbers(row),
    )


def _decided(metric: Metric, tables: Mapping[str, pd.DataFrame]) -> Check:
    """Return the check that fails: rows that nothing could decide are in neither mean."""
    counts = {name: metric.undecided_in(table) for name, table in tables.items()}
    told = " and ".join(f"{n:,} of {len(tables[name]):,} rows of {name}" for name, n in counts.items() if n)
    return Check(title=f"{metric.title} is decided", passed=False, says=f"nothing could decide {told}")


def _not_worse(metric: Metric, row: Mapping[Hashable, Any]) -> Check:
    return Check(
        title=f"{metric.title} is not worse",
        passed=row["verdict"] != "worse",
        says=f"{row['verdict']}: {_effect(row)}",
        numbers=_numbers(row),
    )


def _effect(row: Mapping[Hashable, Any]) -> str:
    arrow = ", lower is better" if row["better_is"] == "lower" else ""
    effect = f"{row['difference']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]{arrow}"
    return f"{effect}, p {row['p']:.4f}, {row['n']:,} pairs of {row['clusters']:,} parents"


def _numbers(row: Mapping[Hashable, Any]) -> dict[str, float | int | str | bool | None]:
    kept = ("difference", "low", "high", "p", "n", "clusters", "verdict")
    return {name: _plain(row[name]) for name in kept}


def _plain(value: Any) -> float | int | str | None:
    if isinstance(value, str | int):
        return value
    number = float(value)
    return number if number == number else None
