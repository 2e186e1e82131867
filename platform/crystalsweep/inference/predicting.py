"""A trained property model in use: labels of crystals, each with an interval or a set of stated coverage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.special import softmax

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
    """(M,) the label in its own unit, the probability of yes, or that of the likeliest class."""
    low: Values
    """(M,) lower end of the interval, in the same unit; NaN for answers, and where there is no margin."""
    high: Values
    """(M,) upper end, likewise."""
    odds: Values
    """(M, K) probability of each answer of the record, in its order; K is 0 for numbers."""
    within: NDArray[np.bool_]
    """(M, K) whether each is in the set of answers."""

    @property
    def called(self) -> list[str]:
        """(M,) the likeliest answer of each."""
        return [self.record.answers[i] for i in self.odds.argmax(axis=1)]

    @property
    def sets(self) -> list[str]:
        """(M,) the answers in the set of each, the likeliest first, as `FM|AFM`."""
        order = np.argsort(-self.odds, axis=1, kind="stable")
        names = self.record.answers
        return ["|".join(names[i] for i in row if held[i]) for row, held in zip(order, self.within, strict=True)]


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
        whole = np.concatenate(outputs) if outputs else np.zeros((0, sum(r.outputs for r in self.records)))
        found, first = {}, 0
        for record in self.records:
            own = whole[:, first : first + record.outputs]
            found[record.name] = (
                _answer(record, own) if record.target.kind == "classification" else _number(record, own)
            )
            first += record.outputs
        return found


def prediction_table(ids: Sequence[str], found: Mapping[str, Prediction]) -> pd.DataFrame:
    """Return a row per crystal: its id, and of each target the value with its interval, the probability of yes and the
    answers that are in the set, or the likeliest class, its probability, and the classes in the set."""
    columns: dict[str, object] = {"id": list(ids)}
    for name, each in found.items():
        if each.record.target.kind == "classification":
            called = {each.record.target.label: each.called} if each.record.target.classed else {}
            first = each.record.target.label if called else name
            columns |= {**called, f"{first} probability": each.value, f"{first} set": each.sets}
        else:
            label = each.record.target.label
            columns |= {label: each.value, f"{label} low": each.low, f"{label} high": each.high}
    return pd.DataFrame(columns)


def load_predictor(folder: Path, device: torch.device | str = "cpu") -> Predictor:
    """Return the property model of a checkpoint. Raises `ValueError` where it has none."""
    records = read_targets(folder)
    return Predictor(load_property_model(folder, sum(record.outputs for record in records)), records, device)


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
