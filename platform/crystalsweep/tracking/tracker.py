"""Runs in MLflow, by explicit run ids only: the fluent API keeps its active run per thread, which Ray's callbacks
are not.

Everything is written by the process that runs the sweep; workers hold no credentials and open no database.
"""

from __future__ import annotations

import itertools
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from crystalsweep.artifacts.addresses import Address, sqlite_address
from crystalsweep.tracking import private
from crystalsweep.tracking.tags import KIND, PARENT, REASON

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run
    from mlflow.entities.model_registry import ModelVersion

_PARAM_LIMIT = 6000
_MODEL_TRAINING = {"mlflow.experimentKind": "custom_model_development"}
"""Opens the experiment in the UI's view for training runs, not the one for language models."""
METRICS_PER_BATCH = 1000
"""What MLflow takes in one request."""
_PARAMS_PER_BATCH = 100
_PASSING = {429, 500, 502, 503, 504}
_ANSWER_TIMEOUT_S = 10
_EXPERIMENTS = "/api/2.0/mlflow/experiments/search"

Item = TypeVar("Item")


def now_ms() -> int:
    """Return MLflow's clock: milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def is_away(error: BaseException) -> bool:
    """Return whether a write failed since the server or its database cannot take writes now: the same write may pass
    later.

    No connection, a timeout, HTTP 429 or 5xx, a locked database. MLflow gives what its own retries end with as
    INTERNAL_ERROR, which its table calls 500.
    """
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        return error.get_http_status_code() in _PASSING and error.error_code != "INVALID_STATE"
    return any(isinstance(each, (ConnectionError, TimeoutError)) for each in _with_causes(error))


def is_refused(error: BaseException) -> bool:
    """Return whether a server answered that it does not know who asks, or does not let them."""
    status = getattr(error, "get_http_status_code", lambda: None)()
    return status in (401, 403) or "failed with error code 401" in str(error)


def root_reason(error: BaseException) -> str:
    """Return what lies under an error, in a line: `[Errno 111] Connection refused`, `database is locked`."""
    *_, deepest = _with_causes(error)
    lines = str(deepest).strip().splitlines()
    return (lines[0] if lines else type(deepest).__name__)[:300]


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def default_tracking_uri(storage: Path) -> str:
    """Return MLFLOW_TRACKING_URI if set, else a SQLite file in `storage` (absolute: Ray changes the working
    directory)."""
    return os.environ.get("MLFLOW_TRACKING_URI") or sqlite_uri(storage)


def sqlite_uri(storage: Path) -> str:
    """Return the SQLite store in `storage`."""
    return sqlite_address(storage.resolve() / "mlflow.db")


class Tracker:
    """A tracking server or SQLite file. Picklable: only the address travels, without its password."""

    def __init__(self, uri: str | Address) -> None:
        import mlflow  # takes seconds, which whoever only reads a folder need not wait

        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # logs tracebacks of what it raises too
        self.address = Address(uri)
        whole = self.address.with_password()
        mlflow.set_tracking_uri(whole)  # the registry reads the global address, not the client's
        self._mlflow, self._client = mlflow, mlflow.MlflowClient(whole)

    def __reduce__(self) -> tuple[type[Tracker], tuple[Address]]:
        return Tracker, (self.address,)

    @property
    def uri(self) -> str:
        """The address as it may be shown; `address` has the password too."""
        return str(self.address)

    @property
    def client(self) -> MlflowClient:
        """MLflow's own client, for what is not wrapped here."""
        return self._client

    def experiment(self, name: str, artifacts: Path | None = None) -> str:
        """Return id of the experiment, made if absent; a SQLite store keeps its artifacts in the folder `artifacts`.

        Raises `ValueError` with the remedy where it was deleted: MLflow keeps its name, and takes no runs.
        """
        self.require_kept(name)
        found = self._client.get_experiment_by_name(name)
        if found:
            return str(found.experiment_id)
        location = artifacts.resolve().as_uri() if artifacts and self.uri.startswith("sqlite:") else None
        try:
            return str(self._client.create_experiment(name, artifact_location=location, tags=_MODEL_TRAINING))
        except self._mlflow.MlflowException:  # another process was first
            found = self._client.get_experiment_by_name(name)
            if found is None:
                raise
            return str(found.experiment_id)

    def require_kept(self, name: str) -> None:
        """Raise `ValueError` with the remedy where an experiment of this name was deleted."""
        found = self._client.get_experiment_by_name(name)
        if found and found.lifecycle_stage == "deleted":
            raise ValueError(
                f"the MLflow experiment {name!r} was deleted: bring it back with `MLFLOW_TRACKING_URI={self.uri} "
                f"mlflow experiments restore --experiment-id {found.experiment_id}`, or give another --tracking-uri "
                "or --storage"
            )

    def tag_experiment(self, experiment: str, tags: Mapping[str, str]) -> None:
        """Set tags of an experiment."""
        for name, value in tags.items():
            self._client.set_experiment_tag(experiment, name, value)

    def start(
        self,
        experiment: str,
        name: str,
        *,
        kind: str,
        parent: str | None = None,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        at: int | None = None,
    ) -> str:
        """Return a new run, begun `at` (ms since 1970) or now; returns its id.

        Args:
            experiment: Id of the experiment.
            name: For people.
            kind: Tag: `sweep`, `trial`, or a stage.
            parent: Id of the run that it belongs to.
            params: Parameters.
            tags: Tags.
            at: When it began, ms since 1970; now where left out.
        """
        linked = {PARENT: parent} if parent else {}
        run = self._client.create_run(
            experiment, run_name=name, start_time=at, tags={KIND: kind, **linked, **(tags or {})}
        )
        self.parameters(str(run.info.run_id), params or {})
        return str(run.info.run_id)

    def reopen(self, run: Run, tags: Mapping[str, str] | None = None) -> None:
        """Make a run RUNNING again, with these tags, and without the reason of an earlier end."""
        self._client.update_run(run.info.run_id, status="RUNNING")
        if REASON in run.data.tags:
            self._client.delete_tag(run.info.run_id, REASON)
        self.tag(run.info.run_id, tags or {})

    def parameters(self, run: str, params: Mapping[str, str]) -> None:
        """Log parameters, each cut at 6000 characters; MLflow refuses to change one that is there."""
        for part in _parts(params.items(), _PARAMS_PER_BATCH):
            self._client.log_batch(
                run, params=[self._mlflow.entities.Param(name, stored(value)) for name, value in part]
            )

    def log(self, run: str, metrics: Mapping[str, float], step: int, at: int | None = None) -> None:
        """Log metrics of one step, measured `at` (ms since 1970) or now; NaN is kept: an undefined number is a
        result."""
        self.log_points(run, metric_points(metrics, step, at))

    def log_points(self, run: str, metrics: Sequence[Metric]) -> None:
        """Log metrics of any steps. The same points twice are stored once by every database, though not by file
        stores."""
        for part in _parts(metrics, METRICS_PER_BATCH):
            self._client.log_batch(run, metrics=part)

    def tag(self, run: str, tags: Mapping[str, str]) -> None:
        """Set tags."""
        for part in _parts(tags.items(), _PARAMS_PER_BATCH):
            self._client.log_batch(
                run, tags=[self._mlflow.entities.RunTag(name, stored(value)) for name, value in part]
            )

    def upload(self, run: str, path: Path, folder: str | None = None) -> None:
        """Upload a file or the contents of a folder, under the artifact folder `folder`."""
        send = self._client.log_artifacts if path.is_dir() else self._client.log_artifact
        send(run, str(path), folder)

    def download(self, run: str, folder: str, into: Path) -> Path:
        """Return an artifact folder of a run, copied below `into`."""
        into.mkdir(parents=True, exist_ok=True)
        return Path(self._client.download_artifacts(run, folder, str(into)))

    def registered(self, name: str, *, alias: str | None = None, version: str | None = None) -> ModelVersion:
        """Return a version in the registry, by its alias or else its number; MLflow's error where there is none."""
        if alias:
            return self._client.get_model_version_by_alias(name, alias)
        return self._client.get_model_version(name, version)

    def download_registered(self, version: ModelVersion, into: Path) -> Path:
        """Return the files of a registered version, in the existing folder `into`."""
        return self.download_model(f"models:/{version.name}/{version.version}", into)

    def download_model(self, source: str, into: Path) -> Path:
        """Return the files of what a `models:/…` address names, in the existing folder `into`."""
        server = self.address.with_password()
        return Path(self._mlflow.artifacts.download_artifacts(source, dst_path=str(into), tracking_uri=server))

    def finish(self, run: str, status: str, reason: str = "", at: int | None = None) -> None:
        """End a run as FINISHED, FAILED or KILLED `at` (ms since 1970) or now, with the reason as a tag where there is
        one."""
        if reason:
            self.tag(run, {REASON: reason})
        self._client.set_terminated(run, status=status, end_time=at)

    def require_answer(self) -> None:
        """Ask a server, at once and only once, whether it is there. A database is not asked.

        Raises:
            MlflowException: `is_away` is true of it.
        """
        if self.uri.startswith("http"):
            self._ask("/health", retries=0)

    def require_usable(self) -> None:
        """Ask for an experiment, a server only once. Raises what MLflow or its database raises."""
        if self.uri.startswith("http"):
            self._ask(_EXPERIMENTS, retries=0, max_results=1)
        self._client.search_experiments(max_results=1)

    def reads(self) -> bool:
        """Return whether the database answers: a server may be there without it."""
        try:
            if self.uri.startswith("http"):  # once more where the failed write broke the connection
                self._ask(_EXPERIMENTS, retries=1, max_results=1)
            else:
                self._client.search_experiments(max_results=1)
        except Exception as error:  # what is refused is answered too
            return not is_away(error)
        return True

    def _ask(self, path: str, *, retries: int, **params: int) -> None:
        server = self.address.with_password()
        status = private.get(server, path, retries=retries, timeout=_ANSWER_TIMEOUT_S, params=params)
        if status in _PASSING:
            raise self._mlflow.MlflowException(f"HTTP {status}")  # error_code INTERNAL_ERROR

    def tagged(self, experiment: str, tags: Mapping[str, str]) -> list[Run]:
        """Return all runs that carry these tags, the first one first."""
        query = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        found: list[Run] = []
        token: str | None = None
        while True:
            page = self._client.search_runs(
                [experiment], query, order_by=["attributes.start_time ASC"], page_token=token
            )
            found += page
            token = page.token
            if not token:
                return found

    def finished_with(self, experiment: str, tag: str, value: str) -> Run | None:
        """Return the latest FINISHED run that carries this tag."""
        query = f"tags.`{tag}` = '{value}' and attributes.status = 'FINISHED'"
        found = self._client.search_runs([experiment], query, max_results=1, order_by=["attributes.end_time DESC"])
        return found[0] if found else None

    def running(self, experiment: str, *, tag: tuple[str, str] | None = None) -> list[Run]:
        """Return runs still marked RUNNING, with this tag where one is given."""
        query = "attributes.status = 'RUNNING'" + (f" and tags.`{tag[0]}` = '{tag[1]}'" if tag else "")
        return list(self._client.search_runs([experiment], query))


def stored(value: str) -> str:
    """Return a parameter's or tag's value as far as MLflow keeps it."""
    return value[:_PARAM_LIMIT]


def metric_points(metrics: Mapping[str, float], step: int, at: int | None = None) -> list[Metric]:
    """Return MLflow's metrics of one step, measured `at` (ms since 1970) or now."""
    from mlflow.entities import Metric

    moment = now_ms() if at is None else at
    return [Metric(name, float(value), moment, step) for name, value in metrics.items()]


def _parts(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    iterator = iter(items)
    while part := list(itertools.islice(iterator, size)):
        yield part
