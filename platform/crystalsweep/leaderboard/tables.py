"""Tables of scores from MLflow, kept on disk: what a finished run has logged does not change."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import pandas as pd
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from tqdm import tqdm

from crystalsweep.evaluation.outcome import METRICS_FILE, Evaluation, read_outcome
from crystalsweep.evaluation.properties.outcome import is_property_evaluation
from crystalsweep.evaluation.run import REFERENCES_FILE
from crystalsweep.evaluation.tables import read_references, read_table
from crystalsweep.leaderboard.entries import Entry, cached, evaluation_folders
from crystalsweep.tracking.tracker import Tracker

AT_ONCE = 8
"""Downloads at a time."""

K = TypeVar("K")
V = TypeVar("V")


def fetch_tables(
    tracker: Tracker, entries: Sequence[Entry], downloads: Path
) -> tuple[dict[str, pd.DataFrame], dict[str, str]]:
    """Return tables by run id, and for runs without a table that can be read the reason."""
    asked = {entry.run: (entry.table, cached(entry, downloads)) for entry in entries}
    files, lost = _fetch(tracker, {run: (run, artifact, file) for run, (artifact, file) in asked.items()}, "tables")
    tables = {}
    for run, file in files.items():
        try:
            tables[run] = read_table(file)
        except (OSError, ValueError) as error:
            lost[run] = f"{file} cannot be read: {error}"
    return tables, lost


def fetch_outcomes(
    tracker: Tracker, runs: Sequence[Run], downloads: Path
) -> tuple[dict[tuple[str, str], Evaluation], list[str]]:
    """Return figures of all evaluations of these runs, by run id and artifact folder, and what cannot be read, in
    words."""
    files, reasons = fetch_of_evaluations(tracker, runs, downloads, METRICS_FILE)
    outcomes = {}
    of_properties = 0
    for key, file in files.items():
        try:
            if is_property_evaluation(file.parent):
                of_properties += 1
                continue
            outcomes[key] = read_outcome(file.parent)
        except ValueError as error:
            reasons.append(f"{key[0][:8]}: {error}")
    if of_properties:
        reasons.append(
            f"{of_properties} of property models, which have no figure in common with generators; --target PROPERTY "
            "ranks them"
        )
    return outcomes, reasons


def fetch_of_evaluations(
    tracker: Tracker, runs: Sequence[Run], downloads: Path, name: str
) -> tuple[dict[tuple[str, str], Path], list[str]]:
    """Return a file of all evaluations of these runs, by run id and artifact folder, and what cannot be had, in
    words."""
    asked = {
        (str(run.info.run_id), folder): (
            str(run.info.run_id),
            f"{folder}/{name}",
            downloads / "tables" / f"{run.info.run_id}-{run.info.end_time or 0}" / folder / name,
        )
        for run in runs
        for folder in evaluation_folders(run)
    }
    files, lost = _fetch(tracker, asked, "evaluations")
    return files, [f"{run[:8]}: {why}" for (run, _), why in lost.items()]


def fetch_references(tracker: Tracker, entry: Entry, downloads: Path) -> dict[str, pd.DataFrame]:
    """Return tables of the reference rows beside an evaluation; empty where there are none, as for a validation."""
    if not entry.references:
        return {}
    folder = entry.table.rpartition("/")[0]
    file = cached(entry, downloads).parent / REFERENCES_FILE
    files, _ = _fetch(tracker, {0: (entry.run, f"{folder}/{REFERENCES_FILE}", file)}, "references")
    if not files:
        return {}
    return read_references(file)


def _fetch(tracker: Tracker, asked: Mapping[K, tuple[str, str, Path]], what: str) -> tuple[dict[K, Path], dict[K, str]]:
    """Return files by key, and reasons for those that cannot be had; each asked for as (run, artifact, where to)."""
    missing = {key: each for key, each in asked.items() if not each[2].exists()}
    lost: dict[K, str] = {}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        done = pool.map(lambda each: _attempt(lambda: _download(tracker, *each)), missing.values())
        for key, error in tqdm(zip(missing, done, strict=True), what, len(missing), unit="", disable=len(missing) < 5):
            if error:
                lost[key] = error
    return {key: file for key, (_, _, file) in asked.items() if key not in lost}, lost


def _attempt(work: Callable[[], None]) -> str:
    try:
        work()
    except (MlflowException, OSError) as error:
        return " ".join(str(error).split())[:200] or type(error).__name__
    return ""


def _download(tracker: Tracker, run: str, artifact: str, file: Path) -> None:
    """Download the table whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=file.parent) as scratch:
        tracker.download(run, artifact, Path(scratch)).replace(file)
