"""What a finished comparison of backbones says: a table with intervals and costs, paired differences, and plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby
from pathlib import Path

import pandas as pd
from tabulate import tabulate

from crystalsweep.checkpoint import load_generator
from crystalsweep.metrics import HEADERS, KEYS, cells, footnote, headline
from crystalsweep.plots import plot_budget
from sweeps._engine import Outcome
from sweeps._report import Evaluated, Finished, Told, comparison
from trainables.restoration import SCORE

_HISTORY = ("epoch", "loss", "loss/species", "loss/position", SCORE)


@dataclass(frozen=True, kw_only=True)
class BackboneTrial(Evaluated):
    """A trial by its backbone and seed."""

    backbone: str
    seed: int

    @property
    def costs(self) -> list[str]:
        """Cells of the table, as `_COSTS` has them."""
        facts = self.facts
        minutes = f"{facts['minutes']:.2f} ({facts['training_minutes']:.2f})"
        speed, parameters = f"{facts['structures_per_s']:.0f}", f"{facts['parameters']:.0f}"
        return [f"{self.outcome.metrics['epoch']:.0f}", speed, parameters, minutes, self.outcome.run]


_COSTS = ("epochs", "structures/s", "parameters", "minutes (training)", "MLflow run")


def report(finished: Finished) -> Told:
    """The report, trials by backbone in the order asked for, and seed."""
    order = list(dict.fromkeys(outcome.settings["backbone"] for outcome in finished.outcomes))
    found = [_trial(outcome, finished.structures) for outcome in finished.outcomes]
    trials = sorted(found, key=lambda trial: (order.index(trial.backbone), trial.seed))
    text = f"{results_table(trials, finished.references)}\n\n{versus_table(trials)}".rstrip()
    plots = [_draw(trials, finished.references, finished.folder)]
    return Told(trials=trials, text=text, plots=plots, history=_HISTORY)


def _trial(outcome: Outcome, structures: int) -> BackboneTrial:
    """A trial and its costs: minutes of its epochs, those spent on training, and speed over the latter."""
    assert outcome.checkpoint
    training = sum(structures / epoch["time/structures_per_s"] for epoch in outcome.history)
    facts = {
        "parameters": float(sum(weight.numel() for weight in load_generator(outcome.checkpoint).parameters())),
        "minutes": sum(epoch["time/epoch_s"] for epoch in outcome.history) / 60,
        "training_minutes": training / 60,
        "structures_per_s": structures * len(outcome.history) / training,
    }
    backbone, seed = str(outcome.settings["backbone"]), int(outcome.settings["seed"])
    return BackboneTrial(outcome=outcome, name=f"{backbone} seed {seed}", facts=facts, backbone=backbone, seed=seed)


def results_table(trials: Sequence[BackboneTrial], references: Mapping[str, pd.DataFrame]) -> str:
    """A row per trial, per backbone with several seeds, and per reference: metrics with 95 % intervals, costs."""
    rows: list[list[str]] = []
    for backbone, group in _by_backbone(trials).items():
        rows += [[backbone, str(trial.seed), *cells(trial.table), *trial.costs] for trial in group]
        if len(group) > 1:
            rows.append([backbone, f"all {len(group)}", *cells(_pooled(group)), *[""] * len(_COSTS)])
    rows += [[name, "", *cells(table), *[""] * len(_COSTS)] for name, table in references.items()]
    table = tabulate(rows, headers=["backbone", "seed", *HEADERS, *_COSTS], disable_numparse=True)
    return (
        f"{table}\n{footnote(references['ceiling'])}\n"
        "Minutes: training and validation, without checkpoints; in brackets training alone, of which speed is told."
    )


def versus_table(trials: Sequence[BackboneTrial]) -> str:
    """Each backbone minus each one before it, paired by corrupted crystal and seed; empty for one backbone."""
    pooled = {backbone: _pooled(group) for backbone, group in _by_backbone(trials).items()}
    pairs = {(later, earlier): (later, earlier) for earlier, later in combinations(pooled, 2)}
    if not pairs:
        return ""
    table = comparison(pooled, pairs, ("backbone", "minus", "metric", "difference"), keys=(*KEYS, "seed"))
    seeds = len({trial.seed for trial in trials})
    return (
        f"What the backbone changed: one minus another after the same minutes, paired by restored crystal\n{table}\n"
        f"{'One training seed' if seeds == 1 else f'{seeds} training seeds'} per backbone: "
        "the intervals hold for these trained models, without the spread between seeds."
    )


def _by_backbone(trials: Sequence[BackboneTrial]) -> dict[str, list[BackboneTrial]]:
    return {backbone: list(group) for backbone, group in groupby(trials, key=lambda trial: trial.backbone)}


def _pooled(trials: Sequence[BackboneTrial]) -> pd.DataFrame:
    """The tables of all seeds, told apart by the column `seed`."""
    return pd.concat([trial.table.assign(seed=trial.seed) for trial in trials], ignore_index=True)


def _draw(trials: Sequence[BackboneTrial], references: Mapping[str, pd.DataFrame], folder: Path) -> Path:
    epochs = [_epochs(trial) for trial in trials]
    levels = {name: _score(references[name]) for name in ("ceiling", "most common")}
    return plot_budget(pd.concat(epochs, ignore_index=True), folder / "budget.png", references=levels)


def _epochs(trial: BackboneTrial) -> pd.DataFrame:
    """A trial's epochs, as `plot_budget` takes them."""
    rows = pd.DataFrame(trial.outcome.history)
    columns = {"minutes": rows["time/epoch_s"].cumsum() / 60, "loss": rows["loss"], "score": rows[SCORE]}
    return pd.DataFrame(columns).assign(model=trial.backbone, seed=trial.seed)


def _score(table: pd.DataFrame) -> float:
    """What `val/score` would be for a reference."""
    intervals = headline(table).values()
    return sum(interval.mean if interval.n else 0.0 for interval in intervals) / len(intervals)
