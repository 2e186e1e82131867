"""Runs in MLflow, by explicit run ids only: the fluent API keeps its active run per thread, which Ray's callbacks
are not.

Everything is written by the process that runs the sweep; workers hold no credentials and open no database.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # "Creating initial database tables…"

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

PARENT = "mlflow.parentRunId"
KIND = "crystalsweep.kind"
"""Tag: `sweep`, `trial` or the stage of a prerequisite."""
_PARAM_LIMIT = 6000
_MODEL_TRAINING = {"mlflow.experimentKind": "custom_model_development"}
"""Opens the experiment in the UI's view for training runs, not the one for language models."""


def default_tracking_uri(storage: Path) -> str:
    """MLFLOW_TRACKING_URI if set, else a SQLite file in `storage` (absolute: Ray changes the working directory)."""
    return os.environ.get("MLFLOW_TRACKING_URI") or sqlite_uri(storage)


def sqlite_uri(storage: Path) -> str:
    """The SQLite store in `storage`."""
    return f"sqlite:///{storage.resolve() / 'mlflow.db'}"


class Tracker:
    """A tracking server or SQLite file. Picklable: only the address travels."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        mlflow.set_tracking_uri(uri)  # the registry reads the global address, not the client's
        self._client = MlflowClient(uri)

    def __reduce__(self) -> tuple[type[Tracker], tuple[str]]:
        return Tracker, (self.uri,)

    @property
    def client(self) -> MlflowClient:
        """MLflow's own client, for what is not wrapped here."""
        return self._client

    def experiment(self, name: str, artifacts: Path | None = None) -> str:
        """Id of the experiment, made if absent; a SQLite store keeps its artifacts in the folder `artifacts`."""
        found = self._client.get_experiment_by_name(name)
        if found:
            return str(found.experiment_id)
        location = artifacts.resolve().as_uri() if artifacts and self.uri.startswith("sqlite:") else None
        try:
            return str(self._client.create_experiment(name, artifact_location=location, tags=_MODEL_TRAINING))
        except MlflowException:  # another process was first
            found = self._client.get_experiment_by_name(name)
            if found is None:
                raise
            return str(found.experiment_id)

    def start(
        self,
        experiment: str,
        name: str,
        *,
        kind: str,
        parent: str | None = None,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """A new run; returns its id."""
        linked = {PARENT: parent} if parent else {}
        run = self._client.create_run(experiment, run_name=name, tags={KIND: kind, **linked, **(tags or {})})
        logged = [Param(key, value[:_PARAM_LIMIT]) for key, value in (params or {}).items()]
        if logged:
            self._client.log_batch(run.info.run_id, params=logged)
        return str(run.info.run_id)

    def log(self, run: str, metrics: Mapping[str, float], step: int) -> None:
        """Metrics of one step; NaN is kept, since an undefined number is a result too."""
        now = int(time.time() * 1000)
        self._client.log_batch(run, metrics=[Metric(name, float(value), now, step) for name, value in metrics.items()])

    def tag(self, run: str, tags: Mapping[str, str]) -> None:
        """Set tags."""
        self._client.log_batch(run, tags=[RunTag(key, value[:_PARAM_LIMIT]) for key, value in tags.items()])

    def upload(self, run: str, path: Path, folder: str | None = None) -> None:
        """A file or the contents of a folder, under the artifact folder `folder`."""
        send = self._client.log_artifacts if path.is_dir() else self._client.log_artifact
        send(run, str(path), folder)

    def download(self, run: str, folder: str, into: Path) -> Path:
        """An artifact folder of a run, copied below `into`."""
        into.mkdir(parents=True, exist_ok=True)
        return Path(self._client.download_artifacts(run, folder, str(into)))

    def download_registered(self, uri: str, into: Path) -> tuple[Path, str]:
        """The files of `models:/name@alias` or `models:/name/version`, below `into`, and the run they come from."""
        named, _, version = uri.removeprefix("models:/").partition("/")
        name, _, alias = named.partition("@")
        found = (
            self._client.get_model_version_by_alias(name, alias)
            if alias
            else self._client.get_model_version(name, version)
        )
        target = into / f"{name}-{found.version}"
        target.mkdir(parents=True, exist_ok=True)
        return Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(target))), str(found.run_id)

    def finish(self, run: str, status: str, reason: str = "") -> None:
        """FINISHED, FAILED or KILLED, with the reason as a tag where there is one."""
        if reason:
            self.tag(run, {"crystalsweep.reason": reason})
        self._client.set_terminated(run, status=status)

    def finished_with(self, experiment: str, tag: str, value: str) -> Run | None:
        """The latest FINISHED run that carries this tag."""
        query = f"tags.`{tag}` = '{value}' and attributes.status = 'FINISHED'"
        found = self._client.search_runs([experiment], query, max_results=1, order_by=["attributes.end_time DESC"])
        return found[0] if found else None

    def running(self, experiment: str, *, tag: tuple[str, str] | None = None) -> list[Run]:
        """Runs still marked RUNNING, with this tag where one is given."""
        query = "attributes.status = 'RUNNING'" + (f" and tags.`{tag[0]}` = '{tag[1]}'" if tag else "")
        return list(self._client.search_runs([experiment], query))
