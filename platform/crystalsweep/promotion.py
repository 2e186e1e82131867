"""`crystalsweep promote`: a run's checkpoint becomes a version in the MLflow registry, under an alias."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from crystalsweep.tracking import Tracker


@click.command()
@click.argument("run_id")
@click.option("--model", default="crystal-generator", show_default=True, help="Name in the registry.")
@click.option("--alias", default="champion", show_default=True, help="Alias that will point to this version.")
@click.option("--tracking-uri", help="MLflow server or database.  [default: MLFLOW_TRACKING_URI, else the local store]")
@click.option(
    "--storage", type=click.Path(path_type=Path), help="Folder of the local store.  [default: ~/crystalsweep]"
)
def promote(run_id: str, model: str, alias: str, tracking_uri: str | None, storage: Path | None) -> None:
    """Register a run's checkpoint, under an alias.

    \b
    crystalsweep promote 3f2a…            the run id of a trial, as the sweep's table and the MLflow UI show it
    Then, anywhere:  mlflow.artifacts.download_artifacts("models:/crystal-generator@champion")
    """
    from mlflow.exceptions import MlflowException

    from crystalsweep.storage import default_storage
    from crystalsweep.tracking import Tracker, default_tracking_uri, sqlite_uri

    chosen = tracking_uri or (sqlite_uri(storage) if storage else default_tracking_uri(default_storage()))
    tracker = Tracker(chosen)
    try:
        version = register(tracker, run_id, model, alias)
    except (ValueError, MlflowException) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{model} version {version} is now {alias!r} (run {run_id})")


def register(tracker: Tracker, run_id: str, model: str, alias: str) -> str:
    """Version number of the new registry entry; the alias's previous holder is kept as `previous`.

    Raises `ValueError` when the run is unfinished or has no checkpoint with a generator.
    """
    from mlflow.exceptions import MlflowException

    from crystalsweep.checkpoint import load_generator

    client = tracker.client
    run = client.get_run(run_id)
    if run.info.status != "FINISHED":
        raise ValueError(f"run {run_id} is {run.info.status}; only a FINISHED run can be promoted")
    with TemporaryDirectory() as scratch:
        if not any(entry.path == "checkpoint" for entry in client.list_artifacts(run_id)):
            raise ValueError(f"run {run_id} has no checkpoint; promote a trial or a pre-training, not the sweep itself")
        folder = tracker.download(run_id, "checkpoint", Path(scratch))
        load_generator(folder)  # what cannot be loaded is not promoted
        logged = client.create_logged_model(
            run.info.experiment_id, name=model, source_run_id=run_id, model_type="checkpoint"
        )
        client.log_model_artifacts(logged.model_id, str(folder))
        client.finalize_logged_model(logged.model_id, "READY")
    try:
        client.create_registered_model(model)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    headline = {
        key: str(value) for key, value in run.data.metrics.items() if key.startswith("val/") and key.count("/") == 1
    }
    version = client.create_model_version(
        model, source=f"models:/{logged.model_id}", run_id=run_id, model_id=logged.model_id, tags=headline
    )
    try:
        previous = client.get_model_version_by_alias(model, alias)
        client.set_registered_model_alias(model, "previous", previous.version)
    except MlflowException:
        pass  # nobody held the alias
    client.set_registered_model_alias(model, alias, version.version)
    return str(version.version)
