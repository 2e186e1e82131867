"""What is evaluated: a checkpoint by folder, MLflow run or registry name, or one of the reference rows."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from crystalsweep.checkpoint import CheckpointInfo, load_generator, read_info
from crystalsweep.metrics.baselines import Baseline, ground_truth, identity, most_common_species
from crystalsweep.metrics.substitution import substitution
from crystalsweep.models import Generator
from crystalsweep.storage import checkpoint_folder
from crystalsweep.tracking import Tracker

REFERENCES = ("ceiling", "identity", "most common", "substitution")
"""The rows beside every model."""

_ENDINGS = (", all atoms",)
"""Of row names that are made from a model's name (`results.BOTH_READINGS`)."""


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """A restorer with what is known of it."""

    name: str
    """Row name in tables and plots."""
    restorer: Generator | Baseline
    info: CheckpointInfo | None = None
    run: str | None = None
    """MLflow run it comes from."""
    weights_sha256: str = ""
    """Of a generator's file."""


def reference_rows(train_counts: Mapping[int, int]) -> dict[str, Baseline]:
    """Restorers of the reference rows; `train_counts` are atoms of the training set by atomic number."""
    rows = (ground_truth, identity, most_common_species(train_counts), substitution())
    return dict(zip(REFERENCES, rows, strict=True))


def allowed_name(name: str) -> str:
    """The name, if a row of tables and plots can have it. Raises `ValueError` where it is another row's."""
    if name in (*REFERENCES, "model") or name.endswith(_ENDINGS):
        raise ValueError(
            f"{name!r} is what a row beside every model is called, or ends like one; choose another --name"
        )
    return name


def find_model(reference: str, tracker: Tracker | None, downloads: Path, train_counts: Mapping[int, int]) -> Evaluated:
    """The model that `reference` names.

    Args:
        reference: A run or checkpoint folder; an MLflow run id; `models:/name@alias` or `models:/name/version`; or a
            reference row such as `ceiling` or `identity`, which is evaluated as if it were a model.
        tracker: Where run ids and registry names are looked up.
        downloads: Folder for checkpoints from there.
        train_counts: As for `reference_rows`.

    Raises:
        ValueError: There is no such model, saying what would be understood.
    """
    if reference.replace("-", " ") in REFERENCES:
        name = reference.replace("-", " ")
        return Evaluated(name=f"{name} as model", restorer=reference_rows(train_counts)[name])
    folder, run = Path(reference), None
    if not folder.exists():
        folder, run = _download(reference, tracker, downloads)
    folder = checkpoint_folder(folder)
    info = read_info(folder)
    if info.stage == "finetune":
        raise ValueError(f"{folder} is of stage finetune, a classifier; give a checkpoint of pretrain or gan")
    weights = hashlib.sha256((folder / "generator.safetensors").read_bytes()).hexdigest()
    return Evaluated(name=info.stage, restorer=load_generator(folder), info=info, run=run, weights_sha256=weights)


def _download(reference: str, tracker: Tracker | None, downloads: Path) -> tuple[Path, str]:
    registered = reference.startswith("models:/")
    if tracker is None or not (registered or re.fullmatch(r"[0-9a-f]{32}", reference)):
        raise ValueError(
            f"{reference!r} is no folder, MLflow run id (32 hex digits) or models:/name@alias, nor one of "
            f"{', '.join(name.replace(' ', '-') for name in REFERENCES)}"
        )
    from mlflow.exceptions import MlflowException

    try:
        if registered:
            return tracker.download_registered(reference, downloads)
        return tracker.download(reference, "checkpoint", downloads / reference), reference
    except (MlflowException, OSError) as error:
        raise ValueError(f"{reference}: no checkpoint in {tracker.uri} ({error})") from error
