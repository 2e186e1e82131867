"""A trained property model in use: labels of crystals, each with an interval or a set of stated coverage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.special import expit

from crystalsweep.inference.target_records import TargetRecord, read_targets
from crystalsweep.networks.checkpoint import load_property_model
from crystalsweep.networks.models import PropertyModel, graph_of, one_hot
from crystalsweep.structures.batch import collate
from crystalsweep.structures.crystal import Crystal

BATCH_ATOMS = 2000
"""Atoms that are predicted at once; a larger crystal alone."""

Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """What a model says of M crystals about one target."""

    record: TargetRecord
    value: Values
    """(M,) the label in its own unit, or the probability of yes."""
    low: Values
    """(M,) lower end of the interval, in the same unit; NaN for answers, and where there is no margin."""
    high: Values
    """(M,) upper end, likewise."""
    yes: NDArray[np.bool_]
    """(M,) whether yes is in the set of answers; all True for numbers."""
    no: NDArray[np.bool_]
    """(M,) whether no is."""


class PropertyValue(NamedTuple):
    """What a model says of one crystal about one target."""

    name: str
    """Of the target."""
    unit: str
    """Of the label; empty where it has none, and of probabilities."""
    value: float
    """The label, or the probability of yes."""
    low: float
    """Lower end of the interval; NaN for answers, and where there is no margin."""
    high: float
    """Upper end, likewise."""
    answers: tuple[str, ...] = ()
    """Of a question, those in the set: `yes`, `no`, or both."""


def values_of(prediction: Prediction) -> list[PropertyValue]:
    """Return a prediction crystal by crystal."""
    target = prediction.record.target
    asked = target.kind == "classification"
    unit = "" if asked else target.unit
    rows = zip(prediction.value, prediction.low, prediction.high, prediction.yes, prediction.no, strict=True)
    return [
        PropertyValue(
            prediction.record.name,
            unit,
            float(value),
            float(low),
            float(high),
            tuple(name for name, there in (("yes", yes), ("no", no)) if asked and there),
        )
        for value, low, high, yes, no in rows
    ]


class Predictor:
    """A property model of a checkpoint with its targets."""

    def __init__(
        self, model: PropertyModel, records: Sequence[TargetRecord], device: torch.device | str = "cpu"
    ) -> None:
        self._model, self.records, self._device = model.to(device).eval(), tuple(records), device

    @torch.no_grad()
    def predict(
        self, crystals: Sequence[Crystal], done: Callable[[int], object] | None = None
    ) -> dict[str, Prediction]:
        """Return what the model says of each crystal, by the target's name; `done` hears how many are ready each time.

        The same crystal gets the same answer in any company, to rounding.
        """
        outputs = []
        for batch in _batches(crystals):
            together = collate(batch).to(self._device)
            config = self._model.backbone.config
            graph = graph_of(together.cart, together.lattice, together.counts, config)
            outputs.append(self._model(one_hot(together.species), graph).double().cpu().numpy())
            if done:
                done(len(batch))
        whole = np.concatenate(outputs) if outputs else np.zeros((0, sum(r.target.outputs for r in self.records)))
        found, first = {}, 0
        for record in self.records:
            own = whole[:, first : first + record.target.outputs]
            found[record.name] = (
                _answer(record, own) if record.target.kind == "classification" else _number(record, own)
            )
            first += record.target.outputs
        return found


def prediction_table(ids: Sequence[str], found: Mapping[str, Prediction]) -> pd.DataFrame:
    """Return a row per crystal: its id, and of each target the value with its interval, or the probability of yes and
    the answers that are in the set."""
    columns: dict[str, object] = {"id": list(ids)}
    for each in found.values():
        columns |= dict(zip(columns_of_target(each.record), _columns(each), strict=True))
    return pd.DataFrame(columns)


def columns_of_target(record: TargetRecord) -> dict[str, str]:
    """Return a target's columns in a table of predictions by name: `double` for numbers, `string` for sets."""
    if record.target.kind == "classification":
        return {f"{record.name} probability": "double", f"{record.name} set": "string"}
    label = record.target.label
    return dict.fromkeys((label, f"{label} low", f"{label} high"), "double")


def _columns(each: Prediction) -> tuple[object, ...]:
    """Return the columns of `columns_of_target`."""
    if each.record.target.kind == "regression":
        return each.value, each.low, each.high
    return each.value, ["|".join(one.answers) for one in values_of(each)]


def load_predictor(folder: Path, device: torch.device | str = "cpu") -> Predictor:
    """Return the property model of a checkpoint. Raises `ValueError` where it has none."""
    records = read_targets(folder)
    return Predictor(load_property_model(folder, sum(record.target.outputs for record in records)), records, device)


def _number(record: TargetRecord, outputs: Values) -> Prediction:
    middle, open_ended = outputs[:, 0], np.full(len(outputs), np.nan)
    everything = np.ones(len(outputs), dtype=bool)
    ends = [open_ended, open_ended]
    if record.margin is not None:
        ends = [record.label(middle - record.margin), record.label(middle + record.margin)]
    return Prediction(
        record=record, value=record.label(middle), low=ends[0], high=ends[1], yes=everything, no=everything
    )


def _answer(record: TargetRecord, outputs: Values) -> Prediction:
    probability = np.asarray(expit(outputs[:, 1] - outputs[:, 0]))
    open_ended = np.full(len(outputs), np.nan)
    margin = 1.0 if record.margin is None else record.margin
    return Prediction(
        record=record,
        value=probability,
        low=open_ended,
        high=open_ended,
        yes=1 - probability <= margin,
        no=probability <= margin,
    )


def _batches(crystals: Sequence[Crystal]) -> list[list[Crystal]]:
    """Return the crystals in order, in batches of at most `BATCH_ATOMS`, or one crystal."""
    batches: list[list[Crystal]] = []
    atoms = BATCH_ATOMS
    for crystal in crystals:
        if atoms + len(crystal) > BATCH_ATOMS:
            batches.append([])
            atoms = 0
        batches[-1].append(crystal)
        atoms += len(crystal)
    return batches
