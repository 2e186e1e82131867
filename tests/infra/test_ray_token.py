"""Ray asks for its token: the stack's two nodes, and the cluster that a sweep starts for itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from secrets import token_hex
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psutil
import pytest

from infra.local.layout import Layout, programs, write_private
from infra.local.stack import stack_of, start_head
from tests.infra.conftest import ROOT, RunningStack, command_lines, files_with, free_row, listening
from tests.ray.conftest import until

pytestmark = pytest.mark.slow

ON_BOTH = """
import os, time, ray
ray.init(log_to_driver=False, logging_level="ERROR")
@ray.remote(num_cpus=1)
def seen():
    time.sleep(2)
    return ray.get_runtime_context().get_node_id(), "MLFLOW_TRACKING_PASSWORD" in os.environ
found = ray.get([seen.remote() for _ in range(4)])
print("NODES", len({node for node, _ in found}), "ACCOUNT", all(given for _, given in found))
"""
LOCAL = """
import ray
from crystalsweep.sweeping.cluster import connect_cluster
connect_cluster()
print("DASHBOARD", ray._private.worker.global_worker.node.address_info["webui_url"], flush=True)
input()
"""


@dataclass
class Nodes(RunningStack):
    """A head and a worker, without MLflow and what it needs."""

    home: Path
    """With a token of the person's own, for other clusters."""

    def submit(self, *entry: str, **auth: str) -> subprocess.CompletedProcess[str]:
        """`ray job submit` by somebody who has this authentication and no file."""
        bare = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_"))}
        address = {"RAY_API_SERVER_ADDRESS": self.settings.dashboard, "HOME": "/nonexistent"}
        line = [str(programs() / "ray"), "job", "submit", *entry]
        environment = bare | address | auth
        return subprocess.run(line, env=environment, capture_output=True, text=True, check=False, timeout=180)

    @property
    def allowed(self) -> dict[str, str]:
        """As `source env` gives."""
        return {name: value for name, value in self.environment.items() if name.startswith("RAY_AUTH_")}

    def ask(self, path: str) -> str:
        """Ray's answer to who has the token."""
        token = self.layout.secrets().ray_token
        with urlopen(Request(self.settings.dashboard + path, headers={"Authorization": f"Bearer {token}"})) as answer:
            return str(answer.read().decode())


@pytest.fixture(scope="module")
def nodes(short_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    home = tmp_path_factory.mktemp("home")
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text("a token of the person's own")
    layout, first = Layout(short_folder), free_row()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        settings = layout.settings(mlflow_port=first + 10, dashboard_port=first + 11, first_port=first)
        layout.make()
        layout.keep(settings)
        write_private(layout.ray_token, layout.secrets().ray_token)
        stack = stack_of(layout, settings)
        start_head(stack)
        try:
            for each in stack.ray:
                each.start()
                each.wait()
            yield Nodes(layout, home)
        finally:
            for each in reversed(stack.ray):
                each.stop()


def test_a_job_without_the_token_is_refused(nodes: Nodes, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    refused = nodes.submit("--", "touch", str(marker))
    assert refused.returncode != 0
    assert "Unauthorized: Missing authentication token" in refused.stderr
    assert not marker.exists()
    assert str(marker) not in nodes.ask("/api/jobs/")


def test_a_job_with_a_wrong_token_is_refused(nodes: Nodes, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    refused = nodes.submit("--", "touch", str(marker), RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=token_hex(32))
    assert refused.returncode != 0
    assert "Forbidden: Invalid authentication token" in refused.stderr
    assert not marker.exists()
    assert str(marker) not in nodes.ask("/api/jobs/")


def test_a_job_with_the_token_runs_on_both_nodes_with_mlflows_account(nodes: Nodes, tmp_path: Path) -> None:
    (tmp_path / "on_both.py").write_text(ON_BOTH)
    ran = nodes.submit("--working-dir", str(tmp_path), "--", "python", "on_both.py", **nodes.allowed)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "NODES 2 ACCOUNT True" in ran.stdout
    told = ran.stdout + ran.stderr + nodes.ask("/api/jobs/") + command_lines(nodes.parts.ray)
    assert [name for name, secret in nodes.secrets.items() if secret in told] == []
    homes = {nodes.layout.ray_token, nodes.layout.folder / "secrets.json"}
    assert files_with(nodes.layout.folder, nodes.secrets, allowed=homes.__contains__) == {}


def test_nodes_listen_on_loopback_only(nodes: Nodes) -> None:
    found = listening(nodes.parts.ray)
    assert found.keys() == {"ray-head", "ray-worker-1"}
    addresses = [ip_address(address) for each in found.values() for address in each]
    assert all((getattr(each, "ipv4_mapped", None) or each).is_loopback for each in addresses), found


def test_a_token_of_the_persons_own_stays(nodes: Nodes) -> None:
    assert (nodes.home / ".ray" / "auth_token").read_text() == "a token of the person's own"


@pytest.mark.long
def test_stopping_the_nodes_ends_their_jobs_and_no_other_ray(nodes: Nodes) -> None:
    """Last of this cluster's."""
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "raylet"])
    try:
        begun = nodes.submit("--no-wait", "--", "sleep", "4242", **nodes.allowed)
        assert begun.returncode == 0, begun.stderr

        def drivers() -> list[psutil.Process]:
            found = [psutil.Process(pid) for each in nodes.parts.ray for pid in each.members()]
            return [each for each in found if each.cmdline() == ["sleep", "4242"]]

        until(drivers, "the job")
        (driver,) = drivers()
        for each in reversed(nodes.parts.ray):
            each.stop()
        assert [each.members() for each in nodes.parts.ray] == [[], []]
        assert not driver.is_running() or driver.status() == psutil.STATUS_ZOMBIE
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_the_cluster_that_a_sweep_starts_asks_for_a_token(tmp_path: Path) -> None:
    bare = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(
        [sys.executable, "-c", LOCAL], env=bare | {"HOME": str(tmp_path)}, cwd=ROOT, **pipes
    ) as sweep:
        assert sweep.stdin is not None and sweep.stdout is not None
        try:
            address = next(line for line in sweep.stdout if line.startswith("DASHBOARD ")).split()[1]
            with pytest.raises(HTTPError) as refused:
                urlopen(f"http://{address}/api/jobs/", timeout=30)
            assert refused.value.code == 401
            token = (tmp_path / ".ray" / "auth_token").read_text()
            asked = Request(f"http://{address}/api/jobs/", headers={"Authorization": f"Bearer {token}"})
            assert [job["type"] for job in json.load(urlopen(asked, timeout=30))] == ["DRIVER"]
        finally:
            sweep.communicate("\n", timeout=60)
