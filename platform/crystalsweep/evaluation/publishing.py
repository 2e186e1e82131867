"""An evaluation in MLflow: its files and means, on the run of the checkpoint it judges or on one of its own."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from crystalsweep.artifacts.atomic import file_sha256
from crystalsweep.config import Config, as_parameters
from crystalsweep.evaluation.outcome import Evaluation, Figure
from crystalsweep.evaluation.properties.outcome import PropertyEvaluation
from crystalsweep.evaluation.run import REQUEST
from crystalsweep.provenance import environment
from crystalsweep.tracking.tags import plain_key
from crystalsweep.tracking.tracker import Tracker

ARTIFACTS = "evaluation"
"""Artifact folder of a run, with a folder for each of its evaluations, and first part of every metric's name. The
metrics are those of the latest evaluation."""

EVALUATIONS = "evaluations"
"""Of evaluations without a run of their own."""

LOGGED = "crystalsweep.evaluation"
"""Tag: hash of the request of a run's latest evaluation; `LOGGED.<hash>` is the artifact folder of each."""


def log_evaluation(tracker: Tracker, outcome: Evaluation | PropertyEvaluation, folder: Path, run: str | None) -> str:
    """Log to `run`, or to a new run where there is none; returns its id. What was logged before is not logged again."""
    request = file_sha256(folder / REQUEST)[:16]
    if run is None:
        return _log_alone(tracker, outcome, folder, request)
    tags = tracker.client.get_run(run).data.tags
    if f"{LOGGED}.{request}" not in tags:
        _log(tracker, run, outcome, folder, request, tags)
    return run


def _log_alone(tracker: Tracker, outcome: Evaluation | PropertyEvaluation, folder: Path, request: str) -> str:
    experiment = tracker.experiment(EVALUATIONS, folder.resolve().parent / "mlflow-artifacts")
    if found := tracker.finished_with(experiment, LOGGED, request):
        return str(found.info.run_id)
    settings = outcome.settings
    if isinstance(settings, Config):
        params = as_parameters(settings)
    else:
        params = {name: json.dumps(value) for name, value in settings.items()}
    made = tracker.start(experiment, outcome.name, kind="evaluation", params=params, tags=environment())
    _log(tracker, made, outcome, folder, request, {})
    tracker.finish(made, "FINISHED")
    return made


def _log(
    tracker: Tracker,
    run: str,
    outcome: Evaluation | PropertyEvaluation,
    folder: Path,
    request: str,
    tags: Mapping[str, str],
) -> None:
    """Log an evaluation, tags last: an evaluation that was cut off in uploading is logged again."""
    name = folder.resolve().name
    if name in (value for tag, value in tags.items() if tag.startswith(f"{LOGGED}.")):  # of another request
        name = f"{name}-{request[:8]}"
    metrics = _metrics(outcome)
    logged = tracker.client.get_run(run).data.metrics
    gone = {key: math.nan for key in logged if key.startswith(f"{ARTIFACTS}/") and key not in metrics}
    tracker.log(run, metrics | gone, 0)  # figures of an earlier evaluation are none of this one
    tracker.upload(run, folder, f"{ARTIFACTS}/{name}")
    lock = {"crystalsweep.metrics_lock": outcome.metrics_lock}
    tracker.tag(run, lock | {LOGGED: request, f"{LOGGED}.{request}": name})


def fetch_evaluation(tracker: Tracker, run: str, name: str | None, into: Path) -> Path:
    """Return an evaluation of a run, copied below `into`.

    Args:
        tracker: Where the run is.
        run: Its id.
        name: Artifact folder of the evaluation; may be left out where there is one.
        into: Where to.

    Raises:
        ValueError: The run or the evaluation is not there, or there are several and no name.
    """
    from mlflow.exceptions import MlflowException

    try:
        entries = tracker.client.list_artifacts(run, ARTIFACTS)
        names = sorted(Path(entry.path).name for entry in entries if entry.is_dir)
        if len(names) > 1 and name is None:
            raise ValueError(
                f"run {run} has {len(names)} evaluations; give one: {', '.join(f'{run}/{n}' for n in names)}"
            )
        if names and (name is None or name in names):
            return tracker.download(run, f"{ARTIFACTS}/{name or names[0]}", into / run)
    except (MlflowException, OSError) as error:
        raise ValueError(f"run {run} cannot be read in {tracker.uri}: {error}") from error
    found = f"only {', '.join(names)}" if names else "none"
    raise ValueError(
        f"run {run} in {tracker.uri} has no evaluation {name or ''} ({found}); log one with `crystalsweep evaluate "
        f"--checkpoint {run} --tracking-uri {tracker.uri}`"
    )


def _metrics(outcome: Evaluation | PropertyEvaluation) -> dict[str, float]:
    """Return means with their bounds, and means by condition."""
    if isinstance(outcome, PropertyEvaluation):
        return _property_metrics(outcome)
    named = _with_bounds(ARTIFACTS, outcome.rows[outcome.name])
    for condition, figures in outcome.conditions.get(outcome.name, {}).items():
        for metric, figure in figures.items():
            if figure.mean is not None:
                named[f"{ARTIFACTS}/{condition}/{metric}"] = figure.mean
    return named


def _property_metrics(outcome: PropertyEvaluation) -> dict[str, float]:
    """Return figures of the model with their bounds, by property."""
    named: dict[str, float] = {}
    for target, found in outcome.targets.items():
        named |= _with_bounds(f"{ARTIFACTS}/{target}", found.rows[outcome.name])
    return named


def _with_bounds(prefix: str, figures: Mapping[str, Figure]) -> dict[str, float]:
    """Return figures with their bounds and how many rows were undecided, by what MLflow lets a metric be called."""
    named: dict[str, float] = {}
    for metric, figure in figures.items():
        at = plain_key(f"{prefix}/{metric}")
        for key, value in (("", figure.mean), ("/low", figure.low), ("/high", figure.high)):
            if value is not None:
                named[f"{at}{key}"] = value
        if figure.undecided:
            named[f"{at}/undecided"] = float(figure.undecided)
    return named
