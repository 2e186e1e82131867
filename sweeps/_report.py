"""What a finished sweep says: a table with intervals, what the adversary changed, plots, and what to type next."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
from tabulate import tabulate

from crystalsweep.metrics import HEADERS, SHOWN, Metric, cells, compare, footnote, headline, summarise
from crystalsweep.plots import plot_conditions, plot_training, plot_trials
from crystalsweep.tracking import sqlite_uri
from sweeps._engine import Outcome
from trainables.restoration import SCORE, TABLE

SIGMA, W = "corruption.sigma_noise", "adversarial.w_wasserstein"
"""The two settings that the GAN sweep's table and plots are laid out by."""

_HISTORY = (
    "epoch",
    "loss/species",
    "loss/position",
    "loss/adversarial",
    "audit/ratio",
    "audit/cosine",
    "discriminator/accuracy_real",
    "discriminator/accuracy_fake",
    "discriminator/score_gap",
    SCORE,
)


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """A trial with its per-structure table."""

    outcome: Outcome
    table: pd.DataFrame

    @cached_property
    def summary(self) -> pd.DataFrame:
        """Metrics per mask type and test sigma, as `metrics.summarise` gives them."""
        return summarise(self.table)

    @property
    def sigma_noise(self) -> float:
        """Training noise, in units of min_edge."""
        return float(self.outcome.settings[SIGMA])

    @property
    def w_wasserstein(self) -> float:
        """w_W; 0 is the control arm."""
        return float(self.outcome.settings[W])

    @property
    def name(self) -> str:
        """As legends show it."""
        return f"σ={self.sigma_noise:g} w_W={self.w_wasserstein:g}"


def evaluated(outcomes: Sequence[Outcome]) -> list[Evaluated]:
    """Finished trials with their tables, by sigma and w_W."""
    trials = [
        Evaluated(outcome=outcome, table=pd.read_parquet(outcome.checkpoint / TABLE))
        for outcome in outcomes
        if outcome.status == "FINISHED" and outcome.checkpoint
    ]
    return sorted(trials, key=lambda trial: (trial.sigma_noise, trial.w_wasserstein))


def results_table(trials: Sequence[Evaluated], references: dict[str, pd.DataFrame]) -> str:
    """A row per trial and per reference: training sigma, w_W, metrics with 95 % intervals, audit, MLflow run."""
    rows: list[list[object]] = [
        [f"{t.sigma_noise:g}", f"{t.w_wasserstein:g}", *cells(t.table), _taught(t.outcome), t.outcome.run]
        for t in trials
    ]
    rows += [[name, "", *cells(table), "", ""] for name, table in references.items()]
    headers = ["σ_noise", "w_W", *HEADERS, "adv/rec gradient", "MLflow run"]
    table = tabulate(rows, headers=headers, disable_numparse=True)
    return f"{table}\n{footnote(references['ceiling'])}"


def adversary_table(trials: Sequence[Evaluated]) -> str:
    """Each trial minus the control arm (w_W = 0) of its sigma, paired by corrupted crystal; empty without controls."""
    controls = {trial.sigma_noise: trial for trial in trials if trial.w_wasserstein == 0}
    rows = [
        [f"{trial.sigma_noise:g}", f"{trial.w_wasserstein:g}", metric.title, *_difference(trial, control, metric)]
        for trial in trials
        if (control := controls.get(trial.sigma_noise)) and trial is not control
        for metric in SHOWN
    ]
    if not rows:
        return ""
    table = tabulate(rows, headers=["σ_noise", "w_W", "metric", "minus control", "verdict"], disable_numparse=True)
    return (
        "What the adversary did: each trial minus the control arm at its σ_noise (the same training without the\n"
        f"adversary), paired by restored crystal\n{table}\n"
        f"{len(rows)} comparisons at 95 %: about {0.05 * len(rows):.0f} would look resolved by chance.\n"
        "One training seed per arm: the intervals hold for these trained models, without the spread between seeds."
    )


def draw(trials: Sequence[Evaluated], references: dict[str, pd.DataFrame], folder: Path) -> list[Path]:
    """The sweep's plots: metrics over w_W, and what every trial did over its epochs."""
    rows = []
    for trial in trials:
        named = {"trial": trial.outcome.trial, "sigma_noise": trial.sigma_noise, "w_wasserstein": trial.w_wasserstein}
        rows += _rows(named, trial.table)
    for name in ("ceiling", "identity"):
        rows += _rows({"trial": name}, references[name])
    history = pd.concat([_history(trial) for trial in trials], ignore_index=True)
    return [plot_trials(pd.DataFrame(rows), folder / "trials.png"), plot_training(history, folder / "training.png")]


def draw_trial(trial: Evaluated, summaries: dict[str, pd.DataFrame], folder: Path) -> list[Path]:
    """One trial's plots: metrics over test noise and mask type, and its epochs."""
    drawn = {trial.name: trial.summary, "ground truth": summaries["ceiling"], "identity": summaries["identity"]}
    folder.mkdir(parents=True, exist_ok=True)
    return [
        plot_conditions(drawn, folder / "conditions.png"),
        plot_training(_history(trial), folder / "training.png"),
    ]


def tidy(trials: Sequence[Evaluated], summaries: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """All numbers of the table, a row per trial or reference, mask type, test sigma and metric."""
    parts = [
        trial.summary.assign(trial=trial.outcome.trial, run=trial.outcome.run, **trial.outcome.settings)
        for trial in trials
    ]
    parts += [summary.assign(trial=name) for name, summary in summaries.items()]
    return pd.concat(parts, ignore_index=True)


def next_commands(best: Evaluated, tracking_uri: str, storage: Path, preset: str) -> str:
    """The three commands to type next."""
    local = tracking_uri.startswith("sqlite:")
    own = tracking_uri == sqlite_uri(storage)
    place = f"--storage {storage}" if own else f"--tracking-uri {tracking_uri}"
    look = f"{_command('mlflow')} ui --backend-store-uri {tracking_uri}" if local else f"open {tracking_uri}"
    submit = f"{_command('ray')} job submit --working-dir . -- python sweeps/gan_noise.py --preset {preset}"
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


def _difference(trial: Evaluated, control: Evaluated, metric: Metric) -> tuple[str, str]:
    interval = compare(trial.table, control.table, metric)
    if not interval.n:
        return "n = 0", ""
    return f"{interval.mean:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]", interval.verdict


def _taught(outcome: Outcome) -> str:
    return f"{outcome.metrics.get('audit/ratio', float('nan')):.3f}"


def _history(trial: Evaluated) -> pd.DataFrame:
    rows = [{name: row.get(name, float("nan")) for name in _HISTORY} for row in trial.outcome.history]
    return pd.DataFrame(rows).assign(trial=trial.name)


def _rows(named: dict[str, object], table: pd.DataFrame) -> list[dict[str, object]]:
    """A row per headline metric, as `plot_trials` takes them."""
    return [
        {**named, "metric": name, "mean": i.mean, "low": i.low, "high": i.high} for name, i in headline(table).items()
    ]
