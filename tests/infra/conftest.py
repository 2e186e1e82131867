"""The stack of `infra/local`, started by its own command, for tests that kill its servers."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from infra.local.component import Component
from infra.local.database import OWNER, RUNS
from infra.local.layout import BUCKET, Layout, Settings, client_environment, taken
from infra.local.object_store import s3_client
from infra.local.stack import Stack, missing, stack_of

ROOT = Path(__file__).resolve().parents[2]
ROW = 12
"""Ports that a stack of two nodes takes, and some."""


def free_row() -> int:
    """First of a row of ports that nothing listens on, below those that the kernel hands out."""
    while True:
        first = random.SystemRandom().randrange(20000, 32000, ROW)
        if not any(taken(port) for port in range(first, first + ROW)):
            return first


@dataclass
class RunningStack:
    """A started stack and the account of its user."""

    layout: Layout

    @property
    def settings(self) -> Settings:
        return self.layout.settings()

    @property
    def parts(self) -> Stack:
        return stack_of(self.layout, self.settings)

    @property
    def tracking_uri(self) -> str:
        return self.settings.tracking_uri

    @property
    def environment(self) -> dict[str, str]:
        """What `source env` gives."""
        return client_environment(self.layout, self.settings, self.layout.secrets())

    @property
    def secrets(self) -> dict[str, str]:
        """All, by what they are for; the S3 key's name is told in every request and no secret."""
        return {name: value for name, value in asdict(self.layout.secrets()).items() if name != "store_key"}

    def command(self, *arguments: str, expect: int = 0) -> str:
        """`stack.py …` in this folder: what it printed."""
        return command(*arguments, "--folder", str(self.layout.folder), expect=expect)

    def kill_postgres(self) -> None:
        """SIGKILL for PostgreSQL and all its processes."""
        self.parts.database.kill()

    def kill_store(self) -> None:
        """SIGKILL for the S3 store."""
        self.parts.store.kill()

    def restart(self) -> None:
        """`start`: brings back what was killed."""
        self.command("start")

    def objects(self) -> list[str]:
        """Keys in the bucket, as the store itself lists them."""
        pages = s3_client(self.settings, self.layout.secrets()).get_paginator("list_objects_v2")
        return [found["Key"] for page in pages.paginate(Bucket=BUCKET) for found in page.get("Contents", [])]

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Rows of MLflow's database, past MLflow."""
        import psycopg2

        place = {"host": "127.0.0.1", "port": self.settings.database_port, "dbname": RUNS}
        server = psycopg2.connect(user=OWNER, password=self.layout.secrets().database_owner, **place)
        try:
            with server.cursor() as cursor:
                cursor.execute(statement)
                return list(cursor.fetchall())
        finally:
            server.close()


def command(*arguments: str, expect: int = 0) -> str:
    line = [sys.executable, str(ROOT / "infra" / "local" / "stack.py"), *arguments]
    ran = subprocess.run(line, capture_output=True, text=True, check=False, timeout=300)
    assert ran.returncode == expect, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def made_stack(folder: Path, *options: str) -> RunningStack:
    """A stack in `folder` on ports of its own."""
    if lacking := missing():
        pytest.skip("not installed here: " + "; ".join(lacking))
    first = free_row()
    ports = ["--first-port", str(first), "--mlflow-port", str(first + 10), "--dashboard-port", str(first + 11)]
    command("start", "--folder", str(folder), *ports, *options)
    return RunningStack(Layout(folder))


@pytest.fixture(scope="module")
def short_folder() -> Iterator[Path]:
    """Ray's sockets need short names."""
    folder = Path(tempfile.mkdtemp(prefix="stack-"))
    yield folder / "stack"
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def stack(short_folder: Path) -> Iterator[RunningStack]:
    """MLflow with accounts over PostgreSQL and S3, without Ray."""
    running = made_stack(short_folder, "--ray-nodes", "0")
    yield running
    running.command("remove", "--yes")


@pytest.fixture
def signed_in(stack: RunningStack, monkeypatch: pytest.MonkeyPatch) -> RunningStack:
    """This process has the account of the stack's user."""
    for name, value in stack.environment.items():
        if name.startswith("MLFLOW_"):
            monkeypatch.setenv(name, value)
    return stack


def listening(components: list[Component]) -> dict[str, list[str]]:
    """Addresses that the processes of each component listen on."""
    found: dict[str, list[str]] = {}
    for each in components:
        for pid in each.members():
            for socket in psutil.Process(pid).net_connections(kind="inet"):
                if socket.status in (psutil.CONN_LISTEN, psutil.CONN_NONE):
                    found.setdefault(each.name, []).append(str(socket.laddr.ip))
    return found


def files_with(folder: Path, secrets: dict[str, str], *, allowed: Callable[[Path], bool]) -> dict[str, str]:
    """Files below `folder` that hold a secret, and which, but for those that are allowed to."""
    found = {}
    for file in folder.rglob("*"):
        if file.is_file() and not file.is_symlink() and not allowed(file):
            held = file.read_bytes()
            found |= {str(file): name for name, secret in secrets.items() if secret.encode() in held}
    return found


def command_lines(components: list[Component]) -> str:
    """Of all processes of the components, as `ps` shows them to everyone."""
    pids = [pid for each in components for pid in each.members()]
    assert pids
    return "\n".join(
        Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ") for pid in pids if psutil.pid_exists(pid)
    )


def private(file: Path) -> bool:
    """Whether only its owner can open it."""
    return not file.stat().st_mode & 0o077
