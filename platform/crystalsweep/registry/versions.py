"""Files of a version: put together, sent, and read back before anybody relies on them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow.exceptions import MlflowException

from crystalsweep.artifacts.seal import SEAL, require_sealed, seal_of
from crystalsweep.inference.serving import write_pyfunc
from crystalsweep.inference.target_records import TARGETS_FILE, is_property_model
from crystalsweep.networks.checkpoint import PROPERTY_WEIGHTS
from crystalsweep.registry.aliases import ensure_registered
from crystalsweep.tracking.tracker import Tracker

CHECKPOINT = "checkpoint"
_KEPT = (
    *("checkpoint.json", "generator.safetensors", "critic.safetensors", "discriminator.safetensors"),
    *("calibration.json", PROPERTY_WEIGHTS, TARGETS_FILE),
)
"""Of a checkpoint; what only a resumed training needs is left out."""


def stage(checkpoint: Path, into: Path) -> Path:
    """Begin a version's files in `into`: the checkpoint and what makes it an MLflow model. Returns the checkpoint."""
    target = into / CHECKPOINT
    target.mkdir(parents=True)
    for name in _KEPT:
        if (checkpoint / name).exists():
            shutil.copyfile(checkpoint / name, target / name)
    write_pyfunc(into)
    return target


def weights_of(checkpoint: Path) -> Path:
    """Return the file of the network that a checkpoint is promoted for: a property model's, or the generator."""
    return checkpoint / (PROPERTY_WEIGHTS if is_property_model(checkpoint) else "generator.safetensors")


def register(
    tracker: Tracker,
    model: str,
    folder: Path,
    *,
    experiment: str,
    source_run: str,
    run: str | None,
    tags: Mapping[str, str],
) -> str:
    """Return a new version of the sealed files in `folder`, without an alias; returns its number.

    The files are sent first, read back and compared; only then is there a version.

    Args:
        tracker: The server.
        model: Name in the registry.
        folder: Sealed files.
        experiment: Id of the one that the logged model belongs to.
        source_run: Run of the attempt.
        run: Run that trained it; the attempt's where it is not of this server.
        tags: Of the version.

    Raises:
        ValueError: What the server gives back is not what was sent.
        MlflowException: It does not answer.
    """
    client = tracker.client
    logged = client.create_logged_model(experiment, name=model, source_run_id=source_run, model_type="checkpoint")
    client.log_model_artifacts(logged.model_id, str(folder))
    seal = seal_of(folder)
    with TemporaryDirectory() as scratch:
        source = f"models:/{logged.model_id}"
        back = tracker.download_model(source, Path(scratch))
        require_sealed(back, seal)
    client.finalize_logged_model(logged.model_id, "READY")
    ensure_registered(tracker, model)
    made = client.create_model_version(
        model,
        source=source,
        run_id=run or source_run,
        model_id=logged.model_id,
        tags={SEAL: seal, **tags},
        await_creation_for=None,  # it is made at once
    )
    return str(made.version)


def is_known(tracker: Tracker, run: str | None) -> bool:
    """Return whether the server has that run."""
    if run is None:
        return False
    try:
        tracker.client.get_run(run)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "PERMISSION_DENIED"):  # the latter with accounts
            raise
        return False
    return True
