"""One sweep through three troubles: a server that is away, a loss that diverges, a training that hangs."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from optuna.trial import TrialState

from crystalsweep.tracking.tags import REASON
from tests.ray.conftest import ROOT, Starter, Sweep, end_of, until
from tests.ray.remains import histories, known, runs, steps, tracking, trials
from tests.ray.servers import mlflow_server

pytestmark = pytest.mark.slow

RATES = ROOT / "tests" / "ray" / "learning_rates.py"
EPOCHS = 30
AWAY = 20.0
PATIENCE_MINUTES = 0.5


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sweep]:
    """Four trials one after the other: MLflow goes away in the first, the second diverges, the third hangs."""
    folder = tmp_path_factory.mktemp("troubled")
    server, starter = mlflow_server(folder), Starter(folder)
    server.start()
    try:
        sweep = starter(
            RATES,
            folder,
            *("--rates", "1e-3", "--rates", "1e30", "--rates", "3e-3", "--rates", "3e-4"),
            *("--tracking-uri", server.address, "--max-concurrent", "1", "--timeout", str(PATIENCE_MINUTES)),
            *("--set", f"epochs={EPOCHS}", "--set", "max_crystals=32", "--set", "batch_size=8"),
        )
        until(lambda: sweep.reached("0000-s0", 3), "some epochs")
        server.kill()
        gone = time.monotonic()
        until(lambda: sweep.reached("0002-s0", 2), "epochs of the third trial")
        hanging = sweep.below("ray::ImplicitFunc")  # one, which trains one trial after the other
        for pid in hanging:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(max(0.0, gone + AWAY - time.monotonic()))
        server.start()
        assert sweep.wait() == 0, sweep.output
        end_of(hanging)
        yield sweep
    finally:
        starter.stop()
        server.kill()


def test_the_sweep_goes_on_past_trials_that_fail(troubled: Sweep) -> None:
    states = [trial.state for trial in trials(troubled.folder)]
    assert states == [TrialState.COMPLETE, TrialState.FAIL, TrialState.FAIL, TrialState.COMPLETE]
    assert "2 of 4 trainings completed" in troubled.output


def test_a_loss_that_diverges_fails_its_trial_with_step_and_reason(troubled: Sweep) -> None:
    reason = known(troubled.folder, "0001-s0")["reason"]
    assert "in epoch 1, step 2" in reason
    assert "lower learning_rate" in reason
    (run,) = runs(troubled.folder)["0001-s0"]
    assert (run.info.status, run.data.tags[REASON]) == ("FAILED", reason)
    assert f"lr=1e+30 seed 0 FAILED in epoch 1: {reason}" in troubled.output
    assert "Traceback" not in troubled.output


def test_a_training_that_hangs_is_given_up_by_name(troubled: Sweep) -> None:
    epochs = len(histories(troubled.folder)["0002-s0"])
    reason = known(troubled.folder, "0002-s0")["reason"]
    assert reason == f"timed out: no report for {PATIENCE_MINUTES} min after epoch {epochs}"
    assert f"lr=0.003 seed 0 FAILED in epoch {epochs + 1}: {reason}" in troubled.output
    (run,) = runs(troubled.folder)["0002-s0"]
    assert run.info.status == "FAILED"
    assert steps(troubled.folder, run, "loss") == list(range(1, epochs + 1))


def test_what_was_logged_while_the_server_was_away_is_there_once_and_in_order(troubled: Sweep) -> None:
    found = runs(troubled.folder)
    for key in ("0000-s0", "0003-s0"):
        (run,) = found[key]
        assert run.info.status == "FINISHED"
        rows = histories(troubled.folder)[key]
        for metric in ("loss", "val/score"):
            points = tracking(troubled.folder).get_metric_history(run.info.run_id, metric)
            points.sort(key=lambda point: (point.timestamp, point.step))
            assert [(point.step, point.value) for point in points] == [(row["epoch"], row[metric]) for row in rows]
        assert len(rows) == EPOCHS
        artifacts = {artifact.path for artifact in tracking(troubled.folder).list_artifacts(run.info.run_id)}
        assert {"checkpoint", "plots"} <= artifacts


def test_the_report_is_there(troubled: Sweep) -> None:
    assert Path(troubled.folder / "report.html").stat().st_size > 10_000
