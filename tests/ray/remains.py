"""What a sweep leaves behind, in four places that must agree: histories, checkpoints, study and MLflow."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import optuna
import torch
from mlflow import MlflowClient
from optuna.trial import FrozenTrial, TrialState

from crystalsweep.artifacts.checkpoint_store import CheckpointStore, child
from crystalsweep.sweeping.plan.request import SweepRequest
from crystalsweep.sweeping.space.spec import SweepSpec
from crystalsweep.sweeping.trial import Assignment, job_of
from crystalsweep.tracking.outbox import RUN_KEY
from crystalsweep.tracking.tags import PARENT
from crystalsweep.training.alone import fit_alone
from crystalsweep.training.job import Resources, job_for


def record(folder: Path) -> dict[str, Any]:
    """`sweep.json`."""
    content: dict[str, Any] = json.loads((folder / "sweep.json").read_text())
    return content


def study(folder: Path) -> optuna.Study:
    return optuna.load_study(study_name=folder.name, storage=f"sqlite:///{folder / 'study.db'}")


def trials(folder: Path) -> list[FrozenTrial]:
    return study(folder).get_trials()


def known(folder: Path, key: str) -> dict[str, Any]:
    """What the study has of a training."""
    number, seed = key.split("-")
    attribute: dict[str, Any] = trials(folder)[int(number)].user_attrs.get(seed, {})
    return attribute


def histories(folder: Path) -> dict[str, list[dict[str, float]]]:
    """Rows of every training of the swept stage that ended or was stopped, by key."""
    return {
        path.stem: [json.loads(line) for line in path.read_text().splitlines()]
        for path in sorted((folder / "histories").glob("[0-9]*.jsonl"))
    }


def kept(folder: Path, key: str) -> CheckpointStore:
    """The training's checkpoints."""
    address = record(folder)["request"]["storage"]
    for name in ("sweeps", folder.name, "checkpoints", key):
        address = child(address, name)
    return CheckpointStore(address)


def tracking(folder: Path) -> MlflowClient:
    return MlflowClient(record(folder)["request"]["tracking_uri"])


def runs(folder: Path) -> dict[str, list[Any]]:
    """MLflow's runs of the sweep's trainings, by key."""
    parent = record(folder)["parent"]
    client = tracking(folder)
    experiment = client.get_run(parent).info.experiment_id
    found = defaultdict(list)
    for run in client.search_runs([experiment], f"tags.`{PARENT}` = '{parent}'"):
        found[run.data.tags[RUN_KEY]].append(run)
    return dict(found)


def steps(folder: Path, run: Any, metric: str) -> list[int]:
    """Of a metric, in the order of their time."""
    points = tracking(folder).get_metric_history(run.info.run_id, metric)
    return [point.step for point in sorted(points, key=lambda point: (point.timestamp, point.step))]


def require_whole(folder: Path, keys: set[str], epochs: int) -> None:
    """Every training is there once and complete, and no place has an epoch twice or lacks one."""
    expected = list(range(1, epochs + 1))
    found, logged = histories(folder), runs(folder)
    assert set(found) == set(logged) == keys
    assert [trial.state for trial in trials(folder)] == [TrialState.COMPLETE] * len({key[:4] for key in keys})
    for key in keys:
        assert [row["epoch"] for row in found[key]] == expected, key
        assert [row["epoch"] for row in kept(folder, key).history()] == expected, key
        assert sorted(map(int, known(folder, key)["curve"])) == expected, key
        assert known(folder, key)["state"] == "complete"
        (run,) = logged[key]
        assert run.info.status == "FINISHED"
        for metric in ("loss", "val/score"):
            assert steps(folder, run, metric) == expected, (key, metric)
    assert tracking(folder).get_run(record(folder)["parent"]).info.status == "FINISHED"
    assert record(folder)["status"] == "finished"


def unbroken(folder: Path, key: str, scratch: Path) -> list[dict[str, float]]:
    """The same training from its first epoch to its last, in this process; only deterministic numbers."""
    torch.set_num_threads(1)
    asked, request = record(folder), SweepRequest.from_json(record(folder)["request"])
    spec: SweepSpec = import_module(f"sweeps.{asked['sweep']}").SWEEP
    space = request.search_space(spec)
    stage, config = list(space.stages.items())[-1]
    inputs = {name: given["checkpoint"] for name, given in asked["prerequisites"].items()}
    job = replace(job_for(stage, config, request.data, inputs), checkpoints=str(scratch))
    assignment = Assignment(job=job, choices=space.choices, resources=Resources(), folder=str(scratch), mutating=False)
    rows: list[dict[str, float]] = []
    settings = trials(folder)[int(key[:4])].user_attrs["settings"]
    fit_alone(job_of(assignment, key, settings, ""), False, lambda row, _: rows.append(row))
    return [timeless(row) for row in rows]


def timeless(row: dict[str, float]) -> dict[str, float]:
    """Without wall-clock."""
    return {name: value for name, value in row.items() if not name.startswith("time/")}


def query_runs(folder: Path, *, parent: bool = False) -> dict[str, tuple[Any, ...]]:
    """Of MLflow's run of each training what a rewriting would change; with `parent` also of the sweep's."""
    found = {key: each for key, (each,) in runs(folder).items()}
    if parent:
        found[folder.name] = tracking(folder).get_run(record(folder)["parent"])
    return {
        key: (run.info.run_id, run.info.status, run.info.end_time, steps(folder, run, "val/score"))
        for key, run in found.items()
    }
