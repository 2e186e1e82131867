"""What a finished sweep of fine-tuning says: Fig. S4 of Liu et al., iScience 27, 110672 (2024), for each arm.

doi:10.1016/j.isci.2024.110672
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from crystalsweep.metrics.properties.baselines import COMPOSITION
from crystalsweep.plots.data_size import plot_data_size
from crystalsweep.plots.training import plot_training
from crystalsweep.structures.targets import target_of
from crystalsweep.sweeping.report.arms import ArmErrors, arm_errors
from crystalsweep.sweeping.report.data_size import Paired, Saving, compared, curve_of, sampled_errors, saving_of
from crystalsweep.sweeping.report.figures import Gallery, draw_sweep
from crystalsweep.sweeping.report.finetune_words import arms_table, rates_sentence, saving_sentence, verdict_sentences
from crystalsweep.sweeping.report.frames import best_of, training_frame, trial_frame
from crystalsweep.sweeping.report.page import REPORT_FILE, sweep_page
from crystalsweep.sweeping.report.report import epochs_of
from crystalsweep.sweeping.report.results import as_sentences, as_text
from crystalsweep.sweeping.report.sweep import reported_trainings
from crystalsweep.sweeping.report.words import best_sentence, costs_sentence, ends_sentence, importance_sentence
from crystalsweep.sweeping.space.finished import FinishedSweep, Report, ReportedTraining
from crystalsweep.sweeping.space.outcome import TrainingOutcome

_HISTORY = ("epoch", "loss", "val/loss", "val/error")


def finetune_report(finished: FinishedSweep) -> Report:
    """Return the report of a sweep of fine-tuning; writes its plots and its page into `finished.folder`."""
    trials = reported_trainings(finished)
    found = arm_errors(finished)
    drawn = sampled_errors(found.errors)
    against = found.arms[-1]
    pairs = compared(found.errors, drawn, found.arms, against)
    structure = compared(found.errors, drawn, found.arms[:1], COMPOSITION)
    saving = saving_of(drawn, found.arms[0], against, found.crystals) if len(found.arms) > 1 else None
    curves = {arm: curve_of(drawn, arm, found.crystals) for arm in (*found.arms, COMPOSITION)}
    trainings = training_frame(finished)
    frame = trial_frame(finished, trainings)
    best = best_of(finished, trainings)
    gallery = Gallery(finished.folder)
    gallery.add(
        "data_size",
        lambda path: plot_data_size(
            {arm: curves[arm] for arm in found.arms}, {COMPOSITION: curves[COMPOSITION]}, path, error=error_title(found)
        ),
        "Error over the number of labelled training crystals (paper, Fig. S4)",
        "Where one curve reaches the height at which another ends, it does as well with fewer labels. The dashed line "
        "is a forest over compositions, fitted on the same crystals.",
    )
    draw_sweep(gallery, finished, trainings, frame)
    table = arms_table(found, curves, pairs, error_title(found))
    words = _words(
        found, saving, [pairs, structure], finished, trainings, complete=int((frame["state"] == "complete").sum())
    )
    page = finished.folder / REPORT_FILE
    page.write_text(sweep_page(finished, best, words, table, [], gallery.pictures, trainings), encoding="utf-8")
    opening = [as_text(table), as_sentences("What it means", words)]
    return Report(
        trials=trials,
        best=best,
        words=words,
        text="\n\n".join(opening),
        story="\n\n".join(opening),
        differences=_differences([*pairs, *structure]),
        plots=gallery.plots,
        page=page,
        numbers=_numbers(trials, finished),
        history=_HISTORY,
        draw=partial(_draw, columns=_HISTORY),
        conditions=_no_conditions,
    )


def error_title(found: ArmErrors) -> str:
    """Return what the error is of, with its unit."""
    target = target_of(found.target)
    if target.kind == "classification":
        return f"{target.name}: share of wrong answers"
    unit = f"log10({target.unit or target.label})" if target.log10 else target.unit
    return f"{target.name}: mean absolute error{f', {unit}' if unit else ''}"


def _words(
    found: ArmErrors,
    saving: Saving | None,
    asked: Sequence[list[Paired]],
    finished: FinishedSweep,
    trainings: pd.DataFrame,
    *,
    complete: int,
) -> list[str]:
    said = [
        saving_sentence(found, saving, asked[0]),
        *(sentence for pairs in asked for sentence in verdict_sentences(pairs)),
        rates_sentence(found),
        best_sentence(best_of(finished, trainings), finished, trainings),
        importance_sentence(finished, complete),
        ends_sentence(finished),
        costs_sentence(finished.costs, whole=finished.whole),
    ]
    return [each for each in said if each]


def _draw(trial: ReportedTraining, folder: Path, *, columns: tuple[str, ...]) -> list[Path]:
    return [plot_training(epochs_of(trial, columns), folder / "training.png")]


def _no_conditions(outcome: TrainingOutcome) -> dict[str, float]:
    del outcome
    return {}


def _differences(pairs: list[Paired]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "training_crystals": each.n,
                "a": each.arm,
                "b": each.against,
                "difference": each.difference.difference,
                "low": each.difference.low,
                "high": each.difference.high,
                "p": each.difference.p,
                "p_adjusted": each.p_adjusted,
                "n": each.difference.n,
                "verdict": each.verdict,
            }
            for each in pairs
        ]
    )


def _numbers(trials: list[ReportedTraining], finished: FinishedSweep) -> pd.DataFrame:
    """Return a row per training: its settings, how many crystals it learned from, and its error beside that of the
    composition alone."""
    rows = []
    for trial in trials:
        outcome = trial.outcome
        alone = finished.composition[outcome.key]
        rows.append(
            {
                "trial": outcome.key,
                "seed": outcome.seed,
                "run": outcome.run,
                **{str(key): str(value) for key, value in outcome.settings.items()},
                "training_crystals": alone.trained_on,
                **{name: outcome.metrics.get(f"val/{name}") for name in ("loss", "error", "error/low", "error/high")},
                f"error, {COMPOSITION}": float(alone.errors["error"].mean()),
            }
        )
    return pd.DataFrame(rows)
