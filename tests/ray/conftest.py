"""Real Ray, real MLflow: sweeps run as a user runs them, in their own processes."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 300
"""Seconds before a wait is given up."""


@dataclass
class Sweep:
    """A running `sweeps/gan_noise.py` and what it has left in its store."""

    storage: Path
    process: subprocess.Popen[str]
    log: Path

    def wait(self) -> int:
        return self.process.wait(PATIENCE)

    @property
    def output(self) -> str:
        return self.log.read_text()


def query(storage: Path, sql: str) -> list[tuple[object, ...]]:
    """Rows of the MLflow store; none while it does not exist."""
    database = storage / "mlflow.db"
    if not database.exists():
        return []
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30) as connection:
        try:
            return connection.execute(sql).fetchall()
        except sqlite3.OperationalError:  # tables are being made
            return []


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition; fails with what was waited for."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {PATIENCE} s for {what}")
        time.sleep(0.5)


def descendants(pid: int) -> dict[int, str]:
    """Command lines of all processes below `pid`, by pid."""
    parents, names = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
                names[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")
            except OSError:
                continue
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])

    def below(child: int) -> bool:
        while child in parents:
            child = parents[child]
            if child == pid:
                return True
        return False

    return {child: names[child] for child in parents if below(child)}


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One storage for all tests, so that prerequisites are trained once."""
    return tmp_path_factory.mktemp("store")


def _heed_ctrl_c() -> None:
    """As on a terminal; tests that run in the background of a script inherit that Ctrl-C is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def sweep(store: Path, tmp_path: Path) -> Iterator[Callable[..., Sweep]]:
    """Starts sweeps with the smoke preset; stops what a failed test leaves running."""
    started: list[Sweep] = []

    def start(*options: str) -> Sweep:
        log = tmp_path / f"sweep{len(started)}.log"
        command = [sys.executable, str(ROOT / "sweeps" / "gan_noise.py"), "--preset", "smoke", "--storage", str(store)]
        environment = {k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")}
        with log.open("w") as output:
            process = subprocess.Popen(
                [*command, *options],
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                cwd=tmp_path,
                env=environment,
                preexec_fn=_heed_ctrl_c,
            )
        started.append(Sweep(storage=store, process=process, log=log))
        return started[-1]

    yield start
    for running in started:
        if running.process.poll() is None:
            running.process.send_signal(signal.SIGINT)
            running.process.wait(60)
