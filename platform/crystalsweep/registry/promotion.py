"""From a checkpoint to an alias: gates, dossier, version, and only then the alias."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow.exceptions import MlflowException

from crystalsweep.artifacts.addresses import without_password
from crystalsweep.artifacts.seal import require_sealed, seal
from crystalsweep.evaluation.driver import evaluate_checkpoint
from crystalsweep.evaluation.freezing import require_same_crystals
from crystalsweep.evaluation.inputs import read_inputs
from crystalsweep.evaluation.outcome import FILE as METRICS_FILE
from crystalsweep.evaluation.outcome import Figure, Outcome, read_outcome
from crystalsweep.evaluation.request import EvaluationRequest, Machine
from crystalsweep.evaluation.run import read_tables
from crystalsweep.evaluation.settings import metrics_lock, versions
from crystalsweep.evaluation.suite import Suite
from crystalsweep.inference.locate import Location, locate
from crystalsweep.networks.checkpoint import lineage, load_generator, read_info
from crystalsweep.provenance import environment, user
from crystalsweep.registry import attempts
from crystalsweep.registry.aliases import ensure_registered, holder_of, move
from crystalsweep.registry.dossier import EVALUATION, FILE, FOLDER, PAGE, Candidate, Dossier, Holder, read_dossier
from crystalsweep.registry.gates.gain import gain, gain_over_baselines, judged
from crystalsweep.registry.gates.gate import Gate
from crystalsweep.registry.gates.leakage import leakage, trainings_of
from crystalsweep.registry.gates.physics import physics
from crystalsweep.registry.gates.reproducibility import reproducibility
from crystalsweep.registry.page import write_card, write_page
from crystalsweep.registry.versions import is_known, register, stage
from crystalsweep.tracking.tracker import Tracker

CANDIDATE = "candidate"
"""Its row in the suite's evaluation."""
SUITE = "suite.json"
COMMAND = (
    "crystalsweep evaluate --checkpoint checkpoint --suite dossier/suite.json --name candidate --device cpu --out again"
)
"""Run in a version's folder, gives the dossier's figures again."""

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class PromotionRequest:
    """What is asked of a promotion."""

    reference: str
    """The checkpoint, as `references.resolve` understands it."""
    model: str
    alias: str
    suite: Suite
    metric: str
    guarded: Sequence[str]
    trained_on: Sequence[str] = ()
    """Data sets, beside the bundled one, that the lineage may have been trained on."""
    forced: str = ""
    """Reason to promote against the gates; empty does not."""
    workers: int | None = None
    storage: Path = field(default_factory=Path)
    """Local folder of downloads and of promotions' files."""


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
    _ = [judged(name) for name in (request.metric, *request.guarded)]
    require_same_crystals(request.suite)
    found = locate(request.reference, tracker, request.storage / "downloads")
    if not (found.folder / "generator.safetensors").exists():
        raise ValueError(f"{request.reference} is of stage {read_info(found.folder).stage} and has no generator")
    _require_finished(tracker, found.run)
    present = _present(tracker, request, _sha256(found.folder / "generator.safetensors"))
    earlier = attempts.earlier(tracker, request.model, request.suite.sha256(), request.metric)
    if dry:
        dossier, folder = judge(request, found, present.champion, earlier, say)
        return Decision(dossier=dossier, folder=folder, version=None, run=None)
    run = attempts.begin(
        tracker,
        request.model,
        request.alias,
        request.reference,
        request.storage / "mlflow-artifacts",
        {attempts.SUITE: request.suite.sha256(), attempts.METRIC: request.metric},
    )
    version = None
    try:
        dossier, folder = judge(request, found, present.champion, earlier, say)
        attempts.publish(tracker, run, dossier, folder)
        if dossier.verdict != "refused":
            say("registering: files are sent, read back and compared")
            version = _register(tracker, request, dossier, folder, found, run)
            tracker.tag(run, {attempts.VERSION: version})
            move(tracker, request.model, request.alias, version, expected=present.holder)
    except BaseException as error:
        attempts.try_to_fail(tracker, run, error)
        if version is not None:
            _not_given(tracker, request, version, error)
        raise
    try:
        attempts.conclude(tracker, run, dossier.verdict, version=version, note=attempts.summary(dossier))
    except MlflowException as error:  # what was decided stands
        say(f"MLflow does not take the end of the record of run {run}: {without_password(str(error))}")
    return Decision(dossier=dossier, folder=folder, version=version, run=run)


def _not_given(tracker: Tracker, request: PromotionRequest, version: str, error: BaseException) -> None:
    """Have a version that was registered and did not get its alias say so, if the server still takes it."""
    why = f"Registered, but not given {request.alias}: {without_password(str(error))[:500]}"
    with suppress(MlflowException):
        held = holder_of(tracker, request.model, request.alias)
        if held is None or str(held.version) != version:
            tracker.client.update_model_version(request.model, version, description=why)
            tracker.client.set_model_version_tag(request.model, version, "crystalsweep.verdict", "not given the alias")


def judge(
    request: PromotionRequest, found: Location, champion: Location | None, earlier: int, say: Say
) -> tuple[Dossier, Path]:
    """Return the dossier, and the folder with it and all other files of the version to be.

    `earlier` attempts were made on this suite and metric.
    """
    folder = _folder(request)
    checkpoint = stage(found.folder, folder)
    info, generator = read_info(checkpoint), load_generator(checkpoint)
    ancestry = lineage([checkpoint])

    say("physics: equivariance, one-atom cells, rock salt")
    gates = [physics(generator)]
    say("leakage: held-out crystals among the training crystals, by id, structure and supercell")
    trainings, unknown = trainings_of(ancestry, request.trained_on)
    parents = read_inputs(request.suite.source, request.suite.part, None, request.suite.settings).parents
    gates.append(leakage(trainings, unknown, parents))
    say(f"suite {request.suite.name}: {len(parents):,} crystals at most, restored and scored")
    (folder / FOLDER).mkdir()
    (folder / FOLDER / SUITE).write_text(request.suite.model_dump_json(indent=2) + "\n", encoding="utf-8")
    evaluated = folder / FOLDER / EVALUATION
    outcome = evaluate_on(request.suite, checkpoint, evaluated, request)
    rows = {name: figures for name, figures in outcome.rows.items() if not name.endswith(", all atoms")}
    holder, gate = None, None
    if champion is None:
        table, references = read_tables(evaluated)
        gate, frame = gain_over_baselines(table, references, judged(request.metric))
    else:
        name = f"champion, version {champion.version}"
        theirs, again = _evaluation_of(champion, request, say)
        rows[name] = _row_of(theirs)
        metrics = [judged(each) for each in request.guarded]
        mine = read_tables(evaluated)[0]
        gate, frame = gain(mine, read_tables(theirs)[0], judged(request.metric), metrics, holder=name)
        holder = Holder(
            version=str(champion.version),
            run=champion.run,
            weights_sha256=_sha256(champion.folder / "generator.safetensors"),
            evaluated="again" if again else "by its own dossier",
        )
    tried = (
        f"{earlier} earlier attempts on this suite and metric are on record: who tries often is better once by chance."
    )
    gate = gate.model_copy(update={"required": request.alias == "champion", "notes": [*gate.notes, tried]})
    gates.append(gate)
    if any(each.refuses for each in gates) and not request.forced:
        say("reproducibility: not asked, since it is refused already")
    else:
        say("reproducibility: the dossier's command, in a process of its own")
        gates.append(_again(folder, outcome, request.workers))
    dossier = Dossier(
        model=request.model,
        alias=request.alias,
        candidate=Candidate(
            reference=request.reference,
            run=found.run,
            stage=info.stage,
            epoch=info.epoch,
            step=info.step,
            backbone=str(info.config["backbone"]["name"]),
            parameters=sum(p.numel() for p in generator.parameters()),
            weights_sha256=_sha256(checkpoint / "generator.safetensors"),
            data_sha256=info.data_sha256,
            split_sha256=info.split_sha256,
            lineage=ancestry,
            config=info.config,
        ),
        champion=holder,
        suite=request.suite,
        suite_sha256=request.suite.sha256(),
        metrics_lock=outcome.metrics_lock,
        metric=request.metric,
        guarded=list(request.guarded),
        gates=gates,
        rows=rows,
        command=COMMAND,
        trained_on=list(request.trained_on),
        environment=environment(),
        decided_at=datetime.now(UTC).isoformat(timespec="seconds"),
        decided_by=user(),
        forced=request.forced if any(each.refuses for each in gates) else "",
    )
    (folder / FOLDER / FILE).write_text(dossier.model_dump_json(indent=2) + "\n", encoding="utf-8")
    write_page(dossier, frame, folder / FOLDER / PAGE)
    write_card(dossier, folder)
    seal(folder)
    return dossier, folder


def evaluate_on(suite: Suite, checkpoint: Path, out: Path, request: PromotionRequest) -> Outcome:
    """Return the suite's figures of a checkpoint, on the CPU."""
    machine = Machine(workers=request.workers, device="cpu")
    asked = EvaluationRequest.of_suite(suite, str(checkpoint), out=out, name=CANDIDATE, machine=machine)
    _, outcome, _ = evaluate_checkpoint(asked, None, request.storage)
    return outcome


def _require_finished(tracker: Tracker, run: str | None) -> None:
    if run is not None and is_known(tracker, run):
        status = tracker.client.get_run(run).info.status
        if status != "FINISHED":
            raise ValueError(f"run {run} is {status}; only a FINISHED run can be promoted")


@dataclass(frozen=True)
class _Present:
    """Who has which alias when a promotion begins."""

    holder: str | None
    """Version that has the alias asked for."""
    champion: Location | None


def _present(tracker: Tracker, request: PromotionRequest, weights: str) -> _Present:
    """Return what the registry has. Raises `ValueError` where the champion is of these weights."""
    held = holder_of(tracker, request.model, request.alias)
    holder = None if held is None else str(held.version)
    if holder_of(tracker, request.model, "champion") is None:
        return _Present(holder, None)
    champion = locate(f"models:/{request.model}@champion", tracker, request.storage / "downloads")
    if _sha256(champion.folder / "generator.safetensors") == weights:
        raise ValueError(
            f"{request.reference} has the weights of {request.model}@champion, version {champion.version}: there is "
            "nothing to gain; `crystalsweep verify` says whether it still holds"
        )
    return _Present(holder, champion)


def _evaluation_of(champion: Location, request: PromotionRequest, say: Say) -> tuple[Path, bool]:
    """Return the champion's evaluation on the suite, and whether it had to be made now."""
    try:
        require_sealed(champion.root)
        dossier = read_dossier(champion.root)
    except ValueError:
        dossier = None
    lock = metrics_lock(request.suite.settings, versions())
    if dossier and dossier.suite_sha256 == request.suite.sha256() and dossier.metrics_lock == lock:
        return champion.root / FOLDER / EVALUATION, False
    say(f"the champion, version {champion.version}, was measured otherwise: it is evaluated again")
    out = _folder(request) / "champion"
    evaluate_on(request.suite, champion.folder, out, request)
    return out, True


def _row_of(evaluated: Path) -> dict[str, Figure]:
    outcome = read_outcome(evaluated)
    return outcome.rows[outcome.name]


def _again(folder: Path, first: Outcome, workers: int | None) -> Gate:
    """Run `COMMAND`."""
    environ = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    with TemporaryDirectory() as scratch:
        out = Path(scratch) / "again"
        arguments = [*COMMAND.split()[1:-1], str(out)] + (["--workers", str(workers)] if workers else [])
        command = [sys.executable, "-m", "crystalsweep", *arguments]
        ran = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True)
        if ran.returncode or not (out / METRICS_FILE).exists():
            raise ValueError(f"{COMMAND} failed in {folder}: {' '.join(ran.stderr.split())[-500:]}")
        return reproducibility(first, read_outcome(out), COMMAND)


def _register(
    tracker: Tracker, request: PromotionRequest, dossier: Dossier, folder: Path, found: Location, run: str
) -> str:
    ensure_registered(tracker, request.model)
    experiment = tracker.client.get_run(run).info.experiment_id
    figure = dossier.rows[CANDIDATE].get(request.metric)
    tags = {
        "crystalsweep.verdict": dossier.verdict,
        "crystalsweep.promotion_run": run,
        "crystalsweep.weights_sha256": dossier.candidate.weights_sha256,
        "crystalsweep.suite": request.suite.name,
        "crystalsweep.stage": dossier.candidate.stage,
        "crystalsweep.backbone": dossier.candidate.backbone,
        "data_sha256": dossier.candidate.data_sha256,
        "split_sha256": dossier.candidate.split_sha256,
    }
    if figure and figure.mean is not None:
        tags[request.metric] = f"{figure.mean:.4f} [{figure.low:.4f}, {figure.high:.4f}]"
    if dossier.forced:
        tags["crystalsweep.forced"] = dossier.forced
    known = found.run if is_known(tracker, found.run) else None
    version = register(tracker, request.model, folder, experiment=experiment, source_run=run, run=known, tags=tags)
    tracker.client.update_model_version(request.model, version, description=attempts.summary(dossier))
    return version


def _folder(request: PromotionRequest) -> Path:
    """Return a new one for the version's files."""
    now = datetime.now().strftime("%Y%m%d-%H%M%S-%f")
    folder = request.storage / "promotions" / f"{request.model}-{now}"
    folder.mkdir(parents=True)
    return folder


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
