"""What the report of a finished sweep of property models needs: what the composition alone would have predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from crystalsweep.data import pick
from crystalsweep.data.classes import classes_of
from crystalsweep.data.packed import ids_of
from crystalsweep.data.spectra import column_of
from crystalsweep.data.target_values import target_values
from crystalsweep.evaluation.properties.inputs import training_crystals
from crystalsweep.metrics.geometry import Array
from crystalsweep.metrics.properties.baselines import predicted_by_composition
from crystalsweep.metrics.properties.composition import composition_features
from crystalsweep.metrics.properties.statistic import Answers, errors_of
from crystalsweep.networks.checkpoint import CheckpointInfo, read_info
from crystalsweep.structures.crystal import Crystal
from crystalsweep.structures.targets import Target, target_of
from crystalsweep.sweeping.session import SweepSession
from crystalsweep.sweeping.space.finished import FinishedSweep, PredictedTable

_DECIDES = ("targets", "max_atoms", "max_crystals", "train_share", "seed")
"""Settings that decide which crystals a training learns from, and what."""


def gather_predictions(session: SweepSession, ended: FinishedSweep, named: Mapping[str, str]) -> FinishedSweep:
    """Return the sweep with what the composition alone predicts, fitted on each complete training's own crystals.

    Args:
        session: The sweep.
        ended: It, as its trainings ended.
        named: Names of their runs, by key.
    """
    del named
    train, val = session.crystals.train, session.crystals.val
    infos = {each.key: read_info(each.checkpoint) for each in ended.done if each.checkpoint}
    features = composition_features(train), composition_features(val)
    tables: dict[str, PredictedTable] = {}
    for settings in {_decided(info): info for info in infos.values()}.values():
        tables[_decided(settings)] = _composition(settings, train, val, *features)
    return replace(
        ended,
        structures=max((table.trained_on for table in tables.values()), default=0),
        composition={key: tables[_decided(info)] for key, info in infos.items()},
    )


def _decided(info: CheckpointInfo) -> str:
    return repr([info.config.get(name) for name in _DECIDES])


def _composition(
    info: CheckpointInfo, train: Sequence[Crystal], val: Sequence[Crystal], seen: Array, asked: Array
) -> PredictedTable:
    """Return the errors of a forest fitted on what one training learned from.

    Args:
        info: Of the training's checkpoint.
        train: The whole training part.
        val: The whole validation part.
        seen: (T, F) features of the training part.
        asked: (V, F) features of the validation part.
    """
    targets = [target_of(name) for name in info.config["targets"]]
    learnt = set(ids_of(training_crystals(train, info, [target.label for target in targets])))
    chosen = np.flatnonzero([name in learnt for name in ids_of(train)])
    small = pick(train, chosen)
    errors = [_errors(target, small, seen[chosen], val, asked, info.config["seed"]) for target in targets]
    return PredictedTable(trained_on=len(chosen), errors=pd.concat(errors, ignore_index=True))


def _errors(
    target: Target, train: Sequence[Crystal], seen: Array, val: Sequence[Crystal], asked: Array, seed: int
) -> pd.DataFrame:
    classes = classes_of([train, val], target.label) if target.classed else ()
    column = column_of([train, val], target.label) if target.spectrum else None
    labels, truth = (target_values(part, target, classes, column) for part in (train, val))
    known, there = (~np.isnan(each.reshape(len(each), -1)).any(axis=1) for each in (labels, truth))
    predicted = predicted_by_composition(
        target.kind, seen[known], labels[known], asked[there], classes=max(len(classes), 2), seed=seed
    )
    found = errors_of(target.kind, Answers(truth=truth[there], predicted=predicted))
    ids = np.array(ids_of(val))[there]
    return pd.DataFrame({"target": target.name, "id": ids, "error": found})
