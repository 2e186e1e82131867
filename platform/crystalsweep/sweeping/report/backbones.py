"""What a finished comparison of backbones says: a table with intervals and costs, paired differences, and plots."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations, groupby
from pathlib import Path
from typing import Any

import pandas as pd

from crystalsweep.metrics import HEADERS, cells, footnote, headline
from crystalsweep.networks.architectures import backbone_config
from crystalsweep.networks.checkpoint import read_info
from crystalsweep.networks.cost import parameters_by_part, weightless
from crystalsweep.networks.models import Generator
from crystalsweep.pages.content import Table, TableRow
from crystalsweep.plots import plot_budget
from crystalsweep.sweeping.report.beside import Beside, tally
from crystalsweep.sweeping.report.comparison import RESOLVED, Comparison, Pair, compare_trials, over_seeds
from crystalsweep.sweeping.report.figures import Gallery
from crystalsweep.sweeping.report.sweep import tell
from crystalsweep.sweeping.space.finished import FinishedSweep, Report, ReportedTraining
from crystalsweep.sweeping.space.outcome import TrainingOutcome
from crystalsweep.training.records import SCORE

BACKBONE_KEY = "backbone"

_HISTORY = ("epoch", "loss", "loss/species", "loss/position", SCORE)

_COSTS = ("epochs", "structures/s", "parameters", "minutes (training)", "MLflow run")


def backbones_report(finished: FinishedSweep) -> Report:
    """Return the report, trainings by backbone in the order asked for, and seed."""
    order = list(dict.fromkeys(backbone(outcome) for outcome in finished.outcomes))
    found = [_trial(outcome, finished.structures) for outcome in finished.done]
    trials = sorted(found, key=lambda trial: (order.index(backbone(trial.outcome)), trial.outcome.seed))
    versus = versus_others(trials)

    def draw(gallery: Gallery) -> None:
        gallery.add(
            "budget",
            lambda path: _budget(trials, finished.references, path),
            "What was learnt after how many minutes",
            "The higher curve at a given minute has learnt more from the same budget; a line per seed.",
        )

    return tell(
        finished,
        trials,
        tables=[backbones_table(trials, finished.references), *([versus.table] if versus else [])],
        history=_HISTORY,
        words=versus.words if versus else [],
        beside=versus.beside if versus else None,
        draw=draw,
        against_best=False,
    )


def backbone(outcome: TrainingOutcome) -> str:
    """Name of a training's network."""
    return str(outcome.settings[BACKBONE_KEY])


def _trial(outcome: TrainingOutcome, structures: int) -> ReportedTraining:
    """Return a training and its costs: minutes of its epochs, those spent on training, and speed over the latter."""
    assert outcome.checkpoint
    training = sum(structures / epoch["time/structures_per_s"] for epoch in outcome.history)
    facts = {
        "parameters": float(parameters(outcome.checkpoint)),
        "minutes": sum(epoch["time/epoch_s"] for epoch in outcome.history) / 60,
        "training_minutes": training / 60,
        "structures_per_s": structures * len(outcome.history) / training,
    }
    return ReportedTraining(outcome=outcome, name=f"{backbone(outcome)} seed {outcome.seed}", facts=facts)


def parameters(checkpoint: Path) -> int:
    """Return parameters of a checkpoint's generator, from its config."""
    return _parameters(json.dumps(read_info(checkpoint).config["backbone"], sort_keys=True))


@cache
def _parameters(config: str) -> int:
    with weightless():
        model = Generator(backbone_config(json.loads(config)))
    return sum(parameters_by_part(model).values())


def backbones_table(trials: Sequence[ReportedTraining], references: Mapping[str, pd.DataFrame]) -> Table:
    """Return a row per training, per backbone with several seeds, and per reference: metrics with 95 % intervals,
    costs."""
    rows: list[TableRow] = []
    for name, group in _by_backbone(trials).items():
        rows += [TableRow(cells=[name, str(t.outcome.seed), *cells(t.table), *_costs(t)]) for t in group]
        if len(group) > 1:
            together = [name, f"all {len(group)}", *cells(_pooled(group)), *[""] * len(_COSTS)]
            rows.append(TableRow(cells=together, highlighted=True))
    rows += [TableRow(cells=[name, "", *cells(table), *[""] * len(_COSTS)]) for name, table in references.items()]
    minutes = (
        "Minutes: training and validation, without checkpoints; in brackets training alone, of which speed is told."
    )
    return Table(
        heads=["backbone", "seed", *HEADERS, *_COSTS],
        rows=rows,
        note="\n".join([footnote(references["ceiling"]), minutes]),
    )


def _costs(trial: ReportedTraining) -> list[str]:
    """Return cells of the table, as `_COSTS` has them."""
    facts = trial.facts
    minutes = f"{facts['minutes']:.2f} ({facts['training_minutes']:.2f})"
    speed, size = f"{facts['structures_per_s']:.0f}", f"{facts['parameters']:.0f}"
    return [f"{trial.outcome.metrics['epoch']:.0f}", speed, size, minutes, trial.outcome.run]


@dataclass(frozen=True, kw_only=True)
class Versus:
    """Each backbone minus each one before it."""

    table: Table
    words: list[str]
    """What of it is resolved, a sentence for each pair."""
    beside: Beside
    """Every later backbone beside the first."""


def versus_others(trials: Sequence[ReportedTraining]) -> Versus | None:
    """Compare each backbone with each one before it, paired by corrupted crystal and seed; None for one backbone."""
    tables = {name: _pooled(group) for name, group in _by_backbone(trials).items()}
    pairs: list[Pair] = [(later, earlier) for earlier, later in combinations(tables, 2)]
    if not pairs:
        return None
    comparison = compare_trials(tables, pairs)
    seeds = len({trial.outcome.seed for trial in trials})
    note = over_seeds(seeds, "backbone")
    title = "What the backbone changed: one minus another after the same minutes, paired by restored crystal"
    table = comparison.table(title, {pair: pair for pair in pairs}, ("backbone", "minus", "metric", "difference"), note)
    first = next(iter(tables))
    cells = {
        trial.outcome.number: tally(comparison, [(name, first)])
        for trial in trials
        if (name := backbone(trial.outcome)) != first
    }
    beside = Beside(head=f"beside {first}", cells=cells, frame=comparison.frame)
    return Versus(table=table, words=_resolved(comparison, pairs), beside=beside)


def _resolved(comparison: Comparison, pairs: Sequence[Pair]) -> list[str]:
    said = []
    for later, earlier in pairs:
        frame = comparison.of([(later, earlier)])
        counts = frame["verdict"].value_counts()
        told = [f"{verdict} in {counts[verdict]}" for verdict in RESOLVED if verdict in counts]
        told.append(f"not resolved in {counts.get('not resolved', 0)} metrics")
        said.append(f"{later} against {earlier} after the same minutes: {', '.join(told)} (Holm over {comparison.n}).")
    return said


def _by_backbone(trials: Sequence[ReportedTraining]) -> dict[str, list[ReportedTraining]]:
    return {name: list(group) for name, group in groupby(trials, key=lambda trial: backbone(trial.outcome))}


def _pooled(trials: Sequence[ReportedTraining]) -> pd.DataFrame:
    """Return the tables of all seeds, told apart by the column `seed`."""
    return pd.concat([trial.table.assign(seed=trial.outcome.seed) for trial in trials], ignore_index=True)


def _budget(trials: Sequence[ReportedTraining], references: Mapping[str, pd.DataFrame], path: Path) -> Path:
    epochs = [_epochs(trial) for trial in trials]
    levels = {name: _score(references[name]) for name in ("ceiling", "most common") if name in references}
    if not epochs:
        raise ValueError("No training is complete.")
    return plot_budget(pd.concat(epochs, ignore_index=True), path, references=levels)


def _epochs(trial: ReportedTraining) -> pd.DataFrame:
    """Return a training's epochs, as `plot_budget` takes them."""
    rows = pd.DataFrame(trial.outcome.history)
    columns: dict[str, Any] = {
        "minutes": rows["time/epoch_s"].cumsum() / 60,
        "loss": rows["loss"],
        "score": rows[SCORE],
    }
    return pd.DataFrame(columns).assign(model=backbone(trial.outcome), seed=trial.outcome.seed)


def _score(table: pd.DataFrame) -> float:
    """Return what `val/score` would be for a reference."""
    intervals = headline(table).values()
    return sum(interval.mean if interval.n else 0.0 for interval in intervals) / len(intervals)
