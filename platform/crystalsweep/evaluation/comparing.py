"""Evaluations against each other: the same corrupted crystals, pair by pair."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

import pandas as pd

from crystalsweep.config import Config, as_parameters
from crystalsweep.evaluation.arms import Arm, arms_of, recipe_of, run_of
from crystalsweep.evaluation.outcome import (
    DFT_SETTINGS,
    METRICS_FILE,
    Evaluation,
    Figure,
    metrics_of,
    read_outcome,
    variant,
)
from crystalsweep.evaluation.properties.comparing import compare_properties
from crystalsweep.evaluation.properties.outcome import is_property_evaluation
from crystalsweep.evaluation.publishing import fetch_evaluation
from crystalsweep.evaluation.run import read_tables
from crystalsweep.metrics.bootstrap import Interval
from crystalsweep.metrics.pairing import other_inputs
from crystalsweep.metrics.seed_verdicts import seed_verdicts
from crystalsweep.metrics.summary import DELTA_DFT, METRICS, Metric, available, computable, energetic
from crystalsweep.metrics.verdicts import named_pairs, verdicts
from crystalsweep.tracking.tracker import Tracker

COMPARED = (
    *(metric.name for metric in METRICS),
    *("compositional_validity_not_exempt", "charges_balance", "masked_accuracy", "match_rate", "delta_energy"),
    DELTA_DFT.name,
)
"""What is compared unless more is asked for; fewer comparisons resolve smaller differences."""

_OF_THE_SET = {"uniqueness"}
"""Whether a crystal is the first of its kind depends on the others: its rows cannot be paired."""
_NOMINAL = {"structural_similarity", "structural_similarity_unaligned", "paper_eq5"}
"""Of crystals from files, what is divided by the displacement that `nominal_sigma` makes."""
_ENERGIES = {metric.name for metric in energetic()}
_HULL = {name for name in _ENERGIES if not name.startswith("delta_energy")}


def compare_evaluations(
    references: Sequence[str],
    tracker: Tracker | None,
    downloads: Path,
    *,
    all_metrics: bool = False,
    all_pairs: bool = False,
    preset: str | None = None,
) -> tuple[pd.DataFrame, list[str]]:
    """Return verdicts as `metrics.verdicts` gives them, and what a reader must know of the evaluations.

    Args:
        references: Folders of evaluations, or MLflow runs as RUN_ID or RUN_ID/NAME; the first is the baseline. Several
            with commas between them are one arm, a training seed each.
        tracker: Where run ids are looked up.
        downloads: Folder for what is fetched from there.
        all_metrics: Every metric that the tables have.
        all_pairs: Each against each before it.
        preset: Compare the columns that `rescore` has added under this name.

    Raises:
        ValueError: One is no finished evaluation, they were scored under different settings, or have no metric or no
            corrupted crystal in common.
    """
    arms, known_as = arms_of(references)
    seeds = max(len(arm.evaluations) for arm in arms)
    folders = {label: _folder(reference, tracker, downloads) for label, reference in known_as.items()}
    kinds = {label: is_property_evaluation(folder) for label, folder in folders.items()}
    if any(kinds.values()):
        _require_one_kind(kinds, preset)
        members = {arm.label: arm.evaluations for arm in arms}
        return compare_properties(folders, members, all_metrics=all_metrics, all_pairs=all_pairs)
    outcomes = {label: read_outcome(folder) for label, folder in folders.items()}
    tables = {label: read_tables(folder)[0] for label, folder in folders.items()}
    known: Sequence[Metric]
    if preset:
        known = _rescored(outcomes, folders, preset)
        tables = {label: variant(table, preset) for label, table in tables.items()}
    else:
        _require_same_settings(outcomes)
        known = metrics_of(next(iter(outcomes.values())).settings.metrics)
    known = [metric for metric in known if metric.name not in _OF_THE_SET]
    chosen = known if all_metrics else [metric for metric in known if metric.name in COMPARED]
    shared = [metric for metric in chosen if all(available([metric], table) for table in tables.values())]
    kept, notes = _comparable(shared, outcomes)
    notes += _lacking(chosen, tables)
    if not preset:
        notes += [note for label in outcomes if (note := _disagreement(label, outcomes[label], tables[label]))]
    if not kept:
        raise ValueError("; ".join(["the evaluations have no metric that can be compared", *notes]))
    members = {arm.label: arm.evaluations for arm in arms}
    pairs = named_pairs(members, "all" if all_pairs else "first")
    met = [pair for a, b in pairs for pair in product(members[b], members[a])]
    notes += [note for a, b in met if (note := _other_inputs(tables, a, b))]
    notes += [note for arm in arms for note in _of_an_arm(arm, outcomes, seeds)]
    if seeds == 1:
        named = {arm.label: tables[arm.evaluations[0]] for arm in arms}
        return verdicts(named, kept, pairs=pairs), notes
    grouped = {label: [tables[each] for each in labels] for label, labels in members.items()}
    return seed_verdicts(grouped, kept, pairs=pairs), notes


def _of_an_arm(arm: Arm, outcomes: Mapping[str, Evaluation], seeds: int) -> list[str]:
    """Return notes of what makes an arm another thing than one recipe trained with several seeds."""
    members = arm.evaluations
    if len(members) == 1:
        alone = f"{arm.label} is one training: its own spread between seeds is not known, and in no interval"
        return [alone] if seeds > 1 else []
    notes, models = [], [outcomes[member].model for member in members]
    weights = [(model.get("weights_sha256"), model.get("critic_sha256")) for model in models]
    if len(set(weights)) < len(weights):
        notes.append(f"{arm.label} has the same weights more than once: its spread between seeds is too small")
    recipes = [recipe_of(model) for model in models]
    unlike = {
        key for one in recipes for other in recipes for key in one.keys() & other.keys() if one[key] != other[key]
    }
    if unlike:
        notes.append(f"the trainings of {arm.label} differ in more than their seed: {', '.join(sorted(unlike))}")
    elif len({(model.get("reference_row"), model.get("stage")) for model in models}) > 1:
        notes.append(f"the members of {arm.label} are no trainings of one recipe")
    return notes


def _require_one_kind(of_properties: Mapping[str, bool], preset: str | None) -> None:
    """Raise `ValueError` where property models are among generators, or a preset of generators' metrics is named."""
    if not all(of_properties.values()):
        named = [", ".join(label for label, kind in of_properties.items() if kind == asked) for asked in (True, False)]
        raise ValueError(
            f"{named[0]} predicts properties and {named[1]} restores crystals: they have no figure in common; compare "
            "each with its own kind"
        )
    if preset:
        raise ValueError("--preset is of generators' scores; property models have none to rescore")


def _folder(reference: str, tracker: Tracker | None, downloads: Path) -> Path:
    if Path(reference).exists():
        return Path(reference)
    run = run_of(reference)
    if tracker is None or run is None:
        raise ValueError(
            f"{reference!r} is neither a folder of `crystalsweep evaluate` nor an MLflow run id (32 hex digits, with "
            "/NAME for one of several evaluations)"
        )
    return fetch_evaluation(tracker, run[1], run[2], downloads)


def _require_same_settings(outcomes: Mapping[str, Evaluation]) -> None:
    """Raise `ValueError`, naming what differs, where figures mean different things."""
    first, *others = outcomes
    for other in others:
        if different := _different(outcomes[first].settings.metrics, outcomes[other].settings.metrics):
            raise ValueError(
                f"{first} and {other} were scored under different settings ({', '.join(different)}); rescore both "
                "under one preset (`crystalsweep rescore FOLDER --preset NAME`) and compare those columns "
                "(`crystalsweep compare --preset NAME`), or evaluate one of them again"
            )


def _rescored(outcomes: Mapping[str, Evaluation], folders: Mapping[str, Path], preset: str) -> list[Metric]:
    """Return metrics that all have under this preset. Raises `ValueError` where one has none, or under other
    settings."""
    for label, outcome in outcomes.items():
        if preset not in outcome.rescored:
            raise ValueError(
                f"{label} was not rescored as {preset!r} (it has {', '.join(outcome.rescored) or 'none'}); "
                f"`crystalsweep rescore {folders[label]} --preset NAME` does"
            )
    first, *others = (outcome.rescored[preset].settings for outcome in outcomes.values())
    for label, other in zip(list(outcomes)[1:], others, strict=True):
        if different := _different(first, other):
            raise ValueError(f"{label} was rescored as {preset!r} under different settings ({', '.join(different)})")
    rows = [outcome.rescored[preset].rows[outcome.name] for outcome in outcomes.values()]
    return [metric for metric in metrics_of(first) if all(metric.name in row for row in rows)]


def _comparable(metrics: Sequence[Metric], outcomes: Mapping[str, Evaluation]) -> tuple[list[Metric], list[str]]:
    """Return those of the metrics that mean the same in all evaluations, and notes of what differs."""
    first, *others = outcomes
    names, dropped, notes = [metric.name for metric in metrics], set(), []
    for other in others:
        for why, affected in _other_meaning(outcomes[first], outcomes[other]):
            if lost := [name for name in names if name in affected]:
                dropped.update(lost)
                notes.append(f"not compared, as {first} and {other} differ in {why}: {', '.join(lost)}")
        notes += _notes(first, other, outcomes[first], outcomes[other])
    return [metric for metric in metrics if metric.name not in dropped], notes


def _other_meaning(a: Evaluation, b: Evaluation) -> list[tuple[str, set[str]]]:
    """Return what differs between two evaluations, with the metrics that it decides."""
    energies = _different(a.settings.energies, b.settings.energies)
    found = [
        (f"energies.{name}", {each for each in _ENERGIES if each.endswith("_relaxed") or name != "relax_steps"})
        for name in energies
        if name != "max_parents"  # says which crystals have energies; those that both have are compared
    ]
    if _hull(a) != _hull(b):
        found.append(("the crystals of the convex hull", _HULL))
    if a.data.get("reference_sha256") != b.data.get("reference_sha256"):
        found.append(("the training crystals to be new against", {"novel_vs_reference", "sun"}))
    if a.energies.get(DFT_SETTINGS) != b.energies.get(DFT_SETTINGS):
        found.append(("the settings of density functional theory", {DELTA_DFT.name}))
    nominal = [outcome.settings.nominal_sigma if outcome.kind == "structures" else None for outcome in (a, b)]
    if nominal[0] != nominal[1]:
        found.append(("nominal_sigma", _NOMINAL))
    return found


def _hull(outcome: Evaluation) -> object:
    return outcome.data.get("hull_sha256", outcome.energies.get("hull"))


def _notes(first: str, other: str, a: Evaluation, b: Evaluation) -> list[str]:
    notes = []
    if versions := sorted(k for k in {*a.versions, *b.versions} if a.versions.get(k) != b.versions.get(k)):
        notes.append(f"{other} was measured with other versions than {first}: {', '.join(versions)}")
    if a.data.get("data_sha256") != b.data.get("data_sha256"):
        notes.append(f"{other} was evaluated on other crystals than {first}; only what both have is compared")
    if protocol := _different(a.settings.protocol, b.settings.protocol):
        notes.append(
            f"{other} has another protocol than {first} ({', '.join(protocol)}); only equal inputs are compared"
        )
    if decoded := _different(a.settings.decode, b.settings.decode):
        notes.append(f"{other} was decoded otherwise than {first} ({', '.join(decoded)}): {_decoders(a, b)}")
    return notes


def _decoders(a: Evaluation, b: Evaluation) -> str:
    """Return both decoders in words, and what a rule used in one of them does to a figure."""
    told = f"{b.settings.decode} against {a.settings.decode}"
    ruled = {each.settings.decode.charge != "any" for each in (a, b)}
    return told + ("; compositional validity is by the rule that one of them chose by" if len(ruled) == 2 else "")


def _lacking(metrics: Sequence[Metric], tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Return notes of what only some of the tables have, and so is not compared."""
    there = {label: {metric.name for metric in available(metrics, table)} for label, table in tables.items()}
    known = set().union(*there.values())
    lost = {label: [m.name for m in metrics if m.name in known - names] for label, names in there.items()}
    return [
        f"not compared, as {label} has no value of it: {', '.join(names)}" for label, names in lost.items() if names
    ]


def _disagreement(label: str, outcome: Evaluation, table: pd.DataFrame) -> str:
    """Return a note where the figures of an evaluation are not those of its table."""
    told = outcome.rows[outcome.name]
    found = {m.name: m.over(table, n_resamples=1) for m in metrics_of(outcome.settings.metrics) if computable(m, table)}
    other = [name for name, interval in found.items() if name in told and not _same(told[name], interval)]
    if not other:
        return ""
    return f"{label}: {METRICS_FILE} says otherwise than the table, which is what is compared: {', '.join(other)}"


def _same(figure: Figure, interval: Interval) -> bool:
    mean = math.nan if figure.mean is None else figure.mean
    alike = math.isclose(mean, interval.mean, rel_tol=1e-6, abs_tol=1e-9) or (
        mean != mean and math.isnan(interval.mean)
    )
    return alike and figure.n == interval.n


def _other_inputs(tables: Mapping[str, pd.DataFrame], a: str, b: str) -> str:
    if n := other_inputs(tables[a], tables[b], (a, b)):
        return f"{a} and {b}: {n:,} rows of the same crystal, mask and noise were corrupted otherwise and are left out"
    return ""


def _different(a: Config, b: Config) -> list[str]:
    """Return dotted names of the settings that differ."""
    values, others = as_parameters(a), as_parameters(b)
    return [name for name in values if values[name] != others[name]]
