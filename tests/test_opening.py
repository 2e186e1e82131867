"""Stores and folders that cannot be used are told in a line with the remedy, before work begins."""

from __future__ import annotations

import re
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from click.testing import CliRunner

from crystalsweep.artifacts.places import require_writable
from crystalsweep.cli.main import main
from crystalsweep.tracking import tracker as tracking
from crystalsweep.tracking.opening import checked_tracker, open_tracker, require_reachable
from crystalsweep.tracking.tracker import Tracker, sqlite_uri
from sweeps.gan_noise import main as sweep

CONTROL = Path(__file__).parent / "fixtures" / "generators" / "control"


@pytest.fixture
def nobody() -> str:
    """An address at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def broken() -> Iterator[str]:
    """A server that answers everything with 503."""
    yield from answering(b"503 Away")


@pytest.fixture
def refusing() -> Iterator[str]:
    """A server that lets nobody in."""
    yield from answering(b'401 Unauthorized\r\nWWW-Authenticate: Basic realm="mlflow"')


def answering(status: bytes) -> Iterator[str]:
    """A server that answers everything with this status."""
    server = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}"
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join(5)


# Servers


@pytest.mark.parametrize(
    "arguments",
    [
        ("leaderboard",),
        ("history",),
        ("demote", "champion", "--reason", "because"),
        ("promote", str(CONTROL), "--dry-run"),
        ("verify", "models:/crystal-generator@champion"),
        ("registry", "export", "models:/crystal-generator@champion", "out.zip"),
        ("evaluate", "--checkpoint", str(CONTROL)),
        ("compare", "0" * 32, "1" * 32),
        ("train", "gan", "--generator", "models:/crystal-generator@champion"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_every_command_says_in_a_line_that_no_server_answers(
    arguments: tuple[str, ...], nobody: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CRYSTALSWEEP_STORAGE", str(tmp_path / "storage"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", nobody)
    ran = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert ran.exit_code == 1
    assert f"Error: no MLflow server answers at {nobody} ([Errno 111] Connection refused): start it" in ran.output
    assert ran.output.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("given", ["option", "environment"])
def test_a_sweep_says_so_too(given: str, nobody: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if given == "environment":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", nobody)
    options = ["--tracking-uri", nobody] if given == "option" else []
    ran = CliRunner().invoke(sweep, ["--storage", str(tmp_path / "new"), *options], catch_exceptions=False)
    assert ran.exit_code == 1
    assert ran.output.startswith(f"Error: no MLflow server answers at {nobody}")
    assert ran.output.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_what_needs_no_server_does_not_ask_for_one(nobody: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", nobody)
    ran = CliRunner().invoke(main, ["compare", str(CONTROL), str(CONTROL.parent)], catch_exceptions=False)
    assert "MLflow" not in ran.output


def test_a_server_that_hangs_is_given_up(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "_ANSWER_TIMEOUT_S", 0.5)
    with pytest.raises(ValueError, match=r"cannot be used as an MLflow tracking server .*timed out.*--tracking-uri"):
        checked_tracker(silent)


def test_a_server_that_fails_is_asked_once(broken: str) -> None:
    with pytest.raises(ValueError, match=r"cannot be used as an MLflow tracking server \(HTTP 503\): start it"):
        checked_tracker(broken)


def test_a_database_that_is_gone_is_told_at_once(nobody: str) -> None:
    """SQLAlchemy, as MLflow uses it, tries ten times."""
    uri = nobody.replace("http", "postgresql+psycopg2") + "/mlflow"
    with pytest.raises(ValueError, match="no MLflow server answers at postgresql"):
        require_reachable(uri)


def test_what_a_proxy_reaches_is_not_asked_past_it(nobody: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:3128")
    require_reachable(nobody)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(ValueError, match="no MLflow server answers"):
        require_reachable(nobody)


UNREADABLE = [
    "http://alice:geheim7@[::1",
    "http://alice:ge/heim7@127.0.0.1:1",
    "http://alice:ge?heim7@127.0.0.1:1",
    "http://alice:geheim7@127.0.0.1:port",
    "http:alice:geheim7@127.0.0.1",
    "alice:geheim7@127.0.0.1",
    "foo://alice:geheim7@127.0.0.1/db",
    "sqlite://alice:geheim7@host/x",
    "postgresql:/alice:geheim7@127.0.0.1/db",
    "postgresql://alice:geheim7@127.0.0.1:1:2/db",
    "postgresql+nodriver://alice:geheim7@/db",
    "postgresql:///db?user=alice&password=geheim7&host=127.0.0.1&port=1",
    "databricks://geheim7:x@y",
]


@pytest.mark.parametrize("address", UNREADABLE)
@pytest.mark.parametrize("given", ["option", "environment"])
def test_an_address_that_does_not_parse_is_told_without_its_password(
    address: str, given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address if given == "environment" else "")
    options = ["--tracking-uri", address] if given == "option" else []
    try:
        for command, arguments in ((main, ["history", *options]), (sweep, ["--storage", str(tmp_path), *options])):
            ran = CliRunner().invoke(command, arguments, catch_exceptions=False)
            assert ran.exit_code == 1, ran.output
            told = ran.output + "".join(capfd.readouterr())
            assert not re.search("heim7|ge/|ge[?]|'ge", told), told
            assert "Traceback" not in told
            assert told.splitlines()[-1].startswith("Error: ")
    finally:
        mlflow.set_tracking_uri(None)


@pytest.mark.parametrize("kind", ["refusing", "nobody", "broken"])
@pytest.mark.parametrize("given", ["option", "environment"])
def test_a_server_that_does_not_serve_is_told_without_the_password(
    kind: str,
    given: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    address = request.getfixturevalue(kind).replace("://", "://alice:gehe%2Fim9@")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address if given == "environment" else "")
    options = ["--tracking-uri", address] if given == "option" else []
    asked = [
        ("history",),
        ("leaderboard",),
        ("demote", "champion", "--reason", "because"),
        ("promote", str(CONTROL), "--dry-run"),
        ("evaluate", "--checkpoint", "0" * 32),
        ("compare", "0" * 32, "1" * 32),
        ("registry", "export", "models:/crystal-generator@champion", "out.zip"),
        ("train", "finetune", "--generator", "0" * 32),
    ]
    commands = [(main, [*each, *options]) for each in asked]
    sweeps = [(sweep, ["--preset", "smoke", "--storage", str(tmp_path), *options])]
    try:
        for command, arguments in commands + sweeps:
            ran = CliRunner().invoke(command, arguments, catch_exceptions=False)
            told = ran.output + "".join(capfd.readouterr())
            assert ran.exit_code == 1, told
            assert "http://***@127.0.0.1" in told
            assert not re.search("gehe|im9|YWxpY2U6", told), told
    finally:
        mlflow.set_tracking_uri(None)
    for file in tmp_path.rglob("*.*"):
        assert b"gehe" not in file.read_bytes()


# Files


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("not a database, though long enough to be taken for one" * 20)
    with pytest.raises(ValueError, match=r"mlflow.db cannot be read as an MLflow store \(file is not a database\)"):
        open_tracker(sqlite_uri(tmp_path), tmp_path)


def test_a_database_that_another_process_writes_to_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Tracker(sqlite_uri(tmp_path)).require_usable()
    monkeypatch.setattr("crystalsweep.artifacts.sqlite_files._BUSY_S", 0.1)
    with sqlite3.connect(tmp_path / "mlflow.db") as writer:
        writer.execute("BEGIN EXCLUSIVE")
        require_reachable(sqlite_uri(tmp_path))
        writer.rollback()


KILLED = """
import os, signal, sqlite3, sys

database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA cache_size=1")  # pages go to the file before the end
database.execute("BEGIN IMMEDIATE")
database.execute("CREATE TABLE half (words TEXT)")
database.executemany("INSERT INTO half VALUES (?)", [("x" * 1000,)] * 1000)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_database_that_a_kill_left_half_written_is_played_back(tmp_path: Path) -> None:
    Tracker(sqlite_uri(tmp_path)).require_usable()
    file = tmp_path / "mlflow.db"
    subprocess.run([sys.executable, "-c", KILLED, file], check=False)
    assert (tmp_path / "mlflow.db-journal").stat().st_size
    require_reachable(sqlite_uri(tmp_path))
    with sqlite3.connect(file) as database:
        assert not database.execute("SELECT name FROM sqlite_master WHERE name = 'half'").fetchall()


def test_a_storage_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"file/a/b cannot be written \(Not a directory\): give another"):
        require_writable(tmp_path / "file" / "a" / "b", "give another")
    with pytest.raises(ValueError, match="cannot be written"):
        require_writable(Path("/proc/crystalsweep"), "give another")
    with pytest.raises(ValueError, match="cannot be written"):
        require_writable(tmp_path / ("long" * 100), "give another")


def test_a_folder_that_can_be_written_is_left_as_it_was(tmp_path: Path) -> None:
    require_writable(tmp_path / "a" / "b", "")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (("train", "pretrain", "--preset", "smoke", "--out", "file/run"), "give another folder with --out"),
        (("evaluate", "--checkpoint", "identity", "--out", "file/run"), "give another folder with --out"),
        (("promote", str(CONTROL), "--storage", "file/store"), "correct --tracking-uri, --storage"),
    ],
    ids=lambda given: given[0] if isinstance(given, tuple) else "",
)
def test_commands_tell_a_folder_that_cannot_be_written(
    arguments: tuple[str, ...], remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "file").touch()
    ran = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert ran.exit_code == 1
    assert "cannot be written (Not a directory): " in ran.output
    assert remedy in ran.output
    assert ran.output.count("\n") == 1


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_a_sweep_tells_a_storage_that_cannot_be_written(more: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ran = CliRunner().invoke(sweep, ["--storage", str(tmp_path / "file" / "store"), *more], catch_exceptions=False)
    assert ran.exit_code == 1
    assert "file/store cannot be written (Not a directory): " in ran.output
    assert "--storage" in ran.output
    assert ran.output.count("\n") == 1


# Experiments


def test_an_experiment_that_was_deleted_is_told_with_the_way_back(tmp_path: Path) -> None:
    tracker = checked_tracker(sqlite_uri(tmp_path))
    experiment = tracker.experiment("gan_noise")
    assert tracker.experiment("gan_noise") == experiment
    tracker.client.delete_experiment(experiment)
    with pytest.raises(
        ValueError,
        match=rf"'gan_noise' was deleted: bring it back with `MLFLOW_TRACKING_URI=\S+ mlflow experiments restore "
        rf"--experiment-id {experiment}`, or give another",
    ):
        tracker.experiment("gan_noise")
    tracker.client.restore_experiment(experiment)
    assert tracker.experiment("gan_noise") == experiment


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("evaluations", ("evaluate", "--checkpoint", str(CONTROL))),
        ("promotions", ("promote", str(CONTROL))),
    ],
)
def test_commands_tell_a_deleted_experiment_before_they_work(
    name: str, arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tracker = checked_tracker(sqlite_uri(tmp_path))
    tracker.client.delete_experiment(tracker.experiment(name))
    ran = CliRunner().invoke(main, [*arguments, "--tracking-uri", tracker.uri, "--storage", "."])
    assert ran.exit_code == 1
    assert f"Error: the MLflow experiment {name!r} was deleted: bring it back with" in ran.output
    assert ran.output.count("\n") == 1


def test_a_sweep_tells_its_deleted_experiment_before_it_starts_ray(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unwanted() -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr("crystalsweep.sweeping.run.connect_cluster", unwanted)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    tracker = checked_tracker(sqlite_uri(tmp_path))
    tracker.client.delete_experiment(tracker.experiment("gan_noise"))
    options = ["--preset", "smoke", "--storage", str(tmp_path), "--tracking-uri", tracker.uri]
    ran = CliRunner().invoke(sweep, options, catch_exceptions=False)
    assert ran.exit_code == 1
    assert ran.output.splitlines()[-1].startswith("Error: the MLflow experiment 'gan_noise' was deleted: bring it back")
    assert "Traceback" not in ran.output


def test_training_on_several_workers_tells_that_ray_cannot_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", f"/tmp/{100 * 'a'}")
    options = ["--preset", "smoke", "--workers", "2", "--out", str(tmp_path / "run")]
    ran = CliRunner().invoke(main, ["train", "pretrain", *options], catch_exceptions=False)
    assert ran.exit_code == 1
    assert ran.output.startswith("Error: RAY_TMPDIR is /tmp/aaa")
    assert ran.output.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_server_that_wants_an_account_is_not_told_to_be_started(refusing: str) -> None:
    with pytest.raises(ValueError, match=r"error code 401.*it wants an account: set MLFLOW_TRACKING_USERNAME") as told:
        checked_tracker(refusing)
    assert "start it" not in str(told.value)
