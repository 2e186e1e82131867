"""The cluster way: `ray job submit` against a `ray start --head` on this machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex

import pytest
from mlflow import MlflowClient

from tests.ray.conftest import PATIENCE, ROOT, until
from tests.ray.remains import histories
from tests.ray.servers import BIN, free_port, mlflow_server

pytestmark = pytest.mark.slow

EPOCHS, LATE = 24, "epoch_00003"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A head node; yields the environment that submits to it."""
    port, dashboard = free_port(), free_port()
    environment = {k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token_hex(32), "PATH": f"{BIN}:{environment['PATH']}"}
    log = tmp_path_factory.mktemp("head") / "head.log"
    command = [str(BIN / "ray"), "start", "--head", "--block", f"--port={port}", f"--dashboard-port={dashboard}"]
    with log.open("w") as output:
        head = subprocess.Popen([*command, "--num-cpus=2"], stdout=output, stderr=subprocess.STDOUT, env=environment)
    until(lambda: "Ray runtime started" in log.read_text() or head.poll() is not None, "the head node")
    assert head.poll() is None, log.read_text()
    yield environment | {"RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}"}
    head.send_signal(signal.SIGTERM)
    head.wait(60)


@pytest.fixture(scope="module")
def submitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout whose library differs from the installed one."""
    copy = tmp_path_factory.mktemp("submitted") / "tree"
    ignored = shutil.ignore_patterns(".*", "__pycache__", "runs")
    shutil.copytree(ROOT, copy, ignore=ignored)
    library = copy / "platform" / "crystalsweep" / "__init__.py"
    library.write_text(library.read_text() + '\nSUBMITTED = "not the installed code"\n')
    return copy


def job(environment: dict[str, str], tree: Path, *arguments: str) -> str:
    command = [str(BIN / "ray"), "job", *arguments]
    deadline = time.monotonic() + PATIENCE
    while True:
        ran = subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        if "No available agent to submit job" not in ran.stderr or time.monotonic() > deadline:
            break  # a head that has just started says so for a moment
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def submit(environment: dict[str, str], tree: Path, *entry: str) -> str:
    return job(environment, tree, "submit", "--working-dir", ".", "--", *entry)


def test_the_submitted_code_runs_in_driver_and_worker(cluster: dict[str, str], submitted: Path) -> None:
    output = submit(cluster, submitted, "python", "tests/ray/show_code.py")
    found = json.loads(next(line for line in output.splitlines() if line.startswith("FOUND ")).removeprefix("FOUND "))
    for place in ("driver", "worker"):
        library = Path(found[place])
        assert "working_dir_files" in str(library), found
        assert 'SUBMITTED = "not the installed code"' in library.read_text()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Address of an MLflow server with its own database and artifacts."""
    made = mlflow_server(tmp_path)
    made.start()
    yield made.address
    made.kill()


def test_a_submitted_sweep_that_was_stopped_goes_on_and_ends_on_an_mlflow_server(
    cluster: dict[str, str], submitted: Path, server: str, tmp_path: Path
) -> None:
    entry = ["python", "sweeps/w_pos.py", "--storage", str(tmp_path)]
    asked = ["--preset", "smoke", "--num-samples", "2", "--tracking-uri", server]
    short = ["--set", f"epochs={EPOCHS}", "--set", "max_crystals=32"]
    begin = ("submit", "--no-wait", "--submission-id", "begun", "--working-dir", ".", "--")
    job(cluster, submitted, *begin, *entry, *asked, *short)
    until(
        lambda: [kept for kept in tmp_path.glob("sweeps/*/checkpoints/0000-s0/epoch_*") if kept.name > LATE], "epochs"
    )
    job(cluster, submitted, "stop", "begun")
    output = submit(cluster, submitted, *entry, "--resume", "latest")
    assert "ceiling" in output
    assert not re.search(r"0000-s0.* epoch 1/", output)
    (folder,) = (tmp_path / "sweeps").iterdir()
    for key, rows in histories(folder).items():
        assert [row["epoch"] for row in rows] == list(range(1, EPOCHS + 1)), key
    mlflow = MlflowClient(server)
    experiment = mlflow.get_experiment_by_name("w_pos").experiment_id
    runs = mlflow.search_runs([experiment])
    assert sorted(run.info.status for run in runs) == ["FINISHED"] * 3
    assert any(run.data.metrics.get("ceiling/compositional_similarity") == 1 for run in runs)
    trial = next(run for run in runs if run.data.tags["crystalsweep.kind"] == "trial")
    assert any(name.startswith("val/species/0.1/") for name in trial.data.metrics)
    artifacts = {artifact.path for artifact in mlflow.list_artifacts(trial.info.run_id)}
    assert {"checkpoint", "plots"} <= artifacts
    from crystalsweep.provenance import code_sha256

    assert {run.data.tags["code_sha256"] for run in runs} != {code_sha256()}
