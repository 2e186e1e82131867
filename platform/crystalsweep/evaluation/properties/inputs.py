"""Which crystals a property model is asked about, and which ones its run was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from crystalsweep.data import (
    DataError,
    DataSet,
    atom_counts,
    fingerprint,
    load_data,
    pick,
    told_of_data,
    used_of,
)
from crystalsweep.data.labels import has_label
from crystalsweep.data.selection import sampled_rows, shared_rows
from crystalsweep.evaluation.inputs import normalised
from crystalsweep.evaluation.properties.asked import PropertyTarget
from crystalsweep.networks.checkpoint import CheckpointInfo
from crystalsweep.structures.crystal import Crystal


@dataclass(frozen=True, kw_only=True)
class PropertyInputs:
    """Crystals to predict, and the training crystals of the run."""

    asked: Sequence[Crystal]
    source: str
    part: str
    train: Sequence[Crystal]
    """Those that the run was trained on, as its settings chose them; baselines are fitted on them."""
    trained_on: str
    """What the training data is called."""
    told: tuple[str, ...] = ()
    """How they were read, and what was left out."""
    flags: tuple[str, ...] = ()
    """What makes the figures hollow."""

    def record(self) -> dict[str, object]:
        """Return what identifies the data in a result."""
        return {
            "source": self.source,
            "part": self.part,
            "crystals": len(self.asked),
            "data_sha256": fingerprint(self.asked),
            "trained_on": self.trained_on,
            "training_crystals": len(self.train),
            "training_sha256": fingerprint(self.train),
            "told": list(self.told),
        }


def read_property_inputs(
    source: str | None,
    part: str | None,
    reference: str | None,
    info: CheckpointInfo,
    targets: Sequence[PropertyTarget],
    *,
    max_atoms: int | None = None,
    max_crystals: int | None = None,
    seed: int = 0,
) -> PropertyInputs:
    """Return what is predicted, and what the run was trained on.

    Args:
        source: What is predicted: the run's own data, or another data set; bundled where left out.
        part: Of it; of the run's own data by default test, else val; of other data by default all.
        reference: The run's own data, where `source` is another.
        info: Of the checkpoint.
        targets: Of the model; a training crystal has a label of one of them.
        max_atoms: Leave out larger crystals.
        max_crystals: Predict a seeded sample of so many.
        seed: Of that sample.

    Raises:
        DataError: Something cannot be read, no crystal is left, or the run was trained on other data.
    """
    named = normalised(source or "bundled")
    data = load_data(named)
    own = is_data_of(data, info)
    known = data if own else load_data(normalised(reference)) if reference else None
    if known is None or not is_data_of(known, info):
        raise DataError(
            f"the run was trained on data {info.data_sha256[:12]} (split {info.split_sha256[:12]}), and "
            f"{reference or named} is data {(known or data).data_sha256[:12]} (split "
            f"{(known or data).split_sha256[:12]}); baselines are fitted on the run's training crystals: name its data "
            "with --data, or with --reference beside other --data"
        )
    chosen = part or (("test" if len(data.test) else "val") if own else "all")
    crystals = data.crystals if chosen == "all" else data.part(chosen)  # type: ignore[arg-type]
    fitting = pick(crystals, np.flatnonzero(atom_counts(crystals) <= (max_atoms or np.inf)))
    asked = pick(fitting, sampled_rows(len(fitting), max_crystals, seed))
    if not len(asked):
        raise DataError(f"{named} ({chosen}): none of its {len(crystals)} crystals is left (max_atoms={max_atoms})")
    left_out = {
        f"over max_atoms={max_atoms}": len(crystals) - len(fitting),
        f"beyond a sample of max_crystals={max_crystals}": len(fitting) - len(asked),
    }
    told = [used_of(f"{named} ({chosen}): {len(asked):,} of {len(crystals):,} crystals predicted", left_out)]
    train = training_crystals(known.train, info, [target.label for target in targets])
    ids = {crystal.id for crystal in train}
    seen = sum(crystal.id in ids for crystal in asked)
    return PropertyInputs(
        asked=asked,
        source=named,
        part=chosen,
        train=train,
        trained_on=f"{normalised(reference) if reference and not own else named} (train)",
        told=(*told_of_data(named, data), *told),
        flags=(f"{seen:,} of {len(asked):,} crystals are among the training crystals, by id",) if seen else (),
    )


def training_crystals(train: Sequence[Crystal], info: CheckpointInfo, labels: Sequence[str]) -> Sequence[Crystal]:
    """Return the crystals of a train part that a run used: labelled, small enough, and of its seeded samples."""
    labelled = np.any([has_label(train, label) for label in labels], axis=0)
    largest = info.config.get("max_atoms") or np.inf
    fitting = pick(train, np.flatnonzero(labelled & (atom_counts(train) <= largest)))
    seed = info.config.get("seed", 0)
    chosen = pick(fitting, sampled_rows(len(fitting), info.config.get("max_crystals"), seed))
    return pick(chosen, shared_rows(len(chosen), info.config.get("train_share", 1.0), seed))


def is_data_of(data: DataSet, info: CheckpointInfo) -> bool:
    """Return whether a run was trained on this data set, under this split."""
    return (data.data_sha256, data.split_sha256) == (info.data_sha256, info.split_sha256)
