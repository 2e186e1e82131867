"""What a finished GAN sweep says: a table with intervals, what the adversary changed, and plots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from tabulate import tabulate

from crystalsweep.metrics import HEADERS, cells, footnote, headline
from crystalsweep.plots import plot_training, plot_trials
from sweeps._engine import Outcome
from sweeps._report import Evaluated, Finished, Told, comparison, history
from trainables.restoration import SCORE

SIGMA, W = "corruption.sigma_noise", "adversarial.w_wasserstein"
"""The two settings that the table and the plots are laid out by."""

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
class GanTrial(Evaluated):
    """A trial by its two settings."""

    sigma_noise: float
    """Training noise, in units of min_edge."""
    w_wasserstein: float
    """w_W; 0 is the control arm."""


def report(finished: Finished) -> Told:
    """The report, trials by sigma and w_W."""
    found = [_trial(outcome) for outcome in finished.outcomes]
    trials = sorted(found, key=lambda trial: (trial.sigma_noise, trial.w_wasserstein))
    plots = draw(trials, finished.references, finished.folder)
    text = f"{results_table(trials, finished.references)}\n\n{adversary_table(trials)}"
    return Told(trials=trials, text=text, plots=plots, history=_HISTORY)


def _trial(outcome: Outcome) -> GanTrial:
    sigma, w = float(outcome.settings[SIGMA]), float(outcome.settings[W])
    return GanTrial(outcome=outcome, name=f"σ={sigma:g} w_W={w:g}", sigma_noise=sigma, w_wasserstein=w)


def results_table(trials: Sequence[GanTrial], references: dict[str, pd.DataFrame]) -> str:
    """A row per trial and per reference: training sigma, w_W, metrics with 95 % intervals, audit, MLflow run."""
    rows: list[list[object]] = [
        [f"{t.sigma_noise:g}", f"{t.w_wasserstein:g}", *cells(t.table), _taught(t.outcome), t.outcome.run]
        for t in trials
    ]
    rows += [[name, "", *cells(table), "", ""] for name, table in references.items()]
    headers = ["σ_noise", "w_W", *HEADERS, "adv/rec gradient", "MLflow run"]
    table = tabulate(rows, headers=headers, disable_numparse=True)
    return f"{table}\n{footnote(references['ceiling'])}"


def adversary_table(trials: Sequence[GanTrial]) -> str:
    """Each trial minus the control arm (w_W = 0) of its sigma, paired by corrupted crystal; empty without controls."""
    controls = {trial.sigma_noise: trial for trial in trials if trial.w_wasserstein == 0}
    pairs = {
        (trial.outcome.trial, control.outcome.trial): (f"{trial.sigma_noise:g}", f"{trial.w_wasserstein:g}")
        for trial in trials
        if (control := controls.get(trial.sigma_noise)) and trial is not control
    }
    if not pairs:
        return ""
    tables = {trial.outcome.trial: trial.table for trial in trials}
    return (
        "What the adversary did: each trial minus the control arm at its σ_noise (the same training without the\n"
        "adversary), paired by restored crystal\n"
        f"{comparison(tables, pairs, ('σ_noise', 'w_W', 'metric', 'minus control'))}\n"
        "One training seed per arm: the intervals hold for these trained models, without the spread between seeds."
    )


def draw(trials: Sequence[GanTrial], references: dict[str, pd.DataFrame], folder: Path) -> list[Path]:
    """The sweep's plots: metrics over w_W, and what every trial did over its epochs."""
    rows = []
    for trial in trials:
        named = {"trial": trial.outcome.trial, "sigma_noise": trial.sigma_noise, "w_wasserstein": trial.w_wasserstein}
        rows += _rows(named, trial.table)
    for name in ("ceiling", "identity"):
        rows += _rows({"trial": name}, references[name])
    epochs = pd.concat([history(trial, _HISTORY) for trial in trials], ignore_index=True)
    return [plot_trials(pd.DataFrame(rows), folder / "trials.png"), plot_training(epochs, folder / "training.png")]


def _taught(outcome: Outcome) -> str:
    return f"{outcome.metrics.get('audit/ratio', float('nan')):.3f}"


def _rows(named: dict[str, object], table: pd.DataFrame) -> list[dict[str, object]]:
    """A row per headline metric, as `plot_trials` takes them."""
    return [
        {**named, "metric": name, "mean": i.mean, "low": i.low, "high": i.high} for name, i in headline(table).items()
    ]
