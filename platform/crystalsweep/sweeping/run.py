"""From options to a finished sweep: plan, cluster, prerequisites, trainings, report; and on from where it stopped."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import click
import ray
from mlflow.exceptions import MlflowException
from ray.exceptions import RayError
from ray.tune.error import TuneError

from crystalsweep.artifacts.addresses import without_password
from crystalsweep.artifacts.places import state_folder
from crystalsweep.data import DataSet
from crystalsweep.metrics import CompositionRules
from crystalsweep.provenance import environment, git_revision, user
from crystalsweep.sweeping.cluster import cluster_nodes, connect_cluster
from crystalsweep.sweeping.display.display import Display, display
from crystalsweep.sweeping.folder import (
    SWEEP_FILE,
    SweepRecord,
    find_sweep,
    locked,
    write_sweep,
)
from crystalsweep.sweeping.notes import begun_trainings
from crystalsweep.sweeping.plan.plan import Plan
from crystalsweep.sweeping.plan.refusals import require_caps
from crystalsweep.sweeping.plan.request import FREE, SweepRequest
from crystalsweep.sweeping.plan.room import require_room
from crystalsweep.sweeping.preparation import new_record, prepared, resumed_record
from crystalsweep.sweeping.prerequisites import PREREQUISITES
from crystalsweep.sweeping.session import SweepSession
from crystalsweep.sweeping.space.objectives import objectives
from crystalsweep.sweeping.space.spec import SweepSpec
from crystalsweep.sweeping.stages import PATIENCE, CapReachedError, left_by, run_stages
from crystalsweep.sweeping.start import STARTED_FROM, adopt
from crystalsweep.sweeping.study_file import mend_study
from crystalsweep.tracking.opening import checked_tracker
from crystalsweep.tracking.outbox import Outbox
from crystalsweep.tracking.tags import NOTE, PROCESS, STATE, is_orphan, this_process
from crystalsweep.tracking.tracker import Tracker

PATIENCE_AT_STOP = 15.0
"""Likewise where it ends before its time; a resumed sweep sends what is left."""

_STATES = {"FINISHED": "complete", "KILLED": "stopped"}
"""Value of the tag `state` by MLflow's status of a sweep."""


def run_sweep(
    spec: SweepSpec,
    request: SweepRequest,
    *,
    given: Mapping[str, Any],
    resume: str | None,
    json: bool,
) -> None:
    """Run a sweep, or with `resume` go on with one, `given` being the options asked anew.

    Bad options end in one line; Ctrl-C, SIGTERM, a cap and a failing storage in a state that can be resumed: with exit
    code 130, 130, 0 and 1.

    Args:
        spec: What the sweep's page says.
        request: What was asked.
        given: Options that were typed, which a resumed sweep is asked anew.
        resume: Name of a sweep to go on with, or `latest`; None begins one.
        json: Write a JSON object per line.
    """
    screen, folder = display(json=json), Path()
    try:
        spec.reporter()  # a wrong place is told now, not at the end
        if resume:
            folder = find_sweep(request.storage, spec.name, resume)
            with locked(folder):
                record = resumed_record(spec, folder, request, given)
                if mended := mend_study(folder, begun=bool(begun_trainings(folder))):
                    screen.say(mended, error=True)
                _prepare_and_go(spec, record, folder, screen, resumed=True)
            return
        record = new_record(spec, request)
        folder = state_folder(request.storage) / "sweeps" / record.name
        with locked(folder):
            _prepare_and_go(spec, record, folder, screen, resumed=False)
    except (ValueError, RuntimeError, OSError, MlflowException, RayError, TuneError) as error:
        raise click.ClickException(without_password(_last_line(error))) from error
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # what is left takes seconds
        begun = (folder / SWEEP_FILE).exists()
        screen.say(f"stopped; go on with --resume {folder.name}" if begun else "stopped", error=True)
        sys.exit(130)
    finally:
        screen.close()
        ray.shutdown()


def _prepare_and_go(spec: SweepSpec, record: SweepRecord, folder: Path, screen: Display, *, resumed: bool) -> None:
    ready = prepared(spec, record, screen, resumed=resumed)
    with _stopping_cleanly():
        if start := ready.start:
            record.prerequisites[left_by(start.stage)] = vars(adopt(start, record.request.storage, screen.say))
            record.started_from = start.told
        _go(ready.plan, record, folder, ready.crystals, screen)


def _go(plan: Plan, record: SweepRecord, folder: Path, crystals: DataSet, screen: Display) -> None:
    spec, request = plan.spec, record.request
    root = state_folder(request.storage)
    tracker = checked_tracker(request.tracking_uri)
    names = (spec.name, *([PREREQUISITES] if plan.prerequisites else []))
    experiments = {name: tracker.experiment(name, root / "mlflow-artifacts") for name in names}
    for experiment in experiments.values():
        _bury_the_dead(tracker, experiment)
    screen.say(f"{plan.question}\nstarting Ray…")
    connect_cluster()
    signal.signal(signal.SIGTERM, _interrupt)  # ray.init replaced it
    plan = replace(plan, nodes=cluster_nodes())
    require_room(plan.nodes, plan.resources)
    require_caps(request, plan.gpus_per_worker)
    outbox = Outbox(tracker, tell=lambda line: screen.say(line, error=True))
    session = SweepSession(
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
        tags=_source(spec)
        | {PROCESS: this_process(), "smact": str(CompositionRules())}
        | environment()
        | {"data_sha256": crystals.data_sha256, "split_sha256": crystals.split_sha256, "data": request.data}
        | {"sweep": record.name, "preset": request.preset}
        | ({STARTED_FROM: record.started_from} if record.started_from else {}),
    )
    record.status = "running"
    write_sweep(folder, record)
    outbox.start(
        record.name,
        experiments[spec.name],
        _title(plan, record.name),
        kind="sweep",
        params=_parameters(plan),
        tags=session.tags
        | {"stage": plan.stage, "backbone": _backbones(plan), STATE: "running", NOTE: f"Running. {spec.question}"}
        | _asked(request, free=True),
    )
    with _closing(session):
        run_stages(session)


@contextmanager
def _closing(session: SweepSession) -> Iterator[None]:
    """See to it that folder and MLflow say how the sweep ended, and that no run of this process stays running."""
    record, status, reason, patience = session.record, "FAILED", "", PATIENCE_AT_STOP
    record.status = "stopped"
    try:
        yield
        record.status, status, patience = "finished", "FINISHED", PATIENCE
    except CapReachedError as stopped:
        status, reason = "KILLED", str(stopped)
        session.display.say(f"go on with --resume {record.name} and a higher cap")
    except KeyboardInterrupt:
        status, reason = "KILLED", "the sweep was stopped"
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise
    finally:
        state = {STATE: _STATES.get(status, "failed")}
        concluded = (session.folder / "results.txt").exists() and status != "FAILED"
        note = {NOTE: f"{state[STATE].upper()}: {reason}\n\n{session.spec.question}"} if not concluded else {}
        session.outbox.tag(record.name, state | note)
        session.outbox.finish(record.name, status, reason)
        unsent = session.outbox.close(patience)
        _try_to_write(session)
        for line in unsent:
            session.display.say(f"not in MLflow: {line}; --resume {record.name} sends it", error=True)
        if not unsent:
            for experiment in session.experiments.values():
                for left in session.tracker.running(experiment, tag=(PROCESS, this_process())):
                    session.tracker.finish(left.info.run_id, "KILLED", "the sweep was stopped")


def _try_to_write(session: SweepSession) -> None:
    """Write `sweep.json` for the last time; a full disk has been told already."""
    try:
        write_sweep(session.folder, session.record)
    except OSError as error:
        session.display.say(f"{session.folder} cannot be written: {error}", error=True)


def _last_line(error: Exception) -> str:
    """Return what an error says; of a traceback that Ray or Tune wraps, its end."""
    if isinstance(error, RayError | TuneError):
        lines = [line.strip() for line in f"{error.__cause__ or error}".splitlines() if line.strip()]
        return lines[-1] if lines else type(error).__name__
    return str(error)


def _bury_the_dead(tracker: Tracker, experiment: str) -> None:
    """Close runs of this host whose process is gone, as after kill -9."""
    for left in tracker.running(experiment):
        if is_orphan(left.data.tags.get(PROCESS, "")):
            tracker.finish(left.info.run_id, "KILLED", "its process is gone")


@contextmanager
def _stopping_cleanly() -> Iterator[None]:
    """Let SIGTERM, which Slurm and `ray job stop` send, end a sweep as Ctrl-C does.

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


def _title(plan: Plan, name: str) -> str:
    """Return the parent run for people: `gan_noise demo painn, 8 trainings, 20261123-102707`."""
    began = name.removeprefix(f"{plan.spec.name}-")
    return f"{plan.spec.name} {plan.request.preset} {_backbones(plan)}, {plan.trainings} trainings, {began}"


def _backbones(plan: Plan) -> str:
    return "+".join(dict.fromkeys(config.backbone.name for config in plan.chosen.values()))


def _parameters(plan: Plan) -> dict[str, str]:
    """Return what all trials share, and what was asked."""
    return _asked(plan.request, free=False) | plan.parameters()


def _asked(request: SweepRequest, *, free: bool) -> dict[str, str]:
    """Return what was asked: that which a resumed sweep can be asked anew, or the rest."""
    asked = {name: str(value) for name, value in request.as_json().items() if value not in (None, (), {})}
    return {f"sweep.{name}": value for name, value in asked.items() if (name in FREE) == free}


def _source(spec: SweepSpec) -> dict[str, str]:
    """Return what MLflow's UI shows as a run's source, user and commit."""
    commit = {"mlflow.source.git.commit": git_revision()[0]}
    return {
        "mlflow.source.name": f"sweeps/{spec.name}.py",
        "mlflow.source.type": "LOCAL",
        "mlflow.user": user(),
    } | commit
