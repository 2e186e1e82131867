"""Sweeps whose processes are killed: no training lost or doubled, no epoch missing, and the same losses as unbroken."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from optuna.trial import TrialState

from tests.ray.conftest import Starter, end_of, until
from tests.ray.remains import histories, known, record, require_whole, runs, timeless, trials, unbroken

pytestmark = pytest.mark.slow

TRIAL = "ray::ImplicitFunc"
"""Begins the title of a trial's process, which trains alone or drives a nested run."""
EPOCHS = 24
SHORT = ("--set", f"epochs={EPOCHS}", "--set", "max_crystals=32")
DOWNTIME = 20.0


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starter]:
    starter = Starter(tmp_path_factory.mktemp("logs"))
    yield starter
    starter.stop()


@dataclass
class Killed:
    """What was seen while a sweep of four trials, two at once, was killed, then stopped, and resumed each time."""

    folder: Path
    proposed: dict[int, dict[str, float]]
    """Parameters of the trials that were there at the first kill."""
    elapsed: float
    """Seconds of the sweep before the first kill, as its record had them afterwards."""
    seconds: dict[str, float]
    """For which trainings had held their resources at the first kill, as the study had it a while later."""
    resumed_for: float
    """Seconds from the first resumption to the end, downtime of later ones included."""
    outputs: list[str]
    codes: list[int]
    left_open: dict[str, str]
    """MLflow's statuses after the stop."""


@pytest.fixture(scope="module")
def killed(start: Starter, tmp_path_factory: pytest.TempPathFactory) -> Killed:
    """An actor, then the sweep itself with kill -9, then with Ctrl-C; `ray job stop` in `test_job.py` is SIGTERM."""
    storage = tmp_path_factory.mktemp("killed")
    first = start("w_pos", storage, "--search", "optuna", "--num-samples", "4", "--max-concurrent", "2", *SHORT)
    until(lambda: first.reached("0000-s0", 4), "some epochs")
    os.kill(first.below(TRIAL)[0], signal.SIGKILL)
    until(lambda: first.reached("0001-s0", 12) and first.reached("0000-s0", 12), "epochs after the actor's death")
    trainings = first.below(TRIAL)
    first.process.kill()
    first.wait()
    end_of(trainings)  # Ray's own agents, which write nothing of a sweep, take a minute
    folder = first.folder
    seconds = {key: known(folder, key)["seconds"] for key in ("0000-s0", "0001-s0")}
    elapsed = float(record(folder)["seconds"])
    proposed = {trial.number: dict(trial.params) for trial in trials(folder)}
    time.sleep(DOWNTIME)

    resumed = time.monotonic()
    second = start("w_pos", storage, "--resume", "latest")
    until(lambda: second.reached("0002-s0", 3) or second.process.poll() is not None, "epoch 3 of 0002-s0")
    below = second.below("")
    second.process.send_signal(signal.SIGINT)
    second.wait()
    end_of(below)
    left_open = {key: run.info.status for key, (run,) in runs(folder).items()}
    last = start("w_pos", storage, "--resume", "latest")
    codes = [second.wait(), last.wait()]
    outputs = [one.output for one in (first, second, last)]
    return Killed(folder, proposed, elapsed, seconds, time.monotonic() - resumed, outputs, codes, left_open)


KEYS = {f"{number:04d}-s0" for number in range(4)}


def test_no_training_and_no_epoch_is_lost_or_doubled(killed: Killed) -> None:
    assert killed.codes == [130, 0], killed.outputs
    require_whole(killed.folder, KEYS, EPOCHS)


def test_stopping_says_how_to_go_on_and_leaves_nothing_running(killed: Killed) -> None:
    output = killed.outputs[1]
    assert f"stopped; go on with --resume {killed.folder.name}" in output
    assert "Traceback" not in output
    assert set(killed.left_open.values()) <= {"KILLED", "FINISHED"}


def test_losses_are_those_of_an_unbroken_training(killed: Killed, tmp_path: Path) -> None:
    for key in ("0000-s0", "0001-s0", "0002-s0"):  # broken by the actor's death and kill -9; kill -9; Ctrl-C
        found = [timeless(row) for row in histories(killed.folder)[key]]
        expected = unbroken(killed.folder, key, tmp_path)
        assert len(found) == len(expected) == EPOCHS
        for row, wanted in zip(found, expected, strict=True):
            assert row == pytest.approx(wanted, rel=1e-5, abs=1e-5, nan_ok=True), (key, row["epoch"])


def test_the_searcher_keeps_its_trials(killed: Killed) -> None:
    now = {trial.number: trial for trial in trials(killed.folder)}
    assert len(killed.proposed) >= 2
    assert {number: now[number].params for number in killed.proposed} == killed.proposed
    assert len({tuple(trial.params.values()) for trial in now.values()}) == len(KEYS)
    for trial in now.values():
        assert trial.state == TrialState.COMPLETE
        assert trial.value == pytest.approx(histories(killed.folder)[f"{trial.number:04d}-s0"][-1]["val/score"])


def test_the_budget_counts_what_ran_and_no_downtime(killed: Killed) -> None:
    assert 0 < killed.elapsed < record(killed.folder)["seconds"]
    for key, before in killed.seconds.items():
        after, rows = known(killed.folder, key)["seconds"], histories(killed.folder)[key]
        trained = sum(row["time/epoch_s"] for row in rows)
        assert after - before <= killed.resumed_for
        assert after >= trained - 6  # a killed sweep forgets 5 s at most


@pytest.mark.long
def test_a_nested_trial_outlives_a_worker_and_the_process_that_drives_it(start: Starter, tmp_path: Path) -> None:
    sweep = start("w_pos", tmp_path, "--num-samples", "1", "--workers-per-trial", "2", *SHORT)
    until(lambda: sweep.reached("0000-s0", 3), "epochs of two workers")
    workers = sweep.below("RayTrainWorker")
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    until(
        lambda: sweep.below("RayTrainWorker") and not set(workers) & set(sweep.below("RayTrainWorker")), "new workers"
    )
    before = len(sweep.output)
    until(lambda: " epoch " in sweep.output[before:], "an epoch of theirs")
    os.kill(sweep.below(TRIAL)[0], signal.SIGKILL)
    assert sweep.wait() == 0, sweep.output
    require_whole(sweep.folder, {"0000-s0"}, EPOCHS)
