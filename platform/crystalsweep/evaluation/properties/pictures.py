"""The plots of a property model's evaluation, with what a reader needs to know beside each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from crystalsweep.artifacts.places import folder_name
from crystalsweep.evaluation.properties.outcome import PropertyEvaluation, TargetOutcome
from crystalsweep.evaluation.properties.scoring import Predicted
from crystalsweep.metrics.calibration import reliability
from crystalsweep.metrics.properties.baselines import MAJORITY, MEAN, MEDIAN, NEAREST
from crystalsweep.metrics.properties.classification import confidence_of
from crystalsweep.pages.content import Picture
from crystalsweep.plots.properties import plot_confusion, plot_errors, plot_parity, plot_spectra
from crystalsweep.plots.reliability import plot_reliability

_CONSTANT = (MAJORITY, MEAN, MEDIAN)
"""Rows that say the same of every crystal, and have no curve."""


def draw_pictures(
    outcome: PropertyEvaluation, predicted: Sequence[Predicted], folder: Path
) -> dict[str, list[Picture]]:
    """Return the plots of each property, as PNG in `folder` and as pictures by the property's name."""
    drawn = {}
    for each in predicted:
        found = outcome.targets[each.target.name]
        if found.n - found.unpredicted:
            drawn[each.target.name] = _of(each, found, outcome.name, folder / folder_name(each.target.name))
    return drawn


def _of(predicted: Predicted, found: TargetOutcome, model: str, folder: Path) -> list[Picture]:
    if predicted.target.kind == "classification":
        return _classes(predicted, found, model, folder)
    return _spectra(predicted, folder) if predicted.target.kind == "spectrum" else _numbers(predicted, folder)


def _classes(predicted: Predicted, found: TargetOutcome, model: str, folder: Path) -> list[Picture]:
    answers = predicted.answers(predicted.scored)
    of = predicted.target.classes[1] if len(predicted.target.classes) == 2 else "the class called"
    curves = {
        row: {f"odds of {of}": reliability(*confidence_of(each))}
        for row, each in answers.items()
        if row not in _CONSTANT
    }
    systems = found.strata["crystal_system"]
    return [
        *(
            Picture.of(
                plot_confusion(
                    {row: np.array(found.confusion[row])}
                    | {each.bin: np.array(each.confusion if row == model else each.beside[row]) for each in systems},
                    predicted.target.classes,
                    folder / f"confusion{'' if row == model else f'_{folder_name(row)}'}.png",
                ),
                "Confusion matrices" if row == model else f"Confusion matrices of {row}",
                f"Of {row}, over all crystals and by crystal system (Fig. 1C): shares of the true class, and crystals.",
            )
            for row in answers
            if row not in _CONSTANT
        ),
        Picture.of(
            plot_reliability(curves, folder / "reliability.png"),
            "Reliability",
            "What the odds say beside what is so; on the grey line they are what they say.",
        ),
    ]


def _numbers(predicted: Predicted, folder: Path) -> list[Picture]:
    target, scored = predicted.target, predicted.scored
    unit = f"({target.unit})" if target.unit else ""
    label = target.told
    truth = predicted.truth[scored]
    rows = {row: values[scored] for row, values in predicted.rows.items() if row not in _CONSTANT}
    log = target.log10
    return [
        Picture.of(
            plot_parity(truth, rows, folder / "parity.png", label=label, log=log),
            "Parity",
            "Prediction over label; on the grey line they are equal.",
        ),
        Picture.of(
            plot_errors(truth, rows, folder / "errors.png", label=label, unit=unit),
            "Error against label",
            "Whatever is fitted to few examples of the extremes errs towards the middle there.",
        ),
    ]


def _spectra(predicted: Predicted, folder: Path) -> list[Picture]:
    target, scored = predicted.target, predicted.scored
    truth = predicted.truth[scored]
    rows = {row: values[scored] for row, values in predicted.rows.items() if row not in (*_CONSTANT, NEAREST)}
    own = next(iter(rows.values()))
    path = plot_spectra(
        truth,
        rows,
        np.abs(own - truth).mean(axis=1),
        np.asarray(target.grid, dtype=np.float64),
        folder / "spectra.png",
        label=target.grid_unit,
    )
    return [Picture.of(path, "Example spectra", "At three quantiles of the model's error.")]
