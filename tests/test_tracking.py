"""Runs, their ends, the keys of cached prerequisites, and the registry, in a real SQLite MLflow store."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from crystalsweep.data import DataSet, load_data
from crystalsweep.sweeping import prerequisites
from crystalsweep.sweeping.prerequisites import Prerequisite, prerequisite_key
from crystalsweep.sweeping.run import _bury_the_dead
from crystalsweep.tracking.opening import open_tracker
from crystalsweep.tracking.tags import PROCESS
from crystalsweep.tracking.tracker import Tracker, default_tracking_uri, sqlite_uri
from crystalsweep.training.catalogue import preset


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    folder = tmp_path_factory.mktemp("mlflow")
    made = Tracker(f"sqlite:///{folder / 'mlflow.db'}")
    made.experiment("tests", folder / "artifacts")
    return made


@pytest.fixture(scope="module")
def experiment(tracker: Tracker) -> str:
    return tracker.experiment("tests")


def status(tracker: Tracker, run: str) -> str:
    return str(tracker.client.get_run(run).info.status)


def test_tracker_survives_a_pickle(tracker: Tracker) -> None:
    assert pickle.loads(pickle.dumps(tracker)).uri == tracker.uri


def test_default_store_is_absolute_and_gives_way_to_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    assert default_tracking_uri(Path("here")) == f"sqlite:///{tmp_path.resolve() / 'here' / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert default_tracking_uri(tmp_path) == "http://127.0.0.1:5000"


def test_only_finished_runs_are_found_by_tag(tracker: Tracker, experiment: str) -> None:
    run = tracker.start(experiment, "one", kind="pretrain", tags={"crystalsweep.key": "abc"})
    assert tracker.finished_with(experiment, "crystalsweep.key", "abc") is None
    tracker.finish(run, "FAILED", "for a reason")
    assert tracker.finished_with(experiment, "crystalsweep.key", "abc") is None
    again = tracker.start(experiment, "two", kind="pretrain", tags={"crystalsweep.key": "abc"})
    tracker.finish(again, "FINISHED")
    found = tracker.finished_with(experiment, "crystalsweep.key", "abc")
    assert found is not None
    assert found.info.run_id == again
    assert tracker.finished_with(experiment, "crystalsweep.key", "abd") is None


def test_sweeps_of_dead_processes_are_closed_and_others_left(tracker: Tracker, experiment: str) -> None:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    owners = {
        "dead": f"{socket.gethostname()}:{int(gone.stdout)}",
        "alive": f"{socket.gethostname()}:{os.getpid()}",
        "elsewhere": f"not-{socket.gethostname()}:{int(gone.stdout)}",
    }
    parents = {n: tracker.start(experiment, n, kind="sweep", tags={PROCESS: owner}) for n, owner in owners.items()}
    children = {
        n: tracker.start(experiment, n, kind="trial", parent=parent, tags={PROCESS: owners[n]})
        for n, parent in parents.items()
    }
    _bury_the_dead(tracker, experiment)
    for runs in (parents, children):
        assert {n: status(tracker, run) for n, run in runs.items()} == {
            "dead": "KILLED",
            "alive": "RUNNING",
            "elsewhere": "RUNNING",
        }


@pytest.fixture(scope="module")
def data() -> DataSet:
    return load_data("bundled")


def test_a_prerequisite_is_another_when_anything_it_depends_on_is(
    data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = preset("pretrain", "smoke")
    key = prerequisite_key("pretrain", config, data, {})
    assert key == prerequisite_key("pretrain", config.model_copy(), data, {})
    given = Prerequisite(stage="pretrain", key=key, run="r", checkpoint=Path())
    others = {
        prerequisite_key("pretrain", config.model_copy(update={"seed": 1}), data, {}),
        prerequisite_key("pretrain", config, replace(data, data_sha256="0"), {}),
        prerequisite_key("pretrain", config, replace(data, split_sha256="0"), {}),
        prerequisite_key("finetune", config, data, {}),
        prerequisite_key("pretrain", config, data, {"generator": given}),
        prerequisite_key("pretrain", config, data, {"generator": replace(given, key="0")}),
    }
    monkeypatch.setattr(prerequisites, "training_sha256", lambda package: f"{package} changed")
    others.add(prerequisite_key("pretrain", config, data, {}))
    assert len(others | {key}) == 8


@pytest.mark.parametrize("name", ["a?b", "a%41", "a#b", "a b & c", "\u00e4=1"])
def test_a_store_lies_in_the_named_folder_whatever_it_is_called(tmp_path: Path, name: str) -> None:
    """`?` began a query and `%41` was decoded: the database came to lie elsewhere."""
    folder = tmp_path / name
    folder.mkdir()
    tracker = Tracker(sqlite_uri(folder))
    run = tracker.client.create_run(tracker.experiment("x", folder / "artifacts"))
    tracker.client.log_text(run.info.run_id, "text", "note.txt")
    assert {path.name for path in folder.iterdir()} == {"mlflow.db", "artifacts"}
    beside = [path for path in tmp_path.iterdir() if path.name != name]
    assert all(not list(path.iterdir()) for path in beside)  # MLflow makes the escaped folder, too, and leaves it empty
    assert bool(beside) == any(character in name for character in "?%")
    assert list((folder / "artifacts").rglob("note.txt"))
    assert open_tracker(sqlite_uri(folder), folder) is not None
    assert open_tracker(sqlite_uri(tmp_path / "other"), folder) is None
