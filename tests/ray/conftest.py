"""Real Ray, real MLflow: sweeps run as a user runs them, in their own processes."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 900
"""Seconds before a wait is given up; beside much other work a sweep takes five minutes to its first epochs."""


@dataclass
class Sweep:
    """A running sweep file and what it leaves in its storage."""

    storage: Path
    process: subprocess.Popen[str]
    log: Path

    def wait(self, patience: float = PATIENCE) -> int:
        return self.process.wait(patience)

    @property
    def output(self) -> str:
        return self.log.read_text()

    @property
    def folder(self) -> Path:
        """Of the sweep that was begun last in this storage."""
        return max(self.storage.glob("sweeps/*/sweep.json"), key=lambda found: found.parent.name[-15:]).parent

    def below(self, title: str) -> list[int]:
        """Processes of this sweep whose title contains `title`, by age."""
        return sorted(pid for pid, command in descendants(self.process.pid).items() if title in command)

    def reached(self, key: str, epoch: int) -> bool:
        """Whether the training has told an epoch that is no earlier."""
        told = re.findall(rf"^ .*\b{key}\b.* epoch (\d+)/", self.output, flags=re.MULTILINE)
        return any(int(found) >= epoch for found in told)


def query(storage: Path, sql: str) -> list[tuple[object, ...]]:
    """Rows of the MLflow store; none while it does not exist."""
    database = storage / "mlflow.db"
    if not database.exists():
        return []
    with sqlite3.connect(f"file:{database}?mode=rw", uri=True, timeout=30) as connection:
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
    """One storage for all tests that need prerequisites, so that these are trained once."""
    return tmp_path_factory.mktemp("store")


class Starter:
    """Starts sweep files with the smoke preset, each in a process of its own."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self.started: list[Sweep] = []

    def __call__(self, file: str | Path, storage: Path | str, *options: str, **environment: str) -> Sweep:
        """A sweep file by its name in `sweeps/`, or by its path."""
        path = file if isinstance(file, Path) else ROOT / "sweeps" / f"{file}.py"
        asked = [] if "--resume" in options else ["--preset", "smoke"]
        command = [sys.executable, str(path), *asked, "--storage", str(storage), *options]
        log = self._logs / f"sweep{len(self.started)}.log"
        alone = {k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")}
        with log.open("w") as output:
            process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                cwd=self._logs,
                env=alone | environment,
            )
        self.started.append(Sweep(storage=Path(storage), process=process, log=log))
        return self.started[-1]

    def stop(self) -> None:
        """What a failed test leaves running."""
        for running in self.started:
            if running.process.poll() is None:
                running.process.send_signal(signal.SIGINT)
                running.process.wait(60)


@pytest.fixture
def sweep(tmp_path: Path) -> Iterator[Starter]:
    """Starts sweeps for one test."""
    starter = Starter(tmp_path)
    yield starter
    starter.stop()


def end_of(below: Iterable[int]) -> None:
    """Wait until these processes are gone."""
    pids = list(below)
    until(lambda: not [pid for pid in pids if Path(f"/proc/{pid}").exists()], "processes to end")
