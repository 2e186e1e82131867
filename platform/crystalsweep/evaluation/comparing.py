"""Evaluations against each other: the same corrupted crystals, pair by pair."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from crystalsweep.evaluation.outcome import Outcome, metrics_of, read_outcome
from crystalsweep.evaluation.publishing import ARTIFACTS
from crystalsweep.evaluation.run import read_tables
from crystalsweep.metrics.summary import METRICS, available
from crystalsweep.metrics.verdicts import verdicts
from crystalsweep.tracking import Tracker

HEADLINE = (*(metric.name for metric in METRICS), "masked_accuracy", "match_rate", "delta_energy")
"""What is compared unless more is asked for; fewer comparisons resolve smaller differences."""


def compare_evaluations(
    references: Sequence[str],
    tracker: Tracker | None,
    downloads: Path,
    *,
    all_metrics: bool = False,
    all_pairs: bool = False,
) -> tuple[pd.DataFrame, list[str]]:
    """Verdicts as `metrics.verdicts` gives them, and what a reader must know of the evaluations.

    Args:
        references: Folders of evaluations, or MLflow run ids; the first is the baseline.
        tracker: Where run ids are looked up.
        downloads: Folder for what is fetched from there.
        all_metrics: Every metric that the tables have.
        all_pairs: Each against each before it.

    Raises:
        ValueError: One is no finished evaluation, or they were scored under different settings.
    """
    folders = [_folder(reference, tracker, downloads) for reference in references]
    outcomes = [read_outcome(folder) for folder in folders]
    notes = _notes(outcomes, references)
    names = _distinct([outcome.name for outcome in outcomes], folders)
    tables = {name: read_tables(folder)[0] for name, folder in zip(names, folders, strict=True)}
    known = metrics_of(outcomes[0].settings.metrics)
    chosen = known if all_metrics else [metric for metric in known if metric.name in HEADLINE]
    shared = [metric for metric in chosen if all(available([metric], table) for table in tables.values())]
    return verdicts(tables, shared, pairs="all" if all_pairs else "first"), notes


def _folder(reference: str, tracker: Tracker | None, downloads: Path) -> Path:
    if Path(reference).exists():
        return Path(reference)
    if tracker is None or not re.fullmatch(r"[0-9a-f]{32}", reference):
        raise ValueError(
            f"{reference!r} is neither a folder of `crystalsweep evaluate` nor an MLflow run id (32 hex digits)"
        )
    from mlflow.exceptions import MlflowException

    try:
        return tracker.download(reference, ARTIFACTS, downloads / reference)
    except (MlflowException, OSError) as error:
        raise ValueError(
            f"run {reference} in {tracker.uri} has no evaluation ({error}); log one with `crystalsweep evaluate "
            f"--checkpoint {reference} --tracking-uri {tracker.uri}`"
        ) from error


def _notes(outcomes: Sequence[Outcome], references: Sequence[str]) -> list[str]:
    """What differs between the evaluations. Raises `ValueError` where their figures mean different things."""
    first, notes = outcomes[0], []
    for outcome, reference in zip(outcomes[1:], references[1:], strict=True):
        if outcome.settings.metrics != first.settings.metrics:
            raise ValueError(
                f"{references[0]} and {reference} were scored under different settings; evaluate one of them again, or "
                "rescore both under one preset and compare the columns"
            )
        different = sorted(k for k in first.versions if first.versions[k] != outcome.versions.get(k))
        if different:
            notes.append(f"{reference} was measured with other versions than {references[0]}: {', '.join(different)}")
        if outcome.data["data_sha256"] != first.data["data_sha256"]:
            notes.append(f"{reference} was evaluated on other crystals; only those that both have are compared")
        if outcome.settings.protocol != first.settings.protocol:
            notes.append(f"{reference} has other corruptions; only those that both have are compared")
    return notes


def _distinct(names: Sequence[str], folders: Sequence[Path]) -> list[str]:
    """Names, by folder where two evaluations have the same."""
    if len(set(names)) == len(names):
        return list(names)
    stems = [folder.resolve().name for folder in folders]
    return stems if len(set(stems)) == len(stems) else [f"{stem} ({i + 1})" for i, stem in enumerate(stems)]
