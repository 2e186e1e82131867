"""Every promotion that was tried, as a run in MLflow's experiment `promotions`, whatever became of it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from crystalsweep.artifacts.addresses import without_password
from crystalsweep.evaluation.outcome import Figure
from crystalsweep.pages.text import plain_markdown
from crystalsweep.provenance import user
from crystalsweep.registry.dossier import DOSSIER_FOLDER, Dossier, PropertyDossier
from crystalsweep.tracking.tags import NOTE, PROCESS, REASON, is_orphan, plain_key, this_process
from crystalsweep.tracking.tracker import Tracker

PROMOTIONS = "promotions"
PROMOTION = "promotion"
MODEL_TAG = "crystalsweep.registered_model"
ALIAS = "crystalsweep.alias"
VERDICT = "crystalsweep.verdict"
"""Tag: promoted, refused, forced, demoted, imported, or interrupted."""
VERSION_TAG = "crystalsweep.model_version"
REASONS = "crystalsweep.reasons"
FORCED = "crystalsweep.forced"
SUITE_TAG = "crystalsweep.suite_sha256"
METRIC = "crystalsweep.metric"
CANDIDATE_TAG = "crystalsweep.candidate"


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One line of a model's history."""

    when: datetime
    who: str
    verdict: str
    alias: str
    version: str
    """Registered; empty where none was."""
    candidate: str
    reasons: str
    run: str
    """MLflow run with the dossier."""


def begin(
    tracker: Tracker, model: str, alias: str, candidate: str, artifacts: Path, tags: Mapping[str, str] | None = None
) -> str:
    """Return a run for an attempt, RUNNING; returns its id.

    Args:
        tracker: The server.
        model: Name in the registry.
        alias: That is asked for.
        candidate: What is to be promoted, as it was named.
        artifacts: Folder of a local store's artifacts.
        tags: More tags of the run.
    """
    experiment = tracker.experiment(PROMOTIONS, artifacts)
    own = {
        MODEL_TAG: model,
        ALIAS: alias,
        CANDIDATE_TAG: candidate,
        VERDICT: "running",
        PROCESS: this_process(),
        "mlflow.user": user(),
    }
    shown = candidate if len(candidate) < 40 else f"…{candidate[-32:]}"
    return tracker.start(experiment, f"{shown} → {model}@{alias}", kind=PROMOTION, tags={**own, **(tags or {})})


def publish(tracker: Tracker, run: str, dossier: Dossier, folder: Path) -> None:
    """Publish the dossier and its numbers; what became of it comes last, by `conclude`."""
    figures = {
        plain_key(f"{row.partition(',')[0].replace(' ', '_')}/{metric}"): figure.mean
        for row, found in _rows(dossier).items()
        for metric, figure in found.items()
        if figure.mean is not None
    }
    gates = {f"gate/{gate.name}": float(gate.passed) for gate in dossier.gates}
    tracker.log(run, figures | gates, 0)
    tracker.upload(run, folder / DOSSIER_FOLDER, DOSSIER_FOLDER)
    tracker.tag(run, {name: text for name, text in _why(dossier).items() if text})


def _rows(dossier: Dossier) -> dict[str, dict[str, Figure]]:
    """Return figures by row, of a property model by row and property."""
    if isinstance(dossier, PropertyDossier):
        return {f"{row}/{name}": each.rows[row] for name, each in dossier.targets.items() for row in each.rows}
    return dossier.rows


def _why(dossier: Dossier) -> dict[str, str]:
    return {REASONS: "; ".join(dossier.reasons), FORCED: dossier.forced}


def earlier(tracker: Tracker, model: str, suite: str, metric: str) -> int:
    """Return attempts of a model on this suite (its sha256) and metric so far."""
    experiment = tracker.client.get_experiment_by_name(PROMOTIONS)
    if experiment is None:
        return 0
    return len(tracker.tagged(experiment.experiment_id, {MODEL_TAG: model, SUITE_TAG: suite, METRIC: metric}))


def conclude(
    tracker: Tracker, run: str, verdict: str, *, version: str | None, note: str, tags: Mapping[str, str] | None = None
) -> None:
    """Note the end of an attempt, or of what is no attempt but moves an alias.

    Args:
        tracker: The server.
        run: The attempt's.
        verdict: As the dossier has it.
        version: That was registered; None where none was.
        note: Description of the run.
        tags: More tags of the run.
    """
    told = {VERDICT: verdict, VERSION_TAG: version or "", NOTE: note, **(tags or {})}
    tracker.tag(run, {name: value for name, value in told.items() if value})
    tracker.finish(run, "FINISHED")


def try_to_fail(tracker: Tracker, run: str, error: BaseException) -> None:
    """Note what ended an attempt, if the server still takes it; `attempts_of` knows dead processes by themselves."""
    reason = without_password(f"{type(error).__name__}: {' '.join(str(error).split())[:500]}")
    with suppress(MlflowException):
        tracker.tag(run, {VERDICT: "interrupted", NOTE: f"Interrupted: {reason}"})
        tracker.finish(run, "FAILED", reason)


def summary(dossier: Dossier) -> str:
    """Write an attempt as one line of Markdown, then why."""
    target = plain_markdown(f"{dossier.model}@{dossier.alias}")
    first = {
        "promoted": f"Promoted to {target}.",
        "refused": f"Refused as {target}.",
        "forced": f"Promoted to {target} by force: {plain_markdown(dossier.forced)}",
    }[dossier.verdict]
    return "\n\n".join([first, *(f"- {plain_markdown(reason)}" for reason in dossier.reasons)])


def attempts_of(tracker: Tracker, model: str) -> list[Attempt]:
    """Return all attempts of a model, the latest first. One whose process is gone is told as interrupted."""
    experiment = tracker.client.get_experiment_by_name(PROMOTIONS)
    if experiment is None:
        return []
    runs = tracker.tagged(experiment.experiment_id, {MODEL_TAG: model})
    return [_entry(run) for run in reversed(runs)]


def _entry(run: Run) -> Attempt:
    tags = run.data.tags
    verdict = tags.get(VERDICT, "")
    if verdict == "running" and is_orphan(tags.get(PROCESS, "")):
        verdict = "interrupted"
    return Attempt(
        when=datetime.fromtimestamp(run.info.start_time / 1000, tz=UTC),
        who=tags.get("mlflow.user", ""),
        verdict=verdict,
        alias=tags.get(ALIAS, ""),
        version=tags.get(VERSION_TAG, ""),
        candidate=tags.get(CANDIDATE_TAG, ""),
        reasons=tags.get(FORCED) or tags.get(REASONS) or tags.get(REASON, ""),
        run=str(run.info.run_id),
    )
