"""Candidates in the order of a predicted property: those that the generator found likeliest, by what a property model
says of each as it stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from crystalsweep.artifacts.places import default_storage
from crystalsweep.inference.calibration import CandidateSet
from crystalsweep.inference.completion import Completion
from crystalsweep.inference.locate import is_understood, locate, require_understood, tracker_for
from crystalsweep.inference.predicting import Predictor, PropertyValue, load_predictor, values_of
from crystalsweep.inference.target_records import TargetRecord
from crystalsweep.structures.crystal import Crystal
from crystalsweep.structures.targets import target_of

Order = Literal["ascending", "descending"]
ORDERS: tuple[Order, ...] = get_args(Order)


@dataclass(frozen=True, kw_only=True, eq=False)
class Ranking:
    """A property model that orders candidates by one of its targets."""

    predictor: Predictor
    record: TargetRecord
    """The target."""
    order: Order
    model: str
    """What it was loaded by."""
    folder: Path
    """Its checkpoint on this machine."""

    def ranked(self, completion: Completion) -> Completion:
        """Return a completion with its candidates in the order of the property, each with what is predicted of it.

        Equals, and what has no number, keep the order of their probability; what has none comes last. Sets tell the
        same candidates at their new places.
        """
        crystals = [candidate.crystal for candidate in completion.candidates]
        if not crystals:
            return completion
        values = self._values(crystals)
        keys = np.array([each.value for each in values])
        order = np.argsort(keys if self.order == "ascending" else -keys, kind="stable").tolist()
        place = {old: new for new, old in enumerate(order)}
        return replace(
            completion,
            candidates=tuple(replace(completion.candidates[old], predicted=values[old]) for old in order),
            joint_sets=tuple(
                CandidateSet(each.coverage, tuple(sorted(place[index] for index in each.candidates)))
                for each in completion.joint_sets
            ),
        )

    def _values(self, crystals: Sequence[Crystal]) -> list[PropertyValue]:
        return values_of(self.predictor.predict(crystals)[self.record.name])


def ranking_of(
    asked: str,
    order: Order | None = None,
    *,
    tracking_uri: str | None = None,
    storage: Path | None = None,
    device: str = "cpu",
) -> Ranking:
    """Return the ranking that `MODEL` or `MODEL:TARGET` asks for.

    Args:
        asked: A property model as `locate` understands it; of one with several targets, which.
        order: Which comes first.  [default: the lowest of energies, else the highest]
        tracking_uri: MLflow server or database, where the model is named in it.
        storage: Folder of the local store, and of what is downloaded.
        device: Where the network runs.

    Raises:
        ValueError: There is no such model, it predicts no property or not this one, or it predicts several and none was
            named.
    """
    model, name = _parted(asked)
    require_understood(model)
    found = locate(model, tracker_for(model, tracking_uri, storage), (storage or default_storage()) / "downloads")
    predictor = load_predictor(found.folder, device)
    record = _chosen(predictor.records, model, name)
    if record.target.classed or record.target.spectrum:
        raise ValueError(f"{model} predicts {record.name}, which has no order: rank by a number or a question")
    first: Order = "ascending" if record.target.lower_first else "descending"
    return Ranking(predictor=predictor, record=record, order=order or first, model=model, folder=found.folder)


def _parted(asked: str) -> tuple[str, str]:
    """Return model and target; the target is empty where none is named. What names a model as a whole is one."""
    model, colon, target = asked.rpartition(":")
    return (asked, "") if is_understood(asked) or not colon or not model else (model, target)


def _chosen(records: Sequence[TargetRecord], model: str, name: str) -> TargetRecord:
    there = ", ".join(record.name for record in records)
    if not name:
        if len(records) == 1:
            return records[0]
        raise ValueError(f"{model} predicts {there}: say by which, as {model}:{records[0].name}")
    wanted = target_of(name).name
    for record in records:
        if record.name == wanted:
            return record
    raise ValueError(f"{model} does not predict {wanted}; it predicts {there}")
