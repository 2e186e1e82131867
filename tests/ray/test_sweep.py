"""The main job: two commands, real crystals, a local Ray cluster, a real MLflow store."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from crystalsweep.checkpoint import load_generator
from crystalsweep.tracking import PARENT
from tests.ray.conftest import ROOT, Sweep, descendants, query, until

pytestmark = pytest.mark.slow
StartSweep = Callable[..., Sweep]


def client(store: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{store / 'mlflow.db'}")


def latest_sweep(store: Path) -> tuple[Run, list[Run]]:
    mlflow = client(store)
    experiment = mlflow.get_experiment_by_name("gan_noise").experiment_id
    order = ["attributes.start_time DESC"]
    parent = mlflow.search_runs([experiment], "tags.`crystalsweep.kind` = 'sweep'", max_results=1, order_by=order)[0]
    return parent, mlflow.search_runs([experiment], f"tags.`{PARENT}` = '{parent.info.run_id}'")


def running(store: Path) -> int:
    return len(query(store, "select 1 from runs where status = 'RUNNING'"))


def test_sweep_leaves_comparable_trials_that_can_be_promoted(sweep: StartSweep, store: Path) -> None:
    first = sweep("--num-samples", "3")
    assert first.wait() == 0, first.output
    parent, trials = latest_sweep(store)
    assert parent.info.status == "FINISHED"
    assert [trial.info.status for trial in trials] == ["FINISHED"] * 3
    for trial in trials:
        weight = float(trial.data.params["adversarial.w_wasserstein"])
        assert (
            trial.data.metrics["audit/adversarial_norm"] == 0 if weight == 0 else trial.data.metrics["audit/ratio"] > 0
        )
        for metric in ("structural_validity", "compositional_validity", "compositional_similarity", "masked_accuracy"):
            mean, low, high = (trial.data.metrics[f"val/{metric}{part}"] for part in ("", "/low", "/high"))
            assert low <= mean <= high
        tags = trial.data.tags
        assert {
            "code_sha256",
            "git_sha",
            "git_dirty",
            "data_sha256",
            "split_sha256",
            "version.torch",
            "machine",
        } <= set(tags)
        history = client(store).get_metric_history(trial.info.run_id, "loss")
        assert [point.step for point in history] == [1, 2]
        load_generator(Path(client(store).download_artifacts(trial.info.run_id, "checkpoint")))
    controls = [t for t in trials if float(t.data.params["adversarial.w_wasserstein"]) == 0]
    assert {t.data.params["corruption.sigma_noise"] for t in controls} == {"0.1", "0.2"}
    plots = {artifact.path for artifact in client(store).list_artifacts(parent.info.run_id)}
    assert {"trials.png", "training.png", "results.csv", "results.txt"} <= plots
    for words in ("ceiling", "identity", "control arm", "mlflow ui", "ray job submit", "crystalsweep promote"):
        assert words in first.output

    promoted = subprocess.run(
        [sys.executable, "-m", "crystalsweep", "promote", trials[0].info.run_id, "--storage", str(store)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert promoted.returncode == 0, promoted.stderr
    champion = client(store).get_model_version_by_alias("crystal-generator", "champion")
    assert champion.run_id == trials[0].info.run_id


def test_the_next_sweep_finds_its_prerequisites_and_ctrl_c_leaves_no_running_run_and_no_process(
    sweep: StartSweep, store: Path
) -> None:
    if not query(store, "select 1 from runs where status = 'FINISHED' and name like 'finetune%'"):
        assert sweep("--num-samples", "2").wait() == 0
    before = query(store, "select count(*) from runs where name like 'pretrain%'")
    started = sweep("--num-samples", "2", "--set", "epochs=100000")
    until(lambda: query(store, "select 1 from runs where status = 'RUNNING' and name like 'gan %'"), "a running trial")
    until(lambda: "epoch 1/100000" in started.output, "a first epoch")
    assert "pretrain: found in MLflow" in started.output
    assert "finetune: found in MLflow" in started.output
    assert query(store, "select count(*) from runs where name like 'pretrain%'") == before
    below = descendants(started.process.pid)
    assert any("RayTrainWorker" in command for command in below.values())
    os.kill(started.process.pid, signal.SIGINT)
    assert started.wait() == 130, started.output
    assert running(store) == 0
    assert query(store, "select count(*) from runs where status = 'KILLED'")[0][0] >= 2
    until(lambda: not [pid for pid in below if Path(f"/proc/{pid}").exists()], "the cluster's processes to end")


def test_a_killed_worker_does_not_lose_the_sweep(sweep: StartSweep, store: Path) -> None:
    started = sweep("--num-samples", "2", "--set", "epochs=12")

    def workers() -> list[int]:
        return [pid for pid, command in descendants(started.process.pid).items() if "RayTrainWorker" in command]

    until(lambda: "epoch 3/12" in started.output, "some epochs")
    victim = workers()[0]
    os.kill(victim, signal.SIGKILL)
    assert started.wait() == 0, started.output
    parent, trials = latest_sweep(store)
    assert parent.info.status == "FINISHED"
    for trial in trials:
        assert trial.info.status == "FINISHED"
        assert trial.data.metrics["epoch"] == 12


def test_a_failing_trial_is_recorded_and_the_sweep_goes_on(sweep: StartSweep, store: Path) -> None:
    started = sweep("--num-samples", "2", "--set", "learning_rate=1e30")
    assert started.wait() == 1
    assert "trials failed" in started.output
    _, trials = latest_sweep(store)
    assert {trial.info.status for trial in trials} == {"FAILED"}
    assert all("lower learning_rate" in trial.data.tags["crystalsweep.reason"] for trial in trials)
    assert running(store) == 0


def test_dry_run_starts_nothing(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "sweeps" / "gan_noise.py"), "--preset", "smoke", "--dry-run"]
    ran = subprocess.run(
        [*command, "--storage", str(tmp_path / "none")], capture_output=True, text=True, check=True, timeout=120
    )
    assert "expected minutes" in ran.stdout
    for trial, sigma, weight in ((1, "0.1", "0"), (2, "0.2", "0"), (3, "0.1", "0.1")):
        assert re.search(rf"^\s+{trial}\s+{sigma}\s+{weight}$", ran.stdout, flags=re.MULTILINE), ran.stdout
    assert not (tmp_path / "none").exists()
