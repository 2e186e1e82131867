"""The trainings of a sweep, stage by stage: what it starts from, found or made, then the stage that is swept."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

from crystalsweep.artifacts.checkpoint_store import INFO, CheckpointStore, child
from crystalsweep.artifacts.places import state_folder
from crystalsweep.config import value_at
from crystalsweep.networks.checkpoint import read_info
from crystalsweep.sweeping.cluster import on_a_worker
from crystalsweep.sweeping.finish import finish_sweep, runs_of
from crystalsweep.sweeping.folder import locked, read_history, write_sweep
from crystalsweep.sweeping.meter import Meter
from crystalsweep.sweeping.notes import TrainingNote, begun_trainings, noted_trainings
from crystalsweep.sweeping.plan.budget import Usage
from crystalsweep.sweeping.plan.forecast import Forecast, corrected
from crystalsweep.sweeping.plan.refusals import require_patience
from crystalsweep.sweeping.prerequisites import (
    PREREQUISITE_KEY,
    PREREQUISITES,
    Prerequisite,
    Single,
    find_prerequisite,
    home,
    kept,
    prerequisite_key,
)
from crystalsweep.sweeping.runs import STATUS, TrainingRuns
from crystalsweep.sweeping.screen import Screen
from crystalsweep.sweeping.session import SweepSession
from crystalsweep.sweeping.space.objectives import OBJECTIVES
from crystalsweep.sweeping.space.training import Training, parse_training_key
from crystalsweep.sweeping.study import Ledger
from crystalsweep.sweeping.trainings import Schedule, run_trainings
from crystalsweep.sweeping.trial import Assignment
from crystalsweep.sweeping.watch import Source, Watch
from crystalsweep.training.catalogue import stage_spec
from crystalsweep.training.config import StageConfig
from crystalsweep.training.job import Job, Resources, job_for

PATIENCE = 600.0
"""Seconds for which a sweep waits for an MLflow that is away, where it cannot go on without."""

Round = tuple[Callable[[], Training | None], Schedule]
"""Gives trainings one after another, and says what may cut them."""


class CapReachedError(Exception):
    """A cap was reached: all trainings were stopped, to be resumed."""


def run_stages(session: SweepSession) -> None:
    """Train what the sweep starts from and what it sweeps, and report.

    Raises `CapReachedError`, after the report where the swept stage had begun, `OSError` where the storage fails, and
    `ValueError` where no epoch would end before it is given up.
    """
    record, plan = session.record, session.plan
    record.parent = session.outbox.run_id(record.name, timeout=PATIENCE)
    _forget_lost(session)
    keys = _keys(session)
    begins = not record.forecast
    if begins:
        record.forecast = _forecast(session, _need_no_training(session, keys)).as_json()
    write_sweep(session.folder, record)
    require_patience(record.forecast.get("epoch_minutes"), session.request.timeout)
    began = time.monotonic()
    for stage, config in plan.prerequisites.items():
        _have(session, stage, config, keys)
    minutes = (time.monotonic() - began) / 60
    if begins and (told := corrected(record.forecast["stages"], plan.stage, minutes)):
        session.display.say(told)
    session.outbox.tag(
        record.name, {f"crystalsweep.{name}": found["run"] for name, found in record.prerequisites.items()}
    )
    _sweep(session)


def left_by(stage: str) -> str:
    """Return what a stage leaves for later ones to start from: `generator`, `discriminator`."""
    return stage_spec(stage).leaves


def _sweep(session: SweepSession) -> None:
    record, plan, request = session.record, session.plan, session.request
    ledger = Ledger(
        session.folder,
        record.name,
        parameters=plan.space.parameters,
        objectives=session.objectives,
        limits=session.limits,
        search=request.search,
        num_samples=plan.num_samples,
        seeds=request.seeds,
        stage=plan.stage,
        seed=plan.swept.seed,
        named=stage_spec(plan.stage).named,
        config=plan.swept,
    )
    ledger.enqueue(plan.points, len(plan.space.controls))
    if learnt := str(ledger.recall(_noted(session, ledger), partial(_history, session))):
        session.display.say(f"from the sweep's folder, which the ledger did not know: {learnt}", error=True)
    inputs = {name: found["checkpoint"] for name, found in record.prerequisites.items()}
    job = replace(
        job_for(plan.stage, plan.swept, request.data, inputs),
        checkpoints=session.checkpoints,
        metric=plan.scalar.metric,
        mode=plan.scalar.mode,
        keep_best=request.keep_best,
        keep_last=plan.keep_last,
    )
    watch = _watch(
        session,
        ledger,
        _assignment(session, job, plan.resources, mutating=request.scheduler == "pbt"),
        plan.swept,
        experiment=session.experiments[session.spec.name],
        kind="trial",
        parent=record.parent,
        used=session.prerequisites_used,
    )
    _remember(session, ledger, watch)
    session.display.say(
        f"{plan.stage}: {ledger.planned} trainings, {plan.at_once} at once; follow them with "
        f"optuna-dashboard {ledger.address}"
    )
    schedule = Schedule(
        kind=request.scheduler, objective=plan.scalar, epochs=plan.swept.epochs, parameters=plan.space.parameters
    )
    rounds: list[Round] = [(ledger.next, schedule)]
    if request.scheduler != "none":  # control arms are neither cut nor changed
        rounds.insert(0, (partial(ledger.next, control=True), replace(schedule, kind="none")))
    _train(watch, rounds, plan.at_once)
    if watch.halted:
        session.display.say(f"stopped: {watch.halted}")
    finish_sweep(session, ledger, watch.meter.used(watch.live), whole=not watch.halted)
    if watch.halted:
        raise CapReachedError(watch.halted)


def _noted(session: SweepSession, ledger: Ledger) -> dict[str, TrainingNote | None]:
    """Return what the sweep's folder tells of its trainings, and of those without a note what their checkpoint does."""
    noted = noted_trainings(session.folder)
    without = begun_trainings(session.folder) - noted.keys()
    return {**noted, **{key: _from_checkpoint(session, ledger, key) for key in without}}


def _from_checkpoint(session: SweepSession, ledger: Ledger, key: str) -> TrainingNote | None:
    """Return what the last checkpoint of a training tells, where its config names all that trials differ in."""
    store = CheckpointStore(child(session.checkpoints, key))
    number, latest = parse_training_key(key)[0], store.latest()
    if latest is None:
        return None
    config = read_info(store.fetch(latest, only=(INFO,))).config
    points = session.plan.points
    settings = points[number] if number < len(points) else {p.key: value_at(config, p.key) for p in ledger.parameters}
    if any(value is None for value in settings.values()):
        return None
    return TrainingNote(
        settings=settings,
        control=number < len(session.plan.space.controls),
        state="complete" if latest >= session.plan.swept.epochs else "stopped",
    )


def _history(session: SweepSession, key: str) -> list[dict[str, float]]:
    """Return the epochs of a training: as noted when it ended, else as its checkpoint has them."""
    with suppress(ValueError):  # damaged too
        if rows := read_history(session.folder, key):
            return rows
    return CheckpointStore(child(session.checkpoints, key)).history()


def _remember(session: SweepSession, ledger: Ledger, watch: Watch) -> None:
    """Take in what earlier sessions trained; MLflow is sent what it lacks of that."""
    runs = runs_of(session)
    watch.spare({key for key, run in runs.items() if run.info.status == STATUS["complete"]})
    for known in ledger.ended():
        key = known.training.key
        if known.state == "stopped":
            watch.meter.waiting[key] = known.training.seconds
            continue
        watch.remember(known.training, known.state, known.reason)
        if runs.get(key) is None or runs[key].info.status != STATUS[known.state]:
            watch.resend(key)


def _forget_lost(session: SweepSession) -> None:
    """Keep prerequisites that an earlier session began with, wherever the storage is now.

    What is gone, and what was made from it, is found or made again.
    """
    known, lost = session.record.prerequisites, False
    for stage in session.plan.prerequisites:
        name = left_by(stage)
        there = kept(Prerequisite(**known[name]), session.request.storage) if name in known and not lost else None
        if there:
            known[name] = vars(there)
        else:
            lost = True
            known.pop(name, None)


def _keys(session: SweepSession) -> dict[str, str]:
    """Return the key of every prerequisite, by what it leaves."""
    keys: dict[str, str] = {}
    for stage, config in session.plan.prerequisites.items():
        known = session.record.prerequisites.get(left_by(stage))
        keys[left_by(stage)] = known["key"] if known else prerequisite_key(stage, config, session.crystals, keys)
    return keys


def _need_no_training(session: SweepSession, keys: Mapping[str, str]) -> list[str]:
    """Return prerequisites that others have made; what this sweep has made itself is part of what it costs."""
    if session.record.prerequisites_used["cpu_hours"]:
        return []
    tracker, experiment, there = (
        session.tracker,
        session.experiments.get(PREREQUISITES, ""),
        session.record.prerequisites,
    )
    return [
        stage
        for stage in session.plan.prerequisites
        if left_by(stage) in there or tracker.finished_with(experiment, PREREQUISITE_KEY, keys[left_by(stage)])
    ]


def _forecast(session: SweepSession, found: Sequence[str]) -> Forecast:
    """Make the forecast from steps timed where trials will run: here, unless they have GPUs, which this process has
    none of."""
    forecast = partial(session.plan.forecast, found=found)
    if not session.plan.gpus_per_worker:
        return forecast(session.crystals)
    return on_a_worker(session.plan.resources, forecast, session.crystals)


def _have(session: SweepSession, stage: str, config: StageConfig, keys: Mapping[str, str]) -> None:
    """Have what the sweep starts from: found, or trained now, by one sweep at a time."""
    record, storage, name = session.record, session.request.storage, left_by(stage)
    if name in record.prerequisites:
        return
    with locked(state_folder(storage) / "prerequisites" / keys[name][:16], wait=session.display.say):
        found = find_prerequisite(session.tracker, session.experiments[PREREQUISITES], stage, keys[name], storage)
        if found:
            session.display.say(f"{stage}: found in MLflow, run {found.run} (same config, data and code)")
        record.prerequisites[name] = vars(found or _make(session, stage, config, keys[name]))
        write_sweep(session.folder, record)


def _make(session: SweepSession, stage: str, config: StageConfig, key: str) -> Prerequisite:
    together = replace(session.plan.resources, workers=session.plan.together(config))
    before, given = session.prerequisites_used, session.record.prerequisites

    def note(seconds: float) -> None:
        used = before.plus(seconds, together)
        session.record.prerequisites_used = {"cpu_hours": used.cpu_hours, "gpu_hours": used.gpu_hours}
        write_sweep(session.folder, session.record)

    inputs = {name: known["checkpoint"] for name, known in given.items()}
    job = replace(job_for(stage, config, session.request.data, inputs), checkpoints=home(session.request.storage, key))
    single = Single(stage, note, name=f"{stage} {config.backbone.name} {session.request.preset}")
    watch = _watch(
        session,
        single,
        _assignment(session, job, together, mutating=False),
        config,
        experiment=session.experiments[PREREQUISITES],
        kind=stage,
        used=before,
        prefix=key[:16],
        tags={PREREQUISITE_KEY: key, **{f"crystalsweep.input.{name}": known["run"] for name, known in given.items()}},
    )
    schedule = Schedule(kind="none", objective=OBJECTIVES["score"], epochs=config.epochs)
    _train(watch, [(single.next, schedule)], 1)
    if watch.halted:
        raise CapReachedError(watch.halted)
    run = session.outbox.run_id(key[:16] + stage, timeout=PATIENCE)
    return single.made(key, session.request.storage, run)


def _train(watch: Watch, rounds: Sequence[Round], at_once: int) -> None:
    """Train what each round gives, until one is halted. Raises `OSError` where the storage or the study failed."""
    try:
        for take, schedule in rounds:
            if not watch.halted:
                run_trainings(watch, take, schedule, at_once)
    finally:
        watch.note_elapsed()
    if watch.broken:
        raise OSError(watch.halted)


def _assignment(session: SweepSession, job: Job, resources: Resources, *, mutating: bool) -> Assignment:
    return Assignment(
        job=job,
        choices=session.plan.space.choices,
        resources=resources,
        folder=str(session.folder),
        mutating=mutating,
    )


def _watch(
    session: SweepSession,
    source: Source,
    assignment: Assignment,
    config: StageConfig,
    *,
    experiment: str,
    kind: str,
    used: Usage,
    parent: str | None = None,
    prefix: str = "",
    tags: Mapping[str, str] | None = None,
) -> Watch:
    """Make the watch over the trainings of a stage, of which `used` is what came before."""
    record, before, objective = session.record, session.record.seconds, session.objectives[0]

    def note(elapsed: float) -> None:
        record.seconds = before + elapsed
        with suppress(OSError):  # a full disk is told of checkpoints, with its remedy
            write_sweep(session.folder, record)

    runs = TrainingRuns(
        session.outbox,
        assignment,
        objective,
        experiment=experiment,
        kind=kind,
        parent=parent,
        tags=session.tags | dict(tags or {}),
        prefix=prefix,
    )
    stage = assignment.job.stage
    screen = Screen(session.display, title=session.spec.name, stage=stage, config=config, objective=objective)
    return Watch(
        assignment,
        source,
        runs=runs,
        meter=Meter(session.caps, used, assignment.resources),
        screen=screen,
        epochs=config.epochs,
        folder=session.folder,
        timeout=60 * session.request.timeout,
        note=note,
    )
