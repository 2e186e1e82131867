"""A cluster that we start is reached from this machine alone, and none of its servers tells metrics without a token."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from tests.ray.conftest import ROOT, until
from tests.ray.listening import Listener, listeners

pytestmark = pytest.mark.slow

LOCAL = """
import os, ray
from crystalsweep.cluster.private import CLOSED
from crystalsweep.sweeping.cluster import connect_cluster
connect_cluster()
print("LEFT", *sorted(CLOSED.keys() & os.environ.keys()))
@ray.remote
def node():
    return ray.util.get_node_ip_address()
print("READY", ray.get(node.remote()), flush=True)
input()
"""

OPEN = ("ray::execute.", "ray::RayTrainWorker")
"""What listens for others too: torch's TCPStore, where the workers of one training meet, takes no address to bind. It
is a worker of Ray Train, by how its names begin: `execute.` and what it does at the time (it opens the port in
`_setup_torch_process_group`, and has it still in what comes after), or its class while it does nothing."""


@contextmanager
def started(*command: str, log: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that joins no cluster, and ends with the block."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_"))}
    with log.open("w") as output:
        process = subprocess.Popen(
            command, env=bare, cwd=ROOT, stdin=subprocess.PIPE, stdout=output, stderr=output, text=True
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.communicate("\n", timeout=60)


def tells_metrics(listener: Listener) -> bool:
    """Whether it answers as Prometheus asks."""
    asked = HTTPConnection("127.0.0.1", listener.port, timeout=5)
    try:
        asked.request("GET", "/metrics")
        return b"# HELP" in asked.getresponse().read()
    except (OSError, HTTPException):  # no HTTP
        return False
    finally:
        asked.close()


def test_a_cluster_that_a_sweep_starts_listens_on_loopback_alone_and_exports_nothing(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with started(sys.executable, "-c", LOCAL, log=log) as sweep:
        until(lambda: "READY" in log.read_text() or sweep.poll() is not None, "the cluster")
        assert log.read_text() == "LEFT\nREADY 127.0.0.1\n"
        until(lambda: any(each.process == "ray::DashboardAgent" for each in listeners(sweep.pid)), "what comes up last")
        time.sleep(3)
        found = listeners(sweep.pid)
        assert {"driver", "gcs_server", "raylet"} <= {each.process for each in found}
        assert [each for each in found if not each.is_loopback] == []
        assert [each for each in found if tells_metrics(each)] == []


def test_several_workers_open_what_torch_binds_itself_and_nothing_else(tmp_path: Path) -> None:
    program = str(Path(sys.executable).with_name("crystalsweep"))
    options = ["--preset", "smoke", "--workers", "2", "--set", "epochs=1", "--out", str(tmp_path / "run")]
    found: set[Listener] = set()
    with started(program, "train", "pretrain", *options, log=tmp_path / "log") as training:

        def ended() -> bool:
            found.update(listeners(training.pid))
            return training.poll() is not None

        until(ended, "the training")
    assert training.returncode == 0, (tmp_path / "log").read_text()
    opened = [each for each in found if not each.is_loopback]
    assert len({each.port for each in opened}) == 1, opened
    named = [each.process for each in opened if each.process]  # one that ends has none
    assert named, opened
    assert all(name.startswith(OPEN) for name in named), opened
