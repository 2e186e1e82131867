"""What a calibration is worth, on the half of the parents that it was not fitted to: tables and a reliability diagram.

Intervals are 95 %, from a bootstrap over parents; shares of sets as `metrics.calibration.coverage` gives them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalsweep.evaluation.calibrating import TOLD, Cases, Choices, Decoded, Fitted
from crystalsweep.inference.calibration import JOINT_COVERAGES, MassRule, SetRule, in_candidates, in_sets
from crystalsweep.inference.familiarity import Training
from crystalsweep.metrics.bootstrap import Interval, clustered_mean
from crystalsweep.metrics.calibration import calibration_error, coverage, reliability
from crystalsweep.metrics.odds import TOP, brier_scores, log_losses, truth_ranks
from crystalsweep.pages.text import with_interval
from crystalsweep.plots.reliability import plot_reliability

RARE_SHARE = 0.01
"""Of the training crystals; an element that fewer have is rare in these tables."""

_LEAST = 1e-9
"""Probabilities are cut here and at 1 minus it, where a logarithm is taken of what did not come true."""

Strata = Mapping[str, NDArray[np.bool_]]
"""Which of the cases, or sites, belong to each."""


def told_sites(fitted: Fitted) -> Choices:
    """Return the masked sites of the half that is told."""
    return fitted.sites.of(fitted.cases.of(TOLD))


def site_tables(fitted: Fitted) -> dict[str, pd.DataFrame]:
    """Return `odds` and `sets` of sites by themselves, a row per stratum."""
    told, calibration = told_sites(fitted), fitted.calibration
    parents = _parents(fitted.cases, told.case)
    before, after = told.sharpened(1.0), told.sharpened(calibration.site_sharpness)
    odds, sets = [], []
    for name, rows in {**_site_strata(fitted.cases, told, calibration.training), **_by_confidence(after)}.items():
        if rows.any():
            truth, of = told.truth[rows], parents[rows]
            odds.append({"": name} | _site_odds(before[rows], after[rows], truth, of))
            sets.append({"": name} | _site_sets(np.exp(after[rows]), truth, of, told.case[rows], calibration.site_sets))
    return {"odds": pd.DataFrame(odds), "sets": pd.DataFrame(sets)}


def joint_tables(fitted: Fitted, index: int) -> dict[str, pd.DataFrame]:
    """Return `odds` and `sets` of a decoder's candidates, a row per stratum."""
    before, after = fitted.before[index], fitted.after[index]
    parents = _parents(fitted.cases, after.case)
    rules = [group.sets if group else () for group in after.groups]
    first = [np.array([each[0] if each else 0.0 for each in found.probabilities]) for found in (before, after)]
    hits = [found.rank == 1 for found in (before, after)]
    odds, sets = [], []
    for name, rows in _joint_strata(fitted.cases, after.case, fitted.calibration.training).items():
        if rows.any():
            row = {"": name, "crystals": int(rows.sum()), "parents": len(np.unique(parents[rows]))}
            row |= {f"top-{k}": _among(after.rank[rows], k, parents[rows]) for k in TOP}
            row["found"] = float((after.rank[rows] > 0).mean())
            for when, p, hit in zip(("before", "after"), first, hits, strict=True):
                row[f"first says {when}"] = float(p[rows].mean())
                row[f"log-loss {when}"] = _binary_log_loss(p[rows], hit[rows])
                row[f"error {when}"] = calibration_error(p[rows], hit[rows])
            odds.append(row)
            sets.append({"": name} | _joint_sets(after, rows, parents[rows], rules))
    return {"odds": pd.DataFrame(odds), "sets": pd.DataFrame(sets)}


def baseline_table(fitted: Fitted, baselines: Mapping[str, NDArray[np.float64]]) -> pd.DataFrame:
    """Return model and baselines on the same sites.

    Args:
        fitted: Of the model.
        baselines: (M, 118) log-probabilities of the sites of `told_sites`, by name.
    """
    told = told_sites(fitted)
    parents, sharpness = _parents(fitted.cases, told.case), fitted.calibration.site_sharpness
    rows = {"model": told.sharpened(1.0), "model, calibrated": told.sharpened(sharpness), **baselines}
    made = []
    for name, logs in rows.items():
        ranks = truth_ranks(logs, told.truth)
        found = {f"top-{k}": clustered_mean(ranks <= k, parents) for k in TOP}
        made.append({"": name, "log-loss": clustered_mean(log_losses(logs, told.truth), parents)} | found)
    return pd.DataFrame(made)


def draw(fitted: Fitted, path: Path) -> Path:
    """Write the reliability diagrams of sites and of every decoder's first candidates, before and after."""
    told = told_sites(fitted)
    shown: dict[str, dict[str, pd.DataFrame]] = {"Sites": {}} if len(told.truth) else {}
    for when, sharpness in (("before", 1.0), ("after", fitted.calibration.site_sharpness)):
        logs = told.sharpened(sharpness)
        if len(logs):
            shown["Sites"][when] = reliability(np.exp(logs.max(axis=1)), logs.argmax(axis=1) == told.truth)
    for when, of_all in (("before", fitted.before), ("after", fitted.after)):
        for found in of_all:
            title = f"Joint candidates, {found.decode.method}"
            first = [each[0] if each else 0.0 for each in found.probabilities]
            shown.setdefault(title, {})[when] = reliability(first, found.rank == 1, 10)
    return plot_reliability(shown, path)


def as_text(table: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Return a table's heads and cells as text: means with their intervals, numbers to three digits, counts whole.

    Of `… before` and `… after` one column is made, with an arrow between them.
    """
    columns: dict[str, list[str]] = {}
    for name in map(str, table):
        cells = [_cell(value) for value in table[name].tolist()]
        head, both = name.removesuffix(" after"), name.removesuffix(" after") + " before"
        if name.endswith(" after") and both in columns:
            columns[head] = [f"{a} → {b}" for a, b in zip(columns.pop(both), cells, strict=True)]
        else:
            columns[name] = cells
    return list(columns), [list(row) for row in zip(*columns.values(), strict=True)]


def as_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with columns of numbers alone: of an interval its mean, and its ends as `… low` and `… high`."""
    columns: dict[str, object] = {}
    for name in table:
        values = table[name].tolist()
        if any(isinstance(value, Interval) for value in values):
            columns |= {
                f"{name}{end}": [getattr(value, part, np.nan) for value in values]
                for end, part in (("", "mean"), (" low", "low"), (" high", "high"))
            }
        else:
            columns[str(name) or "stratum"] = values
    return pd.DataFrame(columns)


def _cell(value: object) -> str:
    if isinstance(value, Interval):
        return with_interval(value.mean, value.low, value.high)
    return f"{value:.3f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _parents(cases: Cases, of: NDArray[np.int64]) -> NDArray[np.object_]:
    return cases.table["parent"].to_numpy(dtype=object)[of]


def _site_strata(cases: Cases, told: Choices, training: Training) -> Strata:
    rare = _rare(training)
    table = cases.table.iloc[told.case]
    size = np.array([len(partial) for partial in cases.partials])[told.case]
    most = 2 * table["n_masked"].to_numpy() >= size
    return {
        "all": np.ones(len(told.truth), dtype=bool),
        **_conditions(table),
        "half of the atoms masked, or more": most,
        f"rare element, in under {RARE_SHARE:.0%} of training": rare[told.truth],
    }


def _by_confidence(logs: NDArray[np.float64]) -> Strata:
    """Return sites by what the odds of their likeliest element are."""
    p = np.exp(logs.max(axis=1))
    return {
        "likeliest element below 0.5": p < 0.5,
        "likeliest element 0.5 to 0.9": (p >= 0.5) & (p < 0.9),
        "likeliest element 0.9 or more": p >= 0.9,
    }


def _joint_strata(cases: Cases, of: NDArray[np.int64], training: Training) -> Strata:
    rare, table = _rare(training), cases.table.iloc[of]
    n_masked = table["n_masked"].to_numpy()
    hidden = [np.unique(cases.originals[k].species[cases.partials[k].species == 0]) - 1 for k in of]
    return {
        "all": np.ones(len(of), dtype=bool),
        **_conditions(table),
        "1 site masked": n_masked == 1,
        "2 to 4 sites": (n_masked > 1) & (n_masked < 5),
        "5 sites or more": n_masked >= 5,
        f"with a rare element, in under {RARE_SHARE:.0%} of training": np.array([rare[z].any() for z in hidden]),
    }


def _conditions(table: pd.DataFrame) -> dict[str, NDArray[np.bool_]]:
    named = {mask: (table["mask_type"] == mask).to_numpy() for mask in table["mask_type"].unique()}
    levels = sorted(table["sigma_noise"].unique())
    return named | {f"σ {level:g}": (table["sigma_noise"] == level).to_numpy() for level in levels}


def _rare(training: Training) -> NDArray[np.bool_]:
    """Return (118,) which elements few training crystals have."""
    return np.asarray(np.array(training.elements) < RARE_SHARE * training.crystals)


def _site_odds(
    before: NDArray[np.float64], after: NDArray[np.float64], truth: NDArray[np.int64], parents: NDArray[np.object_]
) -> dict[str, object]:
    ranks = truth_ranks(after, truth)
    row: dict[str, object] = {"sites": len(truth), "parents": len(np.unique(parents))}
    row |= {f"top-{k}": clustered_mean(ranks <= k, parents) for k in TOP}
    for when, logs in (("before", before), ("after", after)):
        row[f"log-loss {when}"] = float(log_losses(logs, truth).mean())
        row[f"Brier {when}"] = float(brier_scores(logs, truth).mean())
        row[f"error {when}"] = calibration_error(np.exp(logs.max(axis=1)), logs.argmax(axis=1) == truth)
    return row


def _site_sets(
    p: NDArray[np.float64],
    truth: NDArray[np.int64],
    parents: NDArray[np.object_],
    case: NDArray[np.int64],
    rules: Sequence[MassRule | SetRule],
) -> dict[str, object]:
    """Return how often sets hold the truth; every masked crystal counts alike, however many sites it has."""
    row: dict[str, object] = {"sites": len(truth), "parents": len(np.unique(parents))}
    _, codes, counts = np.unique(case, return_inverse=True, return_counts=True)
    weights = 1 / counts[codes]
    for rule in rules:
        inside = in_sets(p, rule)
        if inside is None:
            row[f"{rule.coverage:.0%} sets hold"], row[f"elements in {rule.coverage:.0%}"] = "not reached", "–"
            continue
        row[f"{rule.coverage:.0%} sets hold"] = coverage(inside[np.arange(len(truth)), truth], parents, weights)
        row[f"elements in {rule.coverage:.0%}"] = float(inside.sum(axis=1).mean())
    return row


def _joint_sets(
    found: Decoded, rows: NDArray[np.bool_], parents: NDArray[np.object_], rules: Sequence[Sequence[MassRule | SetRule]]
) -> dict[str, object]:
    """Return shares of the cases that have such sets, which a group whose truth is found less often has not."""
    row: dict[str, object] = {"crystals": int(rows.sum()), "parents": len(np.unique(parents))}
    kept, of_all = np.flatnonzero(rows).tolist(), found.probabilities
    for k, share in enumerate(JOINT_COVERAGES):
        told, held, sizes = [], [], []
        for at, i in enumerate(kept):
            own = in_candidates(np.array([of_all[i]]), rules[i][k]) if of_all[i] and k < len(rules[i]) else None
            if own is None:
                continue
            inside, place = own[0], int(found.rank[i])
            told.append(parents[at])
            held.append(bool(place and inside[place - 1]))
            sizes.append(int(inside.sum()))
        row[f"{share:.0%} sets: of"] = len(told)
        row[f"{share:.0%} sets hold"] = coverage(held, told) if told else "not reached"
        row[f"candidates in {share:.0%}"] = float(np.mean(sizes)) if told else "–"
    return row


def _among(rank: NDArray[np.int64], k: int, parents: NDArray[np.object_]) -> Interval:
    return clustered_mean((rank > 0) & (rank <= k), parents)


def _binary_log_loss(p: NDArray[np.float64], hit: NDArray[np.bool_]) -> float:
    """Return mean −log of the probability that was given to what came, right or wrong, nats."""
    given = np.clip(np.where(hit, p, 1 - p), _LEAST, 1.0)
    return float(-np.log(given).mean())


def tables_of(fitted: Fitted, baselines: Mapping[str, NDArray[np.float64]]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield every table with its title."""
    sites = site_tables(fitted)
    yield "sites by themselves: odds", sites["odds"]
    yield "sites by themselves: sets", sites["sets"]
    yield "model and baselines on the same sites", baseline_table(fitted, baselines)
    for index, found in enumerate(fitted.after):
        joint = joint_tables(fitted, index)
        yield f"candidates, {found.decode}: odds", joint["odds"]
        yield f"candidates, {found.decode}: sets", joint["sets"]
