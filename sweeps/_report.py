"""What every finished sweep says: trials with their tables, paired differences, plots, and what to type next."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import tabulate

from crystalsweep.metrics import KEYS, SHOWN, summarise
from crystalsweep.metrics.verdicts import n_comparisons, verdicts
from crystalsweep.plots import plot_similarity, plot_training, plot_validity
from crystalsweep.tracking import sqlite_uri
from sweeps._engine import Outcome
from trainables.restoration import TABLE


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What a sweep has to report on."""

    outcomes: Sequence[Outcome]
    """Of the trials that finished."""
    references: dict[str, pd.DataFrame]
    """Tables of ceiling, identity and most common species, on the trials' inputs."""
    structures: int
    """Training crystals of an epoch."""
    folder: Path
    """For plots."""


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """A trial with its per-structure table."""

    outcome: Outcome
    name: str
    """As legends show it."""
    facts: dict[str, float] = field(default_factory=dict)
    """What a sweep measures of a trial beside its metrics."""

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row per restored crystal, of the last validation."""
        assert self.outcome.checkpoint
        return pd.read_parquet(self.outcome.checkpoint / TABLE)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """Metrics per mask type and test sigma, as `metrics.summarise` gives them."""
        return summarise(self.table)


@dataclass(frozen=True, kw_only=True)
class Told:
    """A sweep's report."""

    trials: Sequence[Evaluated]
    """In the order of the report."""
    text: str
    plots: list[Path]
    history: Sequence[str]
    """Metrics that are drawn over each trial's epochs."""


def comparison(
    tables: Mapping[str, pd.DataFrame],
    pairs: Mapping[tuple[str, str], Sequence[str]],
    headers: Sequence[str],
    keys: Sequence[str] = KEYS,
) -> str:
    """What pairs of tables differ by, a row per pair and metric, and below it what the verdicts are corrected for.

    Args:
        tables: Per-structure tables by name.
        pairs: (a, b) by name for a minus b, with the cells that its rows begin with.
        headers: Of those cells, of the metric and of the difference.
        keys: Columns that pair rows.
    """
    compared = [(a, b) for a, b in pairs if _shared(tables[a], tables[b], keys) > 1]
    frame = verdicts(tables, SHOWN, pairs=compared, keys=keys)
    rows = [[*pairs[row["a"], row["b"]], *_verdict(row)] for row in frame.to_dict("records")]
    rows += [[*pairs[pair], "", "too few crystals in common", "", ""] for pair in pairs if pair not in compared]
    n, notes = n_comparisons(frame), [note for note in frame["note"].unique() if note]
    lines = [
        tabulate(rows, headers=[*headers, "corrected p", "verdict"], disable_numparse=True),
        f"Verdicts: p, after Holm's correction for {n} comparisons, below 0.05. Intervals: 95 % each, uncorrected.",
    ]
    return "\n".join(lines + notes)


def _shared(a: pd.DataFrame, b: pd.DataFrame, keys: Sequence[str]) -> int:
    """Parent crystals of the rows whose keys both tables hold: none where the trials of a seed failed."""
    return a[list(keys)].merge(b[list(keys)], on=list(keys))["parent"].nunique()


def _verdict(row: Mapping[Hashable, Any]) -> list[str]:
    """Metric, difference with its interval, corrected p and verdict."""
    title = next(metric.title for metric in SHOWN if metric.name == row["metric"])
    if pd.isna(row["p"]):
        return [title, "one crystal: no interval" if row["n"] else "n = 0", "", ""]
    effect = f"{row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"
    return [title, effect, f"{row['p_adjusted']:.4f}", row["verdict"]]


def history(trial: Evaluated, columns: Sequence[str]) -> pd.DataFrame:
    """A trial's epochs, as `plot_training` takes them; NaN where a metric was not logged."""
    rows = [{name: row.get(name, float("nan")) for name in columns} for row in trial.outcome.history]
    return pd.DataFrame(rows).assign(trial=trial.name)


def draw_trial(
    trial: Evaluated, columns: Sequence[str], references: Mapping[str, pd.DataFrame], folder: Path
) -> list[Path]:
    """One trial's plots: metrics over test noise and mask type beside the references' tables, and its epochs."""
    tables = {trial.name: trial.table, **references}
    return [
        plot_validity(tables, folder / "validity.png"),
        plot_similarity(tables, folder / "similarity.png"),
        plot_training(history(trial, columns), folder / "training.png"),
    ]


def tidy(trials: Sequence[Evaluated], summaries: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """All numbers of the table, a row per trial or reference, mask type, test sigma and metric."""
    parts = [
        trial.summary.assign(trial=trial.outcome.trial, run=trial.outcome.run, **trial.outcome.settings, **trial.facts)
        for trial in trials
    ]
    parts += [summary.assign(trial=name) for name, summary in summaries.items()]
    return pd.concat(parts, ignore_index=True)


def next_commands(sweep: str, best: Evaluated, tracking_uri: str, storage: Path) -> str:
    """The three commands to type next; the sweep as it was asked for."""
    local = tracking_uri.startswith("sqlite:")
    own = tracking_uri == sqlite_uri(storage)
    place = f"--storage {storage}" if own else f"--tracking-uri {tracking_uri}"
    look = f"{_command('mlflow')} ui --backend-store-uri {tracking_uri}" if local else f"open {tracking_uri}"
    submit = (
        f"{_command('ray')} job submit --working-dir . -- {shlex.join(['python', f'sweeps/{sweep}.py', *sys.argv[1:]])}"
    )
    return (
        "Next:\n"
        f"  compare in the MLflow UI   {look}\n"
        f"  resubmit on a cluster      RAY_API_SERVER_ADDRESS=http://HEAD:8265 {submit}\n"
        f"  promote the best trial     {_command('crystalsweep')} promote {best.outcome.run} {place}"
    )


def _command(name: str) -> str:
    """The command as this shell finds it: by name with the environment activated, else by path."""
    if shutil.which(name):
        return name
    path = Path(sys.executable).parent / name
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
