"""From options to a finished sweep: plan, cluster, prerequisites, trainings, report; and on from where it stopped."""

from __future__ import annotations

import getpass
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import click
import ray
from mlflow.exceptions import MlflowException
from optuna.exceptions import StorageInternalError
from ray.exceptions import RayError
from ray.tune.error import TuneError

from crystalsweep.data import DataSet, absolute_source, load
from crystalsweep.data.splitting import PARTS
from crystalsweep.folder_store import shown_address
from crystalsweep.metrics import CompositionRules
from crystalsweep.outbox import Outbox, shown
from crystalsweep.provenance import code_sha256, environment, git_revision
from crystalsweep.tracking import Tracker
from sweeps.display.display import Display, display
from sweeps.engine.budget import Used
from sweeps.engine.finish import finish, runs_of
from sweeps.engine.folder import FILE, Record, allowed, find, locked, moved, new_name, read, state_folder, write
from sweeps.engine.prerequisites import EXPERIMENT, KEY, Prerequisite, Single, home, key_of
from sweeps.engine.prerequisites import find as find_prerequisite
from sweeps.engine.session import Session
from sweeps.engine.study import Ledger
from sweeps.engine.trainings import Schedule, check_resources, connect, run_trainings
from sweeps.engine.trial import Assignment
from sweeps.engine.watch import STATUS, Source, Watch, Watched
from sweeps.plan.plan import Plan
from sweeps.plan.refusals import require_sound
from sweeps.plan.request import FREE, Request
from sweeps.space.objectives import OBJECTIVES, objectives
from sweeps.space.spec import SweepSpec
from trainables.config import StageConfig
from trainables.job import Job, Resources, job_for
from trainables.stage import select

LEAVES = {"pretrain": "generator", "finetune": "discriminator"}
"""What a stage leaves for later ones to start from."""

PATIENCE = 600.0
"""Seconds for which a sweep waits for an MLflow that is away, where it cannot go on without."""

PATIENCE_AT_STOP = 15.0
"""Likewise where it ends before its time; a resumed sweep sends what is left."""

PROCESS = "crystalsweep.process"
"""Tag: host and pid of the process that owns a sweep."""


def run(
    spec_of: Callable[[Mapping[str, Any]], SweepSpec],
    request: Request,
    *,
    given: Mapping[str, Any],
    resume: str | None,
    dry_run: bool,
    json: bool,
) -> None:
    """Run a sweep, or with `resume` go on with one, `given` being the options asked anew.

    Bad options end in one line; Ctrl-C, SIGTERM, a cap and a failing storage in a state that can be resumed: with exit
    code 130, 130, 0 and 1.
    """
    screen, folder = display(json=json), Path()
    try:
        spec = spec_of(request.own)
        if resume:
            folder = find(request.storage, spec.name, resume)
            with locked(folder):
                record = read(folder)
                record.request = moved(allowed(record.request, given), request.storage)
                spec = spec_of(record.request.own)
                require_sound(record.request, spec.resolve(record.request.preset, record.request.settings))
                _prepare_and_go(spec, record, folder, screen, dry_run=dry_run, resumed=True)
            return
        request = replace(request, data=absolute_source(request.data))
        name = new_name(spec.name)
        folder = state_folder(request.storage) / "sweeps" / name
        record = Record(name=name, sweep=spec.name, request=request, code_sha256="", data_sha256="", split_sha256="")
        if dry_run:
            _prepare_and_go(spec, record, folder, screen, dry_run=True, resumed=False)
            return
        with locked(folder):
            _prepare_and_go(spec, record, folder, screen, dry_run=False, resumed=False)
    except (ValueError, RuntimeError, OSError, MlflowException, RayError, TuneError, StorageInternalError) as error:
        raise click.ClickException(_last_line(error)) from error
    except KeyboardInterrupt:
        begun = (folder / FILE).exists()
        screen.say(f"stopped; go on with --resume {folder.name}" if begun else "stopped", error=True)
        sys.exit(130)
    finally:
        screen.close()
        ray.shutdown()


class _CapReachedError(Exception):
    """A cap was reached."""


def _prepare_and_go(
    spec: SweepSpec, record: Record, folder: Path, screen: Display, *, dry_run: bool, resumed: bool
) -> None:
    request = record.request
    crystals = load(request.data, progress=True)
    for reject in crystals.rejects:
        screen.say(f"rejected: {reject}", error=True)
    plan = Plan(spec=spec, request=request, resolved=spec.resolve(request.preset, request.settings))
    _require_usable(plan.resolved.stages, crystals)
    if resumed:
        _require_same(record, crystals, screen)
    record.data_sha256, record.split_sha256 = crystals.data_sha256, crystals.split_sha256
    record.code_sha256 = code_sha256()
    if dry_run:
        screen.say(plan.describe(plan.forecast(crystals)))
        return
    with _stopping_cleanly():
        _go(plan, record, folder, crystals, screen)


def _require_usable(stages: Mapping[str, StageConfig], crystals: DataSet) -> None:
    """Every stage needs crystals to train and validate on, the classifier labels: better told now than by a worker."""
    for part in PARTS[:2]:
        if "finetune" in stages and not any("e_above_hull" in crystal.labels for crystal in crystals.part(part)):
            raise ValueError(
                f"no {part} crystal has an e_above_hull label (eV/atom), which the discriminator learns from; "
                "add the column, or train `crystalsweep train pretrain --set stable_only=false` alone"
            )
        for config in stages.values():
            select(crystals.part(part), config, stable_only=config.stable_only, split=part)


def _require_same(record: Record, crystals: DataSet, screen: Display) -> None:
    """A sweep goes on with its own data only; other code is said, and recorded on the runs it makes."""
    if (record.data_sha256, record.split_sha256) != (crystals.data_sha256, crystals.split_sha256):
        raise ValueError(f"{record.request.data} is not the data that {record.name} began with; start a new sweep")
    if record.code_sha256 != code_sha256():
        screen.say(
            f"{record.name} began with other code ({record.code_sha256[:12]}, now {code_sha256()[:12]}): "
            "what follows is trained by the code as it is now",
            error=True,
        )


def _go(plan: Plan, record: Record, folder: Path, crystals: DataSet, screen: Display) -> None:
    spec, request = plan.spec, record.request
    root = state_folder(request.storage)
    tracker = Tracker(request.tracking_uri)
    names = (spec.name, *([EXPERIMENT] if plan.prerequisites else []))
    experiments = {name: tracker.experiment(name, root / "mlflow-artifacts") for name in names}
    for experiment in experiments.values():
        _bury_the_dead(tracker, experiment)
    screen.say(f"{plan.question}\nstarting Ray…")
    connect()
    signal.signal(signal.SIGTERM, _interrupt)  # ray.init replaced it
    have = ray.cluster_resources()
    plan = replace(plan, cpus=have.get("CPU", 0.0), gpus=have.get("GPU", 0.0))
    resources = Resources(
        workers=request.workers_per_trial,
        cpus_per_worker=request.cpus_per_worker,
        gpus_per_worker=plan.gpus_per_worker,
    )
    at_once = check_resources(resources, request.max_concurrent)
    outbox = Outbox(tracker, tell=lambda line: screen.say(line, error=True))
    session = Session(
        spec=spec,
        record=record,
        folder=folder,
        plan=plan,
        crystals=crystals,
        objectives=objectives(request.objectives),
        tracker=tracker,
        outbox=outbox,
        display=screen,
        experiments=experiments,
        resources=resources,
        max_concurrent=at_once,
        tags=_source(spec)
        | {PROCESS: _process(os.getpid()), "smact": str(CompositionRules())}
        | environment()
        | {"data_sha256": crystals.data_sha256, "split_sha256": crystals.split_sha256, "data": request.data},
    )
    record.status = "running"
    write(folder, record)
    outbox.start(
        record.name,
        experiments[spec.name],
        record.name,
        kind="sweep",
        params=_parameters(plan),
        tags=session.tags | {"mlflow.note.content": spec.question} | _asked(request, free=True),
    )
    with _closing(session):
        _sweep(session)


def _sweep(session: Session) -> None:
    record, plan, request = session.record, session.plan, session.request
    record.parent = session.outbox.run_id(record.name, timeout=PATIENCE)
    write(session.folder, record)
    for stage, config in plan.prerequisites.items():
        if not _found(session, stage, config):
            break
    if not record.forecast:
        there = {known["stage"] for known in record.prerequisites.values()}
        record.forecast = plan.forecast(session.crystals, found=there).as_json()
        write(session.folder, record)
    for stage, config in plan.prerequisites.items():
        _prerequisite(session, stage, config)
    session.outbox.tag(
        record.name, {f"crystalsweep.{name}": found["run"] for name, found in record.prerequisites.items()}
    )
    ledger = Ledger(
        session.folder,
        record.name,
        parameters=plan.resolved.parameters,
        objectives=session.objectives,
        search=request.search,
        num_samples=plan.num_samples,
        seeds=request.seeds,
        stage=plan.stage,
        seed=plan.swept.seed,
    )
    ledger.enqueue(plan.points, len(plan.resolved.controls))
    inputs = {name: found["checkpoint"] for name, found in record.prerequisites.items()}
    job = replace(
        job_for(plan.stage, plan.swept, request.data, inputs),
        checkpoints=session.checkpoints,
        metric=plan.scalar.metric,
        mode=plan.scalar.mode,
        keep_last=4 if request.scheduler == "pbt" else 1,
    )
    assignment = _assignment(session, job, session.resources, mutating=request.scheduler == "pbt")
    watch = _watch(
        session,
        ledger,
        assignment,
        experiment=session.experiments[session.spec.name],
        kind="trial",
        parent=record.parent,
        used=session.prerequisites_used,
    )
    runs = runs_of(session)
    for known in ledger.ended():
        key = known.training.key
        if known.state == "stopped":
            watch.waiting[key] = known.training.seconds
            continue
        watch.remember(known.training, known.state, known.reason)
        if runs.get(key) is None or runs[key].info.status != STATUS[known.state]:
            watch.resend(key)
    session.display.say(
        f"{plan.stage}: {ledger.planned} trainings, {session.max_concurrent} at once; follow them with "
        f"optuna-dashboard {ledger.address}"
    )
    schedule = Schedule(
        kind=request.scheduler, objective=plan.scalar, epochs=plan.swept.epochs, parameters=plan.resolved.parameters
    )
    try:
        if request.scheduler != "none":  # control arms are neither cut nor changed
            untouched = replace(schedule, kind="none")
            run_trainings(watch, lambda: ledger.next(control=True), untouched, session.max_concurrent)
        if not watch.halted:
            run_trainings(watch, ledger.next, schedule, session.max_concurrent)
    finally:
        record.seconds += watch.elapsed
    if watch.broken:
        raise OSError(watch.halted)
    if watch.halted:
        session.display.say(f"stopped: {watch.halted}")
    finish(session, ledger, watch.used())
    if watch.halted:
        raise _CapReachedError(watch.halted)


def _prerequisite(session: Session, stage: str, config: StageConfig) -> None:
    """Have what the sweep starts from: found, or trained now, by one sweep at a time."""
    if LEAVES[stage] in session.record.prerequisites:
        return
    key, given = _key_of(session, stage, config)
    with locked(state_folder(session.request.storage) / "prerequisites" / key[:16], wait=session.display.say):
        if not _found(session, stage, config):
            made = _train_prerequisite(session, stage, config, key, given)
            session.record.prerequisites[LEAVES[stage]] = vars(made)
            write(session.folder, session.record)


def _found(session: Session, stage: str, config: StageConfig) -> bool:
    """Whether a prerequisite is there: one that the sweep began with is kept when it is resumed."""
    record = session.record
    if LEAVES[stage] in record.prerequisites:
        return True
    key, _ = _key_of(session, stage, config)
    found = find_prerequisite(session.tracker, session.experiments[EXPERIMENT], stage, key, session.request.storage)
    if found is None:
        return False
    session.display.say(f"{stage}: found in MLflow, run {found.run} (same config, data and code)")
    record.prerequisites[LEAVES[stage]] = vars(found)
    write(session.folder, record)
    return True


def _key_of(session: Session, stage: str, config: StageConfig) -> tuple[str, dict[str, Prerequisite]]:
    """Key of a prerequisite, and what it starts from."""
    given = {name: Prerequisite(**found) for name, found in session.record.prerequisites.items()}
    return key_of(stage, config, session.crystals, given), given


def _train_prerequisite(
    session: Session, stage: str, config: StageConfig, key: str, given: Mapping[str, Prerequisite]
) -> Prerequisite:
    together = replace(session.resources, workers=session.plan.together(config))
    before = session.prerequisites_used

    def note(seconds: float) -> None:
        used = before.plus(seconds, together)
        session.record.prerequisites_used = {"cpu_hours": used.cpu_hours, "gpu_hours": used.gpu_hours}
        write(session.folder, session.record)

    inputs = {name: known.checkpoint for name, known in given.items()}
    job = replace(job_for(stage, config, session.request.data, inputs), checkpoints=home(session.request.storage, key))
    single = Single(stage, note)
    watch = _watch(
        session,
        single,
        _assignment(session, job, together, mutating=False),
        experiment=session.experiments[EXPERIMENT],
        kind=stage,
        parent=None,
        used=before,
        prefix=key[:16],
        tags={KEY: key, **{f"crystalsweep.input.{name}": known.run for name, known in given.items()}},
    )
    schedule = Schedule(kind="none", objective=OBJECTIVES["score"], epochs=config.epochs)
    try:
        run_trainings(watch, single.next, schedule, 1)
    finally:
        session.record.seconds += watch.elapsed
    if watch.broken:
        raise OSError(watch.halted)
    if watch.halted:
        raise _CapReachedError(watch.halted)
    run = session.outbox.run_id(key[:16] + stage, timeout=PATIENCE)
    return single.made(key, session.request.storage, run)


def _assignment(session: Session, job: Job, resources: Resources, *, mutating: bool) -> Assignment:
    return Assignment(
        job=job,
        choices=session.plan.resolved.choices,
        resources=resources,
        folder=str(session.folder),
        mutating=mutating,
    )


def _watch(
    session: Session,
    source: Source,
    assignment: Assignment,
    *,
    experiment: str,
    kind: str,
    parent: str | None,
    used: Used,
    prefix: str = "",
    tags: Mapping[str, str] | None = None,
) -> Watch:
    return Watch(
        Watched(
            title=session.spec.name,
            assignment=assignment,
            source=source,
            outbox=session.outbox,
            experiment=experiment,
            parent=parent,
            kind=kind,
            tags=session.tags | dict(tags or {}),
            prefix=prefix,
            objective=session.objectives[0],
            caps=session.caps,
            used=used,
            timeout=60 * session.request.timeout,
            display=session.display,
            folder=session.folder,
        )
    )


@contextmanager
def _closing(session: Session) -> Iterator[None]:
    """Whatever happens, the folder and MLflow say how the sweep ended, and no run of this process stays running."""
    record, status, reason, patience = session.record, "FAILED", "", PATIENCE_AT_STOP
    record.status = "stopped"
    try:
        yield
        record.status, status, patience = "finished", "FINISHED", PATIENCE
    except _CapReachedError as stopped:
        status, reason = "KILLED", str(stopped)
        session.display.say(f"go on with --resume {record.name} and a higher cap")
    except KeyboardInterrupt:
        status, reason = "KILLED", "the sweep was stopped"
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise
    finally:
        session.outbox.finish(record.name, status, reason)
        unsent = session.outbox.close(patience)
        _try_to_write(session)
        for line in unsent:
            session.display.say(f"not in MLflow: {line}; --resume {record.name} sends it", error=True)
        if not unsent:
            for experiment in session.experiments.values():
                for left in session.tracker.running(experiment, tag=(PROCESS, _process(os.getpid()))):
                    session.tracker.finish(left.info.run_id, "KILLED", "the sweep was stopped")


def _try_to_write(session: Session) -> None:
    """`sweep.json`, for the last time; a full disk has been told already."""
    try:
        write(session.folder, session.record)
    except OSError as error:
        session.display.say(f"{session.folder} cannot be written: {error}", error=True)


def _last_line(error: Exception) -> str:
    """What an error says; of a traceback that Ray or Tune wraps, its end."""
    if isinstance(error, RayError | TuneError | StorageInternalError):
        lines = [line.strip() for line in f"{error.__cause__ or error}".splitlines() if line.strip()]
        return lines[-1] if lines else type(error).__name__
    return str(error)


def _bury_the_dead(tracker: Tracker, experiment: str) -> None:
    """Close runs of this host whose process is gone, as after kill -9."""
    for left in tracker.running(experiment):
        host, _, pid = left.data.tags.get(PROCESS, "").rpartition(":")
        if host == socket.gethostname() and pid.isdigit() and not _alive(int(pid)):
            tracker.finish(left.info.run_id, "KILLED", "its process is gone")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def _stopping_cleanly() -> Iterator[None]:
    """SIGTERM, which Slurm and `ray job stop` send, ends a sweep as Ctrl-C does.

    Also where SIGINT itself is ignored, as in what a script starts with `&`.
    """

    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise KeyboardInterrupt


def _parameters(plan: Plan) -> dict[str, str]:
    """What all trials share, and what was asked."""
    return _asked(plan.request, free=False) | plan.parameters()


def _asked(request: Request, *, free: bool) -> dict[str, str]:
    """What was asked: that which a resumed sweep can be asked anew, or the rest."""
    asked = {name: str(value) for name, value in request.as_json().items() if value not in (None, (), {})}
    asked |= {"storage": shown_address(request.storage), "tracking_uri": shown(request.tracking_uri)}
    return {f"sweep.{name}": value for name, value in asked.items() if (name in FREE) == free}


def _source(spec: SweepSpec) -> dict[str, str]:
    """What MLflow's UI shows as a run's source, user and commit."""
    user = getpass.getuser() if "USER" in os.environ or "LOGNAME" in os.environ else "unknown"
    commit = {"mlflow.source.git.commit": git_revision()[0]}
    return {"mlflow.source.name": f"sweeps/{spec.name}.py", "mlflow.source.type": "LOCAL", "mlflow.user": user} | commit


def _process(pid: int) -> str:
    return f"{socket.gethostname()}:{pid}"
