"""From a checkpoint to an alias: judged, registered as a version, and only then given the alias."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mlflow.exceptions import MlflowException

from crystalsweep.artifacts.addresses import without_password
from crystalsweep.artifacts.atomic import file_sha256
from crystalsweep.evaluation.freezing import require_same_crystals
from crystalsweep.inference.locate import Location, locate
from crystalsweep.networks.checkpoint import read_info
from crystalsweep.registry import attempts
from crystalsweep.registry.aliases import ensure_registered, move
from crystalsweep.registry.dossier import Dossier
from crystalsweep.registry.foreign import content_sha256
from crystalsweep.registry.gates.gain import judged
from crystalsweep.registry.judging import Champion, PromotionRequest, Say, judge
from crystalsweep.registry.tags import CONTENT, IMPORTED, tags_of
from crystalsweep.registry.versions import is_known, register
from crystalsweep.tracking.holders import holder_of
from crystalsweep.tracking.tracker import Tracker


@dataclass(frozen=True, kw_only=True)
class Decision:
    """How a promotion ended."""

    dossier: Dossier
    folder: Path
    """The version's files, with the dossier."""
    version: str | None
    """Number in the registry; None where nothing was registered."""
    run: str | None
    """MLflow run of the attempt; None of a dry one."""


def promote(tracker: Tracker, request: PromotionRequest, say: Say, *, dry: bool = False) -> Decision:
    """Judge a checkpoint and, where it passes, register it and give it the alias.

    Raises:
        ValueError: There is no such checkpoint, metric or run, or it is the champion already.
        ConflictError: Another process moved the alias meanwhile; the version stays registered, without the alias.
        MlflowException: The server does not answer; the alias is where it was.
    """
    case = _gather(tracker, request)
    if dry:
        dossier, folder = judge(request, case.found, case.champion, case.earlier, say)
        return Decision(dossier=dossier, folder=folder, version=None, run=None)
    run = _begin(tracker, request)
    decision = _attempt(tracker, request, case, run, say)
    _conclude(tracker, run, decision, say)
    return decision


@dataclass(frozen=True, kw_only=True)
class _Case:
    """What there is to decide on when a promotion begins."""

    found: Location
    """The candidate."""
    holder: str | None
    """Version that has the alias asked for."""
    champion: Champion | None
    earlier: int
    """Attempts that are on record for this suite and metric."""


def _gather(tracker: Tracker, request: PromotionRequest) -> _Case:
    """Find candidate, champion and earlier attempts. Raises `ValueError` where the candidate cannot be promoted."""
    _ = [judged(name) for name in (request.metric, *request.guarded)]
    require_same_crystals(request.suite)
    found = locate(request.reference, tracker, request.storage / "downloads")
    if not (found.folder / "generator.safetensors").exists():
        raise ValueError(f"{request.reference} is of stage {read_info(found.folder).stage} and has no generator")
    _require_finished(tracker, found.run)
    weights = file_sha256(found.folder / "generator.safetensors")
    held = holder_of(tracker, request.model, request.alias)
    return _Case(
        found=found,
        holder=None if held is None else str(held.version),
        champion=_champion(tracker, request, weights),
        earlier=attempts.earlier(tracker, request.model, request.suite.sha256(), request.metric),
    )


def _begin(tracker: Tracker, request: PromotionRequest) -> str:
    """Begin the record of the attempt and return its run."""
    return attempts.begin(
        tracker,
        request.model,
        request.alias,
        request.reference,
        request.storage / "mlflow-artifacts",
        {attempts.SUITE_TAG: request.suite.sha256(), attempts.METRIC: request.metric},
    )


def _attempt(tracker: Tracker, request: PromotionRequest, case: _Case, run: str, say: Say) -> Decision:
    """Judge and, unless refused, register and move the alias; what breaks off is on record as failed."""
    version = None
    try:
        dossier, folder = judge(request, case.found, case.champion, case.earlier, say)
        attempts.publish(tracker, run, dossier, folder)
        if dossier.verdict != "refused":
            say("registering: files are sent, read back and compared")
            version = _register(tracker, request, dossier, folder, case.found, run)
            tracker.tag(run, {attempts.VERSION_TAG: version})
            move(tracker, request.model, request.alias, version, expected=case.holder)
    except BaseException as error:
        attempts.try_to_fail(tracker, run, error)
        if version is not None:
            _not_given(tracker, request, version, error)
        raise
    return Decision(dossier=dossier, folder=folder, version=version, run=run)


def _conclude(tracker: Tracker, run: str, decision: Decision, say: Say) -> None:
    """End the record of the attempt; what was decided stands where MLflow does not take it."""
    dossier = decision.dossier
    try:
        attempts.conclude(tracker, run, dossier.verdict, version=decision.version, note=attempts.summary(dossier))
    except MlflowException as error:
        say(f"MLflow does not take the end of the record of run {run}: {without_password(str(error))}")


def _not_given(tracker: Tracker, request: PromotionRequest, version: str, error: BaseException) -> None:
    """Have a version that was registered and did not get its alias say so, if the server still takes it."""
    why = f"Registered, but not given {request.alias}: {without_password(str(error))[:500]}"
    with suppress(MlflowException):
        held = holder_of(tracker, request.model, request.alias)
        if held is None or str(held.version) != version:
            tracker.client.update_model_version(request.model, version, description=why)
            tracker.client.set_model_version_tag(request.model, version, "crystalsweep.verdict", "not given the alias")


def _require_finished(tracker: Tracker, run: str | None) -> None:
    if run is not None and is_known(tracker, run):
        status = tracker.client.get_run(run).info.status
        if status != "FINISHED":
            raise ValueError(f"run {run} is {status}; only a FINISHED run can be promoted")


def _champion(tracker: Tracker, request: PromotionRequest, weights: str) -> Champion | None:
    """Return the champion, if there is one. Raises `ValueError` where it is of these weights."""
    held = holder_of(tracker, request.model, "champion")
    if held is None:
        return None
    champion = locate(f"models:/{request.model}@champion", tracker, request.storage / "downloads")
    if file_sha256(champion.folder / "generator.safetensors") == weights:
        raise ValueError(
            f"{request.reference} has the weights of {request.model}@champion, version {champion.version}: there is "
            "nothing to gain; `crystalsweep verify` says whether it still holds"
        )
    return Champion(found=champion, imported=IMPORTED in held.tags)


def _register(
    tracker: Tracker, request: PromotionRequest, dossier: Dossier, folder: Path, found: Location, run: str
) -> str:
    ensure_registered(tracker, request.model)
    experiment = tracker.client.get_run(run).info.experiment_id
    tags = {**tags_of(dossier, run), CONTENT: content_sha256(folder)}
    known = found.run if is_known(tracker, found.run) else None
    version = register(tracker, request.model, folder, experiment=experiment, source_run=run, run=known, tags=tags)
    tracker.client.update_model_version(request.model, version, description=attempts.summary(dossier))
    return version
