"""What is written through the outbox arrives in MLflow once and in order: past locked databases, servers that are away
and writers that are killed.
"""

from __future__ import annotations

import http.client
import http.server
import itertools
import math
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow.entities import Run

from crystalsweep.tracking.outbox import RUN_KEY, Outbox
from crystalsweep.tracking.tags import REASON
from crystalsweep.tracking.tracker import Tracker, now_ms

PATIENCE = 120.0


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mlflow") / "mlflow.db"


@pytest.fixture(scope="module")
def tracker(database: Path) -> Tracker:
    return Tracker(f"sqlite:///{database}")


@pytest.fixture
def experiment(tracker: Tracker, database: Path, request: pytest.FixtureRequest) -> str:
    return tracker.experiment(request.node.name, database.parent / "artifacts")


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def outbox(tracker: Tracker, told: list[str]) -> Iterator[Outbox]:
    made = Outbox(tracker, tell=told.append, patience=PATIENCE)
    yield made
    made.close()


def history(tracker: Tracker, run: str, name: str) -> list[tuple[int, float]]:
    """Steps and values as MLflow has them, in the order in which they were logged."""
    logged = tracker.client.get_metric_history(run, name)
    return [(point.step, point.value) for point in sorted(logged, key=lambda point: point.timestamp)]


def the_run(tracker: Tracker, experiment: str, key: str) -> Run:
    (found,) = tracker.tagged(experiment, {RUN_KEY: key})
    return found


@contextmanager
def locked(database: Path) -> Iterator[sqlite3.Connection]:
    """The database as another process leaves it that writes for long."""
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    try:
        yield connection
    finally:
        connection.close()


def until(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.05)


def test_a_run_holds_what_was_written(outbox: Outbox, tracker: Tracker, experiment: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "weights").write_text("1")
    parent = tracker.start(experiment, "sweep", kind="sweep")
    params = {f"p{index}": str(index) for index in range(150)}
    outbox.start("0001-s0", experiment, "one", kind="trial", parent=parent, params=params, tags={"host": "here"})
    for step in range(1, 4):
        outbox.log("0001-s0", {"loss": 1 / step, "undefined": math.nan}, step)
    outbox.log("0001-s0", {f"many/{index}": index for index in range(1200)}, 3)
    outbox.tag("0001-s0", {"note": "seen"})
    outbox.upload("0001-s0", tmp_path / "folder", "checkpoint")
    outbox.finish("0001-s0", "FAILED", "NaN loss at step 4")
    assert outbox.close() == []
    assert outbox.waiting == 0
    run = the_run(tracker, experiment, "0001-s0")
    assert run.info.status == "FAILED"
    assert run.data.params == params
    assert len([name for name in run.data.metrics if name.startswith("many/")]) == 1200
    expected = {"host": "here", "note": "seen", "crystalsweep.kind": "trial", "mlflow.parentRunId": parent}
    assert expected.items() <= run.data.tags.items()
    assert run.data.tags[REASON] == "NaN loss at step 4"
    assert history(tracker, run.info.run_id, "loss") == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert len(history(tracker, run.info.run_id, "undefined")) == 3
    assert [item.path for item in tracker.client.list_artifacts(run.info.run_id, "checkpoint")] == [
        "checkpoint/weights"
    ]


def test_a_reopened_run_gets_what_it_lacks(outbox: Outbox, tracker: Tracker, experiment: str, told: list[str]) -> None:
    outbox.start("a", experiment, "a", kind="trial", params={"lr": "0.1"}, tags={"host": "one"})
    for step in (1, 2, 4):
        outbox.log("a", {"loss": float(step)}, step)
    outbox.finish("a", "FAILED", "killed")
    first = outbox.run_id("a", PATIENCE)
    assert outbox.close() == []

    again = Outbox(tracker, tell=told.append)
    again.start("a", experiment, "a", kind="trial", params={"lr": "0.2", "seed": "0"}, tags={"host": "two"})
    for step in range(1, 6):
        again.log("a", {"loss": -1.0, "accuracy": float(step)}, step)
        again.log("a", {"loss": -2.0}, step)
    assert again.run_id("a", PATIENCE) == first
    assert again.close() == []
    run = the_run(tracker, experiment, "a")
    assert run.info.status == "RUNNING"
    assert REASON not in run.data.tags
    assert run.data.tags["host"] == "two"
    assert run.data.params == {"lr": "0.1", "seed": "0"}
    assert told == ['run "a": parameter lr stays 0.1 in MLflow, 0.2 was given']
    assert sorted(history(tracker, first, "loss")) == [(1, 1.0), (2, 2.0), (3, -1.0), (4, 4.0), (5, -1.0)]
    assert history(tracker, first, "accuracy") == [(step, float(step)) for step in range(1, 6)]


def test_the_same_key_below_another_parent_is_another_run(outbox: Outbox, tracker: Tracker, experiment: str) -> None:
    parents = [tracker.start(experiment, name, kind="sweep") for name in ("first", "second")]
    outbox.start("0000-s0", experiment, "a", kind="trial", parent=parents[0])
    first = outbox.run_id("0000-s0", PATIENCE)
    other = Outbox(tracker)
    other.start("0000-s0", experiment, "a", kind="trial", parent=parents[1])
    assert other.run_id("0000-s0", PATIENCE) != first
    assert other.close() == []


def test_what_mlflow_refuses_is_told_once_and_holds_up_nothing(
    outbox: Outbox, tracker: Tracker, experiment: str, told: list[str], tmp_path: Path
) -> None:
    outbox.start("a", experiment, "a", kind="trial")
    outbox.start("lost", "987654", "no such experiment", kind="trial")
    for step in range(3):
        outbox.log("a", {"loss": float(step)}, step)
        outbox.log("a", {"not / a name?": 1.0}, step)
        outbox.log("lost", {"loss": 1.0}, step)
    outbox.upload("a", tmp_path / "gone.png")
    outbox.finish("a", "FINISHED")
    with pytest.raises(RuntimeError, match='run "lost" could not be opened'):
        outbox.run_id("lost", PATIENCE)
    assert outbox.close() == []
    run = the_run(tracker, experiment, "a")
    assert run.info.status == "FINISHED"
    assert history(tracker, run.info.run_id, "loss") == [(0, 0.0), (1, 1.0), (2, 2.0)]
    assert len(told) == 3, told
    assert any('"lost" could not be opened' in line for line in told)
    assert any("refused metrics of step 0" in line and "not / a name?" in line for line in told)
    assert any("gone.png" in line for line in told)


def test_misuse_is_an_error_of_the_caller(outbox: Outbox, experiment: str) -> None:
    with pytest.raises(KeyError, match="never started"):
        outbox.log("unknown", {"loss": 1.0}, 1)
    with pytest.raises(KeyError, match="never started"):
        outbox.run_id("unknown")
    outbox.start("a", experiment, "a", kind="trial")
    with pytest.raises(ValueError, match="could not convert"):
        outbox.log("a", {"loss": "high"}, 1)  # type: ignore[dict-item]
    assert outbox.close() == []
    with pytest.raises(RuntimeError, match="closed"):
        outbox.finish("a", "FINISHED")


def test_an_attached_run_stays_as_it_ended(
    outbox: Outbox, tracker: Tracker, experiment: str, told: list[str], tmp_path: Path
) -> None:
    (tmp_path / "plot.txt").write_text("drawn later")
    parent = tracker.start(experiment, "sweep", kind="sweep")
    outbox.start("a", experiment, "a", kind="trial", parent=parent, params={"lr": "0.1"}, tags={"host": "one"})
    outbox.start("b", experiment, "b", kind="trial", parent=parent)
    for step in (1, 2):
        outbox.log("a", {"loss": float(step)}, step)
    outbox.finish("a", "FAILED", "killed")
    outbox.finish("b", "FINISHED")
    assert outbox.close() == []
    before = the_run(tracker, experiment, "a")

    later = Outbox(tracker, tell=told.append, patience=PATIENCE)
    for key in "ab":
        later.attach(key, experiment, parent=parent)
    assert later.run_id("a", PATIENCE) == before.info.run_id
    assert later.flush(PATIENCE)
    untouched, unchanged = the_run(tracker, experiment, "a"), the_run(tracker, experiment, "b")
    assert (untouched.info.status, untouched.info.end_time) == ("FAILED", before.info.end_time)
    assert (untouched.data.tags, untouched.data.params) == (before.data.tags, before.data.params)
    for step in (1, 2, 3):
        later.log("a", {"loss": -1.0, "match_rate": 0.5}, step)
    later.tag("a", {"note": "seen"})
    later.upload("a", tmp_path / "plot.txt", "plots")
    assert later.close() == []
    run = the_run(tracker, experiment, "a")
    assert (run.info.status, run.info.end_time) == ("FAILED", before.info.end_time)
    assert run.data.tags == {**before.data.tags, "note": "seen"}
    assert run.data.params == {"lr": "0.1"}
    assert sorted(history(tracker, run.info.run_id, "loss")) == [(1, 1.0), (2, 2.0), (3, -1.0)]
    assert len(history(tracker, run.info.run_id, "match_rate")) == 3
    assert [item.path for item in tracker.client.list_artifacts(run.info.run_id, "plots")] == ["plots/plot.txt"]
    assert unchanged.info.status == "FINISHED"
    assert told == []


def test_attaching_to_no_run_makes_none_and_is_told_once(
    outbox: Outbox, tracker: Tracker, experiment: str, told: list[str], tmp_path: Path
) -> None:
    parents = [tracker.start(experiment, name, kind="sweep") for name in ("first", "second")]
    outbox.start("a", experiment, "a", kind="trial", parent=parents[0])
    assert outbox.flush(PATIENCE)
    later = Outbox(tracker, tell=told.append, patience=PATIENCE)
    later.attach("a", experiment, parent=parents[1])
    later.log("a", {"loss": 1.0}, 1)
    later.tag("a", {"note": "lost"})
    later.upload("a", tmp_path)
    with pytest.raises(RuntimeError, match="there is no run of this key"):
        later.run_id("a", PATIENCE)
    assert later.close() == []
    assert len(told) == 1, told
    run = the_run(tracker, experiment, "a")
    assert run.data.metrics == {}
    assert "note" not in run.data.tags


@contextmanager
def failing(database: Path, *names: str) -> Iterator[None]:
    """A database that reads, and writes all but metrics of these names: those end in an error of the server's kind."""
    listed = ", ".join(f"'{name}'" for name in names)
    with sqlite3.connect(database) as connection:
        connection.execute(
            f"CREATE TRIGGER failing BEFORE INSERT ON metrics WHEN NEW.key IN ({listed}) "
            "BEGIN SELECT json(NEW.key); END"  # malformed
        )
    try:
        yield
    finally:
        with sqlite3.connect(database) as connection:
            connection.execute("DROP TRIGGER failing")


def test_a_write_that_always_fails_is_told_once_and_left_out(
    tracker: Tracker, experiment: str, told: list[str], database: Path
) -> None:
    outbox = Outbox(tracker, tell=told.append, patience=1.5)
    for key in "ab":
        outbox.start(key, experiment, key, kind="trial")
    assert outbox.flush(PATIENCE)
    with failing(database, "broken"):
        for step in range(4):
            outbox.log("a", {"loss": float(step)}, step)
            outbox.log("a", {"broken": 1.0}, step)
            outbox.log("b", {"loss": float(step)}, step)
        outbox.finish("a", "FINISHED")
        assert outbox.flush(PATIENCE)
        assert outbox.close() == []
    for key in "ab":
        run = the_run(tracker, experiment, key)
        assert history(tracker, run.info.run_id, "loss") == [(step, float(step)) for step in range(4)]
        assert "broken" not in run.data.metrics
    assert the_run(tracker, experiment, "a").info.status == "FINISHED"
    assert len([line for line in told if "MLflow refused metrics" in line]) == 1, told


def test_a_write_that_fails_for_a_while_is_kept(
    tracker: Tracker, experiment: str, told: list[str], database: Path
) -> None:
    outbox = Outbox(tracker, tell=told.append, patience=PATIENCE)
    outbox.start("a", experiment, "a", kind="trial")
    with failing(database, "late"):
        outbox.log("a", {"late": 1.0}, 1)
        until(lambda: told, "the line that says that the write fails")
    assert outbox.close() == []
    assert the_run(tracker, experiment, "a").data.metrics == {"late": 1.0}
    assert "cannot be written to" in told[0]
    assert "is back" in told[1]


@pytest.mark.server
@pytest.mark.long
def test_a_locked_database_is_waited_for(
    outbox: Outbox, tracker: Tracker, experiment: str, told: list[str], database: Path
) -> None:
    outbox.start("a", experiment, "a", kind="trial")
    run = outbox.run_id("a", PATIENCE)
    assert outbox.flush(PATIENCE)
    with locked(database):
        for step in range(20):
            outbox.log("a", {"loss": float(step)}, step)
        logged = now_ms()
        assert not outbox.flush(0.1)
        assert outbox.waiting == 20
        until(lambda: told, "the line that says that the database is locked")
        assert "database is locked" in told[0]
    assert outbox.flush(PATIENCE)
    assert history(tracker, run, "loss") == [(step, float(step)) for step in range(20)]
    assert max(point.timestamp for point in tracker.client.get_metric_history(run, "loss")) <= logged
    assert len(told) == 2
    assert "is back" in told[1]


def test_an_interrupt_leaves_the_outbox_usable(
    outbox: Outbox, tracker: Tracker, experiment: str, database: Path
) -> None:
    outbox.start("a", experiment, "a", kind="trial")
    assert outbox.flush(PATIENCE)
    with locked(database):
        outbox.log("a", {"loss": 1.0}, 1)
        interrupt = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
        interrupt.start()
        with pytest.raises(KeyboardInterrupt):
            outbox.close()
        outbox.finish("a", "KILLED")
    assert outbox.close() == []
    run = the_run(tracker, experiment, "a")
    assert run.info.status == "KILLED"
    assert run.data.metrics == {"loss": 1.0}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_closing_without_a_server_tells_what_is_unsent(tracker: Tracker, told: list[str]) -> None:
    outbox = Outbox(Tracker(f"http://user:secret@127.0.0.1:{free_port()}"), tell=told.append, patience=1.0)
    try:
        outbox.start("a", "0", "a", kind="trial")
        outbox.start("b", "0", "b", kind="trial")
        for step in range(3, 6):
            outbox.log("a", {"loss": 1.0}, step)
        outbox.finish("a", "FINISHED")
        with pytest.raises(TimeoutError, match="is not open"):
            outbox.run_id("a", 0.1)
        assert outbox.close() == ["a: metrics of 3 steps, 3 to 5, start, status FINISHED", "b: start"]
    finally:
        Tracker(tracker.uri)  # a tracker sets MLflow's global address
    assert len(told) == 1
    assert "Connection refused" in told[0]
    assert "secret" not in told[0]


WRITER = """
import sys, time
from crystalsweep.tracking.outbox import Outbox
from crystalsweep.tracking.tracker import Tracker
uri, experiment, steps, ends = sys.argv[1:]
outbox = Outbox(Tracker(uri))
for key in "abc":
    outbox.start(key, experiment, key, kind="trial", params={"seed": key})
for step in range(int(steps)):
    for key in "abc":
        outbox.log(key, {"loss": 1.0 / (step + 1), "step": float(step)}, step)
    time.sleep(0.02)
if ends == "end":
    for key in "abc":
        outbox.finish(key, "FINISHED")
    left = outbox.close()
    assert not left, left
else:
    print("writing", flush=True)
    for key in "abc":
        for step in range(int(steps), 100_000):
            outbox.log(key, {"loss": 1.0 / (step + 1), "step": float(step)}, step)
            time.sleep(0.01)
"""


def writer(uri: str, experiment: str, steps: int, ends: str) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", WRITER, uri, experiment, str(steps), ends]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def killed_and_started_again(tracker: Tracker, experiment: str) -> None:
    """A writer is killed as it writes; a second one repeats all its steps and goes on to step 1000."""
    doomed = writer(tracker.uri, experiment, 30, "never")
    assert doomed.stdout is not None
    assert doomed.stdout.readline() == "writing\n"
    until(lambda: the_run(tracker, experiment, "a").data.metrics.get("step", 0) > 40, "metrics of the first writer")
    doomed.kill()
    doomed.wait()
    reached = int(the_run(tracker, experiment, "a").data.metrics["step"])
    assert writer(tracker.uri, experiment, reached + 20, "end").wait(PATIENCE) == 0
    assert len(tracker.client.search_runs([experiment])) == 3
    for key in "abc":
        run = the_run(tracker, experiment, key)
        assert run.info.status == "FINISHED"
        assert run.data.params == {"seed": key}
        expected = [(step, 1.0 / (step + 1)) for step in range(reached + 20)]
        assert history(tracker, run.info.run_id, "loss") == expected


def test_a_writer_that_was_killed_doubles_nothing(tracker: Tracker, experiment: str) -> None:
    killed_and_started_again(tracker, experiment)


class Server:
    """An MLflow server that can be killed and started again at its address."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.uri = f"http://127.0.0.1:{self._port}"
        self.artifacts = folder / "artifacts"
        self.artifacts.mkdir()

    def start(self) -> None:
        command = [str(Path(sys.executable).parent / "mlflow"), "server", "--host", "127.0.0.1", "--workers", "1"]
        command += ["--port", str(self._port), "--backend-store-uri", f"sqlite:///{self._folder / 'server.db'}"]
        command += ["--artifacts-destination", str(self.artifacts)]
        log = self._folder / "server.log"
        with log.open("w") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        self._process = process
        until(lambda: "startup complete" in log.read_text() or process.poll() is not None, "the MLflow server")
        assert process.poll() is None, log.read_text()

    def kill(self) -> None:
        """The server and its workers, without a chance to clean up."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("server"))
    made.start()
    yield made
    made.kill()


@pytest.mark.server
def test_a_server_that_was_away_gets_everything(
    server: Server, told: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # a write that was under way is given up sooner
    tracker = Tracker(server.uri)
    experiment = tracker.experiment("away")
    outbox = Outbox(tracker, tell=told.append, patience=PATIENCE)
    plot = tmp_path / "plot.txt"
    plot.write_text("drawn while the server was away")
    keys = ["0000-s0", "0000-s1", "0001-s0"]
    stop, logged = threading.Event(), 0

    def train() -> None:
        nonlocal logged
        while not stop.is_set():
            for key in keys:
                outbox.log(key, {"loss": 1.0 / (logged + 1), "epoch": float(logged)}, logged)
            logged += 1
            time.sleep(0.1)

    for key in keys[:2]:
        outbox.start(key, experiment, key, kind="trial", params={"lr": "0.1"})
        outbox.run_id(key, PATIENCE)
    outbox.start(keys[2], experiment, keys[2], kind="trial", params={"lr": "0.1"})
    training = threading.Thread(target=train)
    training.start()
    until(lambda: logged > 10, "the first epochs")
    server.kill()
    before = logged
    until(lambda: told, "the line that says that the server is away")
    outbox.start("opened while away", experiment, "late", kind="trial", tags={"note": "kept"})
    outbox.upload(keys[0], plot)
    until(lambda: logged > before + 10, "epochs while the server is away")
    server.start()
    until(lambda: len(told) > 1, "the line that says that the server is back")
    stop.set()
    training.join()
    for key in keys:
        outbox.finish(key, "FINISHED")
    assert outbox.close() == []

    assert len(tracker.client.search_runs([experiment])) == 4
    assert the_run(tracker, experiment, "opened while away").data.tags["note"] == "kept"
    for key in keys:
        run = the_run(tracker, experiment, key)
        assert run.info.status == "FINISHED"
        assert run.data.params == {"lr": "0.1"}
        assert history(tracker, run.info.run_id, "loss") == [(step, 1.0 / (step + 1)) for step in range(logged)]
    first = the_run(tracker, experiment, keys[0]).info.run_id
    assert [item.path for item in tracker.client.list_artifacts(first)] == ["plot.txt"]
    assert "cannot be written to" in told[0]
    assert "is back" in told[1]
    assert len(told) == 2


@pytest.mark.server
@pytest.mark.long
def test_a_broken_artifact_store_holds_up_no_metrics(
    server: Server, told: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    tracker = Tracker(server.uri)
    experiment = tracker.experiment("broken store")
    (server.artifacts / experiment).write_text("a file where the experiment's folder should be")
    plot = tmp_path / "plot.txt"
    plot.write_text("drawn")
    outbox = Outbox(tracker, tell=told.append, patience=2.0)
    outbox.start("a", experiment, "a", kind="trial")
    for step in range(3):
        outbox.log("a", {"loss": float(step)}, step)
        outbox.upload("a", plot)
    outbox.finish("a", "FINISHED")
    assert outbox.flush(PATIENCE)
    assert outbox.close() == []
    run = the_run(tracker, experiment, "a")
    assert run.info.status == "FINISHED"
    assert history(tracker, run.info.run_id, "loss") == [(0, 0.0), (1, 1.0), (2, 2.0)]
    assert "MLflow refused files plot.txt" in told[1]


@contextmanager
def losing_answers(server: Server) -> Iterator[tuple[str, list[str]]]:
    """An address that passes every request on, but loses every second answer to a POST; and the paths of those."""
    posts, lost = itertools.count(), list[str]()

    class Lossy(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            passed = http.client.HTTPConnection(server.uri.removeprefix("http://"))
            passed.request(self.command, self.path, body, {"Content-Type": "application/json"})
            answer = passed.getresponse()
            content = answer.read()
            if self.command == "POST" and next(posts) % 2 == 0:
                lost.append(self.path)
                self.close_connection = True
                return
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _pass_on  # noqa: N815  # names of http.server

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Lossy) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{proxy.server_port}", lost
        proxy.shutdown()


@pytest.mark.server
@pytest.mark.long
def test_an_answer_that_is_lost_doubles_nothing(server: Server) -> None:
    tracker = Tracker(server.uri)
    experiment = tracker.experiment("lost answers")
    with losing_answers(server) as (uri, lost):
        outbox = Outbox(Tracker(uri), patience=PATIENCE)
        for key in "abc":
            outbox.start(key, experiment, key, kind="trial", params={"seed": key})
            for step in range(5):
                outbox.log(key, {"loss": float(step), "undefined": math.nan}, step)
                assert outbox.flush(PATIENCE)
            outbox.finish(key, "FINISHED")
        assert outbox.close() == []
    assert any(path.endswith("runs/create") for path in lost)
    assert any(path.endswith("runs/log-batch") for path in lost)
    assert len(tracker.client.search_runs([experiment])) == 3
    for key in "abc":
        run = the_run(tracker, experiment, key)
        assert run.info.status == "FINISHED"
        assert history(tracker, run.info.run_id, "loss") == [(step, float(step)) for step in range(5)]
        assert len(history(tracker, run.info.run_id, "undefined")) == 5


@pytest.mark.server
@pytest.mark.long
def test_a_writer_that_was_killed_doubles_nothing_on_a_server(server: Server) -> None:
    tracker = Tracker(server.uri)
    killed_and_started_again(tracker, tracker.experiment("killed"))
