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
from scipy.special import softmax

from crystalsweep.inference.familiarity import Training
from crystalsweep.inference.target_records import TargetRecord, read_property
from crystalsweep.networks.checkpoint import load_property_model
from crystalsweep.networks.models import PropertyModel, graph_of, one_hot
from crystalsweep.structures.batch import collate
from crystalsweep.structures.crystal import Crystal
from crystalsweep.structures.devices import device_named
from crystalsweep.structures.targets import Kind

BATCH_ATOMS = 2000
"""Atoms that are predicted at once; a larger crystal alone."""

Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """What a model says of M crystals about one target."""

    record: TargetRecord
    value: Values
    """(M,) the label in its own unit, the probability of yes, or that of the likeliest class; (M, P) of a spectrum."""
    low: Values
    """Lower ends of the intervals, in the same unit and shape, or of the band that holds a whole spectrum; NaN for
    answers, and where there is no margin."""
    high: Values
    """Upper ends, likewise."""
    odds: Values
    """(M, K) probability of each answer of the record, in its order; K is 0 for numbers."""
    within: NDArray[np.bool_]
    """(M, K) whether each is in the set of answers."""

    @property
    def called(self) -> list[str]:
        """(M,) the likeliest answer of each."""
        return [self.record.answers[i] for i in self.odds.argmax(axis=1)]

    @property
    def sets(self) -> list[tuple[str, ...]]:
        """(M,) the answers in the set of each: of classes the likeliest first, of a question yes before no."""
        names = self.record.answers
        likeliest = self.odds if self.record.target.classed else np.broadcast_to([0, 1], self.odds.shape)
        order = np.argsort(-likeliest, axis=1, kind="stable")
        return [tuple(names[i] for i in row if held[i]) for row, held in zip(order, self.within, strict=True)]


class PropertyValue(NamedTuple):
    """What a model says of one crystal about one target."""

    name: str
    """Of the target."""
    unit: str
    """Of the label; empty where it has none, and of probabilities."""
    value: float
    """The label, the probability of yes, or that of the likeliest class."""
    low: float
    """Lower end of the interval; NaN for answers, and where there is no margin."""
    high: float
    """Upper end, likewise."""
    answers: tuple[str, ...] = ()
    """Of a question or classes, those in the set: `yes`, `no`, or both."""


def values_of(prediction: Prediction) -> list[PropertyValue]:
    """Return a prediction of numbers or answers crystal by crystal."""
    target = prediction.record.target
    asked = target.kind == "classification"
    unit = "" if asked else target.unit
    sets = prediction.sets if asked else [()] * len(prediction.value)
    rows = zip(prediction.value, prediction.low, prediction.high, sets, strict=True)
    return [
        PropertyValue(
            prediction.record.name,
            unit,
            float(value),
            float(low),
            float(high),
            answers,
        )
        for value, low, high, answers in rows
    ]


class Predictor:
    """A property model of a checkpoint with its targets."""

    def __init__(
        self,
        model: PropertyModel,
        records: Sequence[TargetRecord],
        device: torch.device | str = "cpu",
        training: Training | None = None,
    ) -> None:
        self._model, self.records, self._device = model.to(device).eval(), tuple(records), device
        self.training = training

    def predict(
        self, crystals: Sequence[Crystal], done: Callable[[int], object] | None = None
    ) -> dict[str, Prediction]:
        """Return what the model says of each crystal, by the target's name; `done` hears how many are ready each time.

        The same crystal gets the same answer in any company, to rounding.
        """
        return self.told(self.outputs(crystals, done))

    @torch.no_grad()
    def outputs(self, crystals: Sequence[Crystal], done: Callable[[int], object] | None = None) -> Values:
        """Return (M, outputs of all records) what the network answers, scaled numbers and logits."""
        outputs = []
        for batch in _batches(crystals):
            together = collate(batch).to(self._device)
            config = self._model.backbone.config
            graph = graph_of(together.cart, together.lattice, together.counts, config)
            outputs.append(self._model(one_hot(together.species), graph).double().cpu().numpy())
            if done:
                done(len(batch))
        return np.concatenate(outputs) if outputs else np.zeros((0, sum(r.outputs for r in self.records)))

    def told(self, outputs: Values) -> dict[str, Prediction]:
        """Return `outputs` of crystals as labels and odds, by the target's name."""
        found, first = {}, 0
        for record in self.records:
            own = outputs[:, first : first + record.outputs]
            found[record.name] = _ANSWERS[record.target.kind](record, own)
            first += record.outputs
        return found


def prediction_table(ids: Sequence[str], found: Mapping[str, Prediction]) -> pd.DataFrame:
    """Return a row per crystal: its id, and of each target the value with its interval, the probability of yes and the
    answers that are in the set, the likeliest class, its probability, and the classes in the set, or the spectrum as a
    list with the half-width of its band."""
    columns: dict[str, object] = {"id": list(ids)}
    named = columns_of_targets([each.record for each in found.values()])
    for each, names in zip(found.values(), named, strict=True):
        columns |= dict(zip(names, _columns(each), strict=True))
    return pd.DataFrame(columns)


def columns_of_targets(records: Sequence[TargetRecord]) -> list[dict[str, str]]:
    """Return the columns of each target in a table of predictions by name: `double` for numbers, `string` for classes,
    sets and lists. Of two targets of one label, as `k_vrh` and `log10(k_vrh)`, they are named by the targets."""
    each = [_columns_of(record) for record in records]
    names = [name for own in each for name in own]
    return [
        own if all(names.count(name) == 1 for name in own) else _columns_of(record, record.name)
        for record, own in zip(records, each, strict=True)
    ]


def _columns_of(record: TargetRecord, label: str = "") -> dict[str, str]:
    if record.column is not None:
        return {record.column.name: "string", f"{record.target.label} margin": "double"}
    label = label or record.target.label
    if record.target.classed:
        return {label: "string", f"{label} probability": "double", f"{label} set": "string"}
    if record.target.kind == "classification":
        return {f"{record.name} probability": "double", f"{record.name} set": "string"}
    return dict.fromkeys((label, f"{label} low", f"{label} high"), "double")


def _columns(each: Prediction) -> tuple[object, ...]:
    """Return the columns of `columns_of_targets`."""
    if each.record.target.kind == "regression":
        return each.value, each.low, each.high
    if each.record.column is not None:
        return each.value.tolist(), (each.high - each.low)[:, 0] / 2
    sets = ["|".join(answers) for answers in each.sets]
    return (each.called, each.value, sets) if each.record.target.classed else (each.value, sets)


def load_predictor(folder: Path, device: torch.device | str = "cpu") -> Predictor:
    """Return the property model of a checkpoint. Raises `ValueError` where it has none, or for a device that is not
    here."""
    there, known = device_named(str(device)), read_property(folder)
    model = load_property_model(folder, sum(record.outputs for record in known.targets))
    return Predictor(model, known.targets, there, known.training)


def _spectrum(record: TargetRecord, outputs: Values) -> Prediction:
    margin = np.nan if record.margin is None else record.margin
    none = np.zeros((len(outputs), 0))
    return Prediction(
        record=record,
        value=record.label(outputs),
        low=record.label(outputs - margin),
        high=record.label(outputs + margin),
        odds=none,
        within=none.astype(bool),
    )


def _number(record: TargetRecord, outputs: Values) -> Prediction:
    middle, open_ended = outputs[:, 0], np.full(len(outputs), np.nan)
    ends = [open_ended, open_ended]
    if record.margin is not None:
        ends = [record.label(middle - record.margin), record.label(middle + record.margin)]
    none = np.zeros((len(outputs), 0))
    return Prediction(
        record=record, value=record.label(middle), low=ends[0], high=ends[1], odds=none, within=none.astype(bool)
    )


def _answer(record: TargetRecord, outputs: Values) -> Prediction:
    odds = np.asarray(softmax(outputs, axis=1))
    open_ended = np.full(len(outputs), np.nan)
    margin = 1.0 if record.margin is None else record.margin
    return Prediction(
        record=record,
        value=odds.max(axis=1) if record.target.classed else odds[:, 1],
        low=open_ended,
        high=open_ended,
        odds=odds,
        within=1 - odds <= margin,
    )


_ANSWERS: dict[Kind, Callable[[TargetRecord, Values], Prediction]] = {
    "regression": _number,
    "classification": _answer,
    "spectrum": _spectrum,
}


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
