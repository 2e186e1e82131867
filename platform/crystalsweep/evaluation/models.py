"""What is evaluated: a checkpoint by folder, MLflow run or registry name, or one of the reference rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from crystalsweep.artifacts.atomic import file_sha256
from crystalsweep.inference.calibration import Calibration
from crystalsweep.inference.locate import UnknownReferenceError, locate
from crystalsweep.inference.restorer import Restorer
from crystalsweep.metrics.baselines import REFERENCES, Baseline, ground_truth, identity, most_common_species
from crystalsweep.metrics.substitution import substitution
from crystalsweep.networks.checkpoint import CheckpointInfo
from crystalsweep.networks.models import Critic, Generator
from crystalsweep.tracking.tracker import Tracker

_ENDINGS = (", all atoms",)
"""Of row names that are made from a model's name (`results.BOTH_READINGS`)."""


@dataclass(frozen=True, kw_only=True)
class EvaluatedModel:
    """A restorer with what is known of it."""

    name: str
    """Row name in tables and plots."""
    restorer: Generator | Baseline
    info: CheckpointInfo | None = None
    run: str | None = None
    """MLflow run it comes from."""
    weights_sha256: str = ""
    """Of a generator's file."""
    critic: Critic | None = None
    """Judges the generator's candidates."""
    critic_sha256: str = ""
    """Of the critic's file."""
    calibration: Calibration | None = None
    """Of the generator's odds."""


def reference_rows(train_counts: Mapping[int, int]) -> dict[str, Baseline]:
    """Return restorers of the reference rows; `train_counts` are atoms of the training set by atomic number."""
    rows = (ground_truth, identity, most_common_species(train_counts), substitution())
    return dict(zip(REFERENCES, rows, strict=True))


def allowed_name(name: str) -> str:
    """Return the name, if a row of tables and plots can have it. Raises `ValueError` where it is another row's."""
    if name in (*REFERENCES, "model") or name.endswith(_ENDINGS):
        raise ValueError(
            f"{name!r} is what a row beside every model is called, or ends like one; choose another --name"
        )
    return name


def is_row(reference: str) -> bool:
    """Return whether `reference` names a reference row, such as `ceiling` or `most-common`."""
    return reference.replace("-", " ") in REFERENCES


def row_as_model(reference: str, train_counts: Mapping[int, int]) -> EvaluatedModel:
    """Return a reference row that is evaluated as if it were a model; `train_counts` as for `reference_rows`."""
    name = reference.replace("-", " ")
    return EvaluatedModel(name=f"{name} as model", restorer=reference_rows(train_counts)[name])


def find_model(reference: str, tracker: Tracker | None, downloads: Path) -> EvaluatedModel:
    """Return the model that `reference` names.

    Args:
        reference: What `locate` understands.
        tracker: Where run ids and registry names are looked up.
        downloads: Folder for checkpoints from there.

    Raises:
        ValueError: There is no such model, saying what would be understood.
    """
    try:
        resolved = locate(reference, tracker, downloads)
    except UnknownReferenceError as error:
        rows = ", ".join(name.replace(" ", "-") for name in REFERENCES)
        raise ValueError(f"{error}, or one of {rows}") from error
    model = Restorer.of(resolved, reference)
    return EvaluatedModel(
        name=model.info.stage,
        restorer=model.generator,
        info=model.info,
        run=model.run,
        weights_sha256=file_sha256(model.folder / "generator.safetensors"),
        critic=model.critic,
        critic_sha256=file_sha256(model.folder / "critic.safetensors") if model.critic else "",
        calibration=model.calibration,
    )
