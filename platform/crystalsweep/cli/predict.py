"""`crystalsweep predict`: properties of crystals by a trained model. Heavy libraries load when it runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crystalsweep.artifacts.atomic import whole_file, write_whole
from crystalsweep.artifacts.places import default_storage
from crystalsweep.cli.echo import echo
from crystalsweep.cli.errors import told_in_a_line
from crystalsweep.cli.store import store_options
from crystalsweep.wording.stranger import in_a_line, tabulated

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from crystalsweep.inference.familiarity import Training
    from crystalsweep.inference.predicting import Prediction, Predictor
    from crystalsweep.structures.crystal import Crystal

SHOWN = 10
"""Crystals that are printed."""

MANY = 5000
"""Crystals that are worth the start of workers on a cluster."""

EXAMPLES = """\b
Examples:
  crystalsweep train finetune --target k_vrh --generator shipped --out runs/bulk_modulus
  crystalsweep predict my_cifs/ --model runs/bulk_modulus --out predictions.csv
In Python:  crystalsweep.predict([structure], model="runs/bulk_modulus")
"""


@click.command(epilog=EXAMPLES)
@click.argument("source", metavar="FILE|DIR")
@click.option(
    "--model",
    required=True,
    metavar="REF",
    help="What `train finetune` made: a run folder, run id or models:/name@alias.",
)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), metavar="CSV", help="Write all predictions there."
)
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@store_options
def predict(
    source: str, model: str, out: Path | None, device: str, tracking_uri: str | None, storage: Path | None
) -> None:
    """Tell properties of crystals: each number with an interval, each question with a probability, each spectrum with a
    band.

    Reads CIFs, POSCAR, extended XYZ, CSV and Parquet. The interval, or the set of answers, holds the true value in the
    share of cases that the training was told (90 %), of crystals like those it was validated on. Beside the CSV, a
    JSON file of the same name says what model it was and how its intervals were checked. Where the crystals have the
    label, its errors are told too. Where RAY_ADDRESS names a cluster, its workers share what is many.
    """
    with told_in_a_line():
        from tqdm import tqdm

        from crystalsweep.artifacts.atomic import file_sha256
        from crystalsweep.data import read, told_of
        from crystalsweep.inference.locate import locate, tracker_for
        from crystalsweep.inference.predicting import load_predictor, prediction_table
        from crystalsweep.networks.checkpoint import PROPERTY_WEIGHTS

        where = locate(model, tracker_for(model, tracking_uri, storage), (storage or default_storage()) / "downloads")
        predictor = load_predictor(where.folder, device)
        reading = read(Path(source))
        for line in told_of(source, reading.crystals, reading.rejects, reading.notes):
            echo(line, err=True)
        if not len(reading.crystals):
            raise ValueError(f"{source} has no crystal to predict")
        with tqdm(total=len(reading.crystals), desc="predicting", unit="crystal", disable=None) as bar:
            found = _predictions(predictor, reading.crystals, device, bar.update)
        table = prediction_table([crystal.id for crystal in reading.crystals], found)
        rows = [[_shown(cell) for cell in row] for row in table.head(SHOWN).to_numpy().tolist()]
        echo(tabulated(rows, headers=_heads(list(table.columns), found), disable_numparse=True))
        if len(table) > SHOWN:
            echo(f"the first {SHOWN} of {len(table):,}")
        for line in (*_told(found, reading.crystals), *_unlike(reading.crystals, predictor.training)):
            echo(in_a_line(line))
        if out is not None:
            with whole_file(out) as partial:
                table.to_csv(partial, index=False)
            weights = file_sha256(where.folder / PROPERTY_WEIGHTS)
            about = {
                "model": model,
                "weights_sha256": weights,
                "source": source,
                "crystals": len(table),
                "rejected": len(reading.rejects),
                "targets": [
                    each.record.model_dump(mode="json") | {"unit": each.record.target.unit} for each in found.values()
                ],
            }
            write_whole(out.with_suffix(".json"), f"{json.dumps(about, indent=2, ensure_ascii=False)}\n")
            echo(f"{out}: {len(table):,} predictions; {out.with_suffix('.json')}: model and coverage")


def _predictions(
    predictor: Predictor, crystals: Sequence[Crystal], device: str, done: Callable[[int], object]
) -> dict[str, Prediction]:
    """Return predictions, made on the cluster of RAY_ADDRESS where there is one and crystals are many."""
    from crystalsweep.evaluation.predicting import spread_predictions
    from crystalsweep.evaluation.spread import cluster_workers

    workers = cluster_workers(len(crystals), MANY) if device == "cpu" else None
    if workers is None:
        return predictor.predict(crystals, done)
    echo(f"predicting on the Ray cluster of RAY_ADDRESS, with {workers} workers", err=True)
    return spread_predictions(predictor, crystals, workers, done)


def _told(found: Mapping[str, Prediction], crystals: Sequence[Crystal]) -> list[str]:
    """Return what the intervals promise, how they were checked, and how well labelled crystals were predicted."""
    import numpy as np

    from crystalsweep.data.target_values import target_values
    from crystalsweep.metrics.properties.spectra import wasserstein
    from crystalsweep.metrics.property_scores import classification_scores, regression_scores

    lines = []
    for name, each in found.items():
        record = each.record
        lines.append(record.promise)
        try:
            wanted = target_values(crystals, record.target, record.classes, record.column)
        except ValueError as error:
            lines.append(f"not held against the labels here: {error}")
            continue
        known = ~np.isnan(wanted.reshape(len(wanted), -1)).any(axis=1)
        if not known.any():
            continue
        if record.spectrum is not None:
            truth, said = wanted[known], each.value[known]
            grid = record.spectrum.grid
            distance = np.nanmean(wasserstein(truth, said, grid.values))
            told = f"MAE {np.abs(said - truth).mean():.3g}, Wasserstein distance {distance:.3g} {grid.unit}"
        elif record.target.classed:
            right = float((each.odds[known].argmax(axis=1) == wanted[known]).mean())
            commonest = np.bincount(wanted[known].astype(int)).max() / known.sum()
            told = f"accuracy {right:.3f}, {commonest:.0%} are of the commonest class"
        elif record.target.kind == "classification":
            scores = classification_scores(wanted[known], each.value[known])
            told = f"accuracy {scores['accuracy']:.3f}, AUC {scores['auc']:.3f}, {scores['prevalence']:.0%} are yes"
        else:
            labels = 10 ** wanted[known] if record.target.log10 else wanted[known]
            scores = regression_scores(labels, each.value[known])
            told = f"MAE {scores['mae']:.3g} {record.target.unit}".rstrip()
            told += f", R² {scores['r2']:.3f}" if known.sum() > 1 else ""
        flattered = "; training crystals among them, if there are any, make it better than it is"
        lines.append(f"{name}: of {int(known.sum()):,} labelled crystals here: {told}{flattered}")
    return lines


def _unlike(crystals: Sequence[Crystal], training: Training | None) -> list[str]:
    """Return a line on crystals that are unlike those that the model learned from, of which no interval tells."""
    from crystalsweep.inference.familiarity import RARE, rare_elements, strange

    if training is None:
        return ["not known, for the model is an older one: whether crystals are unlike those that it learned from"]
    told = [(crystal.id, why) for crystal in crystals if (why := next(strange(crystal, training), ""))]
    rare = sum(bool(rare_elements(crystal, training)) for crystal in crystals)
    seldom = f"{rare:,} of {len(crystals):,} have an element that fewer than {RARE} of its"
    lines = [f"{seldom} {training.crystals:,} training crystals have"] if rare else []
    if not told:
        return lines
    some = f"{len(told):,} of {len(crystals):,} {'crystal is' if len(told) == 1 else 'crystals are'}"
    first = f"the first, {told[0][0]}: {told[0][1]}"
    return [f"warning: {some} unlike those that the model learned from, of which no interval tells; {first}", *lines]


def _heads(columns: list[str], found: Mapping[str, Prediction]) -> list[str]:
    units = {each.record.target.label: each.record.target.unit for each in found.values()}
    return [f"{column}, {units[column]}" if units.get(column) else column for column in columns]


def _shown(cell: Any) -> str:
    if isinstance(cell, list):
        return f"{len(cell)} numbers, the greatest {max(cell):.4g}"
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)
