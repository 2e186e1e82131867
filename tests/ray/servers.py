"""Servers on ports of this machine that tests start, kill and start again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ray.conftest import until

BIN = Path(sys.executable).parent


RAYS_OWN = {6379, 8265, 10001, 52365}
"""Ports that Ray takes unless told otherwise, one of which the system may give as free."""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = int(listener.getsockname()[1])
    return free_port() if port in RAYS_OWN else port


def answers(port: int) -> bool:
    with socket.socket() as caller:
        caller.settimeout(1)
        return caller.connect_ex(("127.0.0.1", port)) == 0


class Server:
    """A command that listens on `port`, in a process group of its own."""

    def __init__(self, command: list[str], port: int, log: Path) -> None:
        self.port, self.address, self._command, self._log = port, f"http://127.0.0.1:{port}", command, log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("a") as output:
            process = subprocess.Popen(self._command, stdout=output, stderr=output, start_new_session=True)
        self._process = process
        until(lambda: answers(self.port) or process.poll() is not None, "a server")
        if process.poll() is not None:
            pytest.fail(self._log.read_text())

    def kill(self) -> None:
        """With kill -9, its own workers too."""
        if self._process:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = None


def mlflow_server(folder: Path) -> Server:
    """An MLflow server whose database and artifacts are in `folder`; not started yet."""
    port = free_port()
    stores = ["--backend-store-uri", f"sqlite:///{folder / 'server.db'}"]
    stores += ["--artifacts-destination", str(folder / "artifacts")]
    command = [str(BIN / "mlflow"), "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1", *stores]
    return Server(command, port, folder / "server.log")
