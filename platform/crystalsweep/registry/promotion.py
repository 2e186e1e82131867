"""From a checkpoint to an alias: judged, registered as a version, and only then given the alias."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mlflow.exceptions import MlflowException

from crystalsweep.artifacts.addresses import without_password
from crystalsweep.artifacts.atomic import file_sha256
from crystalsweep.evaluation.freezing import require_same_crystals
from crystalsweep.inference.locate import Location, locate
from crystalsweep.inference.target_records import is_property_model, read_targets
from crystalsweep.networks.checkpoint import read_info
from crystalsweep.registry import attempts
from crystalsweep.registry.aliases import ensure_registered, move
from crystalsweep.registry.asked import Asked, Champion, Say
from crystalsweep.registry.dossier import Dossier
from crystalsweep.registry.foreign import content_sha256
from crystalsweep.registry.gates.gain import judged
from crystalsweep.registry.judging import PromotionRequest, judge
from crystalsweep.registry.property_judging import judge_property
from crystalsweep.registry.tags import CONTENT, IMPORTED, tags_of
from crystalsweep.registry.versions import is_known, register, weights_of
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
    """Judge a generator and, where it passes, register it and give it the alias.

    Raises:
        ValueError: There is no such checkpoint, metric or run, or it is the champion already.
        ConflictError: Another process moved the alias meanwhile; the version stays registered, without the alias.
        MlflowException: The server does not answer; the alias is where it was.
    """
    _ = [judged(name) for name in (request.metric, *request.guarded)]
    require_same_crystals(request.suite)
    found = locate(request.reference, tracker, request.storage / "downloads")
    if not (found.folder / "generator.safetensors").exists():
        raise ValueError(f"{request.reference} is of stage {read_info(found.folder).stage} and has no generator")
    _require_finished(tracker, found.run)
    champion = _champion(tracker, request, found)
    suite = request.suite.sha256()
    earlier = attempts.earlier(tracker, request.model, suite, request.metric)
    return _decide(
        tracker,
        request,
        _Case(
            found=found,
            holder=_holder(tracker, request),
            judge=lambda: judge(request, found, champion, earlier, say),
            tags={attempts.SUITE_TAG: suite, attempts.METRIC: request.metric},
        ),
        say,
        dry=dry,
    )


def promote_property(tracker: Tracker, asked: Asked, say: Say, *, dry: bool = False) -> Decision:
    """Judge a property model and, where it passes, register it and give it the alias.

    Raises:
        ValueError: There is no such checkpoint or run, it is the champion already, the champion predicts something
            else, or the data that it was trained on was not named.
        ConflictError: As `promote`.
        MlflowException: As there.
    """
    found = locate(asked.reference, tracker, asked.storage / "downloads")
    _require_finished(tracker, found.run)
    names = [each.name for each in read_targets(found.folder)]
    champion = _champion(tracker, asked, found)
    _require_same_targets(asked, names, champion)
    info = read_info(found.folder)
    data = f"{info.data_sha256}/{info.split_sha256}"
    earlier = attempts.earlier(tracker, asked.model, data, _HEADLINES)
    return _decide(
        tracker,
        asked,
        _Case(
            found=found,
            holder=_holder(tracker, asked),
            judge=lambda: judge_property(asked, found, champion, earlier, say),
            tags={attempts.SUITE_TAG: data, attempts.METRIC: _HEADLINES},
        ),
        say,
        dry=dry,
    )


_HEADLINES = "headlines"
"""What a property model is judged by, where a generator has a metric: the headline figure of each property."""


@dataclass(frozen=True, kw_only=True)
class _Case:
    """What there is to decide on when a promotion begins."""

    found: Location
    """The candidate."""
    holder: str | None
    """Version that has the alias asked for."""
    judge: Callable[[], tuple[Dossier, Path]]
    """Gives the dossier, and the folder of the version to be."""
    tags: Mapping[str, str]
    """Of the attempt: by which later ones count it."""


def _decide(tracker: Tracker, asked: Asked, case: _Case, say: Say, *, dry: bool) -> Decision:
    """Judge; unless it is dry, keep a record of the attempt, register what passes, and move the alias."""
    if dry:
        dossier, folder = case.judge()
        return Decision(dossier=dossier, folder=folder, version=None, run=None)
    artifacts = asked.storage / "mlflow-artifacts"
    run = attempts.begin(tracker, asked.model, asked.alias, asked.reference, artifacts, case.tags)
    decision = _attempt(tracker, asked, case, run, say)
    _conclude(tracker, run, decision, say)
    return decision


def _attempt(tracker: Tracker, asked: Asked, case: _Case, run: str, say: Say) -> Decision:
    """Judge and, unless refused, register and move the alias; what breaks off is on record as failed."""
    version = None
    try:
        dossier, folder = case.judge()
        attempts.publish(tracker, run, dossier, folder)
        if dossier.verdict != "refused":
            say("registering: files are sent, read back and compared")
            version = _register(tracker, asked, dossier, folder, case.found, run)
            tracker.tag(run, {attempts.VERSION_TAG: version})
            move(tracker, asked.model, asked.alias, version, expected=case.holder)
    except BaseException as error:
        attempts.try_to_fail(tracker, run, error)
        if version is not None:
            _not_given(tracker, asked, version, error)
        raise
    return Decision(dossier=dossier, folder=folder, version=version, run=run)


def _conclude(tracker: Tracker, run: str, decision: Decision, say: Say) -> None:
    """End the record of the attempt; what was decided stands where MLflow does not take it."""
    dossier = decision.dossier
    try:
        attempts.conclude(tracker, run, dossier.verdict, version=decision.version, note=attempts.summary(dossier))
    except MlflowException as error:
        say(f"MLflow does not take the end of the record of run {run}: {without_password(str(error))}")


def _not_given(tracker: Tracker, asked: Asked, version: str, error: BaseException) -> None:
    """Have a version that was registered and did not get its alias say so, if the server still takes it."""
    why = f"Registered, but not given {asked.alias}: {without_password(str(error))[:500]}"
    with suppress(MlflowException):
        held = holder_of(tracker, asked.model, asked.alias)
        if held is None or str(held.version) != version:
            tracker.client.update_model_version(asked.model, version, description=why)
            tracker.client.set_model_version_tag(asked.model, version, "crystalsweep.verdict", "not given the alias")


def _require_finished(tracker: Tracker, run: str | None) -> None:
    if run is not None and is_known(tracker, run):
        status = tracker.client.get_run(run).info.status
        if status != "FINISHED":
            raise ValueError(f"run {run} is {status}; only a FINISHED run can be promoted")


def _holder(tracker: Tracker, asked: Asked) -> str | None:
    """Return the version that has the alias asked for."""
    held = holder_of(tracker, asked.model, asked.alias)
    return None if held is None else str(held.version)


def _champion(tracker: Tracker, asked: Asked, candidate: Location) -> Champion | None:
    """Return the champion, if there is one.

    Raises `ValueError` where it is of the candidate's weights, or of another kind.
    """
    held = holder_of(tracker, asked.model, "champion")
    if held is None:
        return None
    champion = locate(f"models:/{asked.model}@champion", tracker, asked.storage / "downloads")
    if is_property_model(champion.folder) != is_property_model(candidate.folder):
        kind = "predicts properties" if is_property_model(champion.folder) else "is a generator"
        raise ValueError(
            f"{asked.model}@champion, version {champion.version}, {kind}, and {asked.reference} does not: give another "
            "--model"
        )
    if file_sha256(weights_of(champion.folder)) == file_sha256(weights_of(candidate.folder)):
        raise ValueError(
            f"{asked.reference} has the weights of {asked.model}@champion, version {champion.version}: there is "
            "nothing to gain; `crystalsweep verify` says whether it still holds"
        )
    return Champion(found=champion, imported=IMPORTED in held.tags)


def _require_same_targets(asked: Asked, names: Sequence[str], champion: Champion | None) -> None:
    """Raise `ValueError` where the champion predicts something else."""
    theirs = [each.name for each in read_targets(champion.found.folder)] if champion else names
    if champion and sorted(theirs) != sorted(names):
        raise ValueError(
            f"{asked.model}@champion, version {champion.found.version}, predicts {', '.join(theirs)}, and "
            f"{asked.reference} predicts {', '.join(names)}: give another --model"
        )


def _register(tracker: Tracker, asked: Asked, dossier: Dossier, folder: Path, found: Location, run: str) -> str:
    ensure_registered(tracker, asked.model)
    experiment = tracker.client.get_run(run).info.experiment_id
    tags = {**tags_of(dossier, run), CONTENT: content_sha256(folder)}
    known = found.run if is_known(tracker, found.run) else None
    version = register(tracker, asked.model, folder, experiment=experiment, source_run=run, run=known, tags=tags)
    tracker.client.update_model_version(asked.model, version, description=attempts.summary(dossier))
    return version
