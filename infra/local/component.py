"""One server of the stack: a process that outlives the command that starts it, found again by pid and start time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from infra.local.layout import taken, write_private

_WAIT_S, _STOP_S = 180, 20


@dataclass(frozen=True)
class Component:
    """What runs, and how it is seen to answer. Its process leads a session of its own, in which its children stay."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    port: int
    pids: Path
    log: Path
    answers: Callable[[], bool]
    """Whether it does its work now; may raise OSError or a client's error while it comes up."""
    user: str | None = None
    folder: Path | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    remedy: str = "--first-port"
    """The option that moves its port."""
    again_s: float = 0
    """For so long one that ends is started again: processes that a killed one left may still hold its files."""

    @property
    def _pid_file(self) -> Path:
        return self.pids / f"{self.name}.json"

    @property
    def pid(self) -> int | None:
        """Of its process while that runs; a pid that was given to another process since is not it."""
        recorded = self._recorded()
        return recorded[0] if recorded and started(recorded[0]) == recorded[1] else None

    def members(self) -> list[int]:
        """Return the component's process, what is in its session or below it; where it was killed, what it left in its
        session."""
        recorded = self._recorded()
        if recorded is None or started(recorded[0]) not in (None, recorded[1]):
            return []
        leader, fields = recorded[0], {pid: stat for pid in processes() if (stat := _stat(pid)) and _runs(stat)}
        found = {pid for pid in fields if pid == leader or int(fields[pid][3]) == leader}
        while more := {pid for pid in fields if int(fields[pid][1]) in found} - found:
            found |= more
        return sorted(found, key=lambda pid: pid != leader)

    def start(self) -> bool:
        """Return whether it had to be started. Ends what a killed one left; ValueError where its port is another's."""
        if self.pid:
            return False
        self.stop()
        if taken(self.port):
            whose = f"port {self.port} of 127.0.0.1 is another program's"
            raise ValueError(f"{self.name}: {whose}; stop it, or choose another with {self.remedy}")
        with self.log.open("a") as output:
            process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(self.environment),
                cwd=self.folder,
                start_new_session=True,
                umask=0o077,
                user=self.user,
                group=self.user,
                extra_groups=[] if self.user else None,
            )
        write_private(self._pid_file, json.dumps({"pid": process.pid, "started": started(process.pid)}))
        return True

    def wait(self) -> None:
        """Wait until it answers. ValueError with the end of its log where it ends, or does not answer in three
        minutes."""
        begun = time.monotonic()
        deadline = begun + _WAIT_S
        while not self.works():
            if self.pid is None and time.monotonic() < begun + self.again_s:
                self.start()
            elif self.pid is None or time.monotonic() > deadline:
                how = "ended" if self.pid is None else f"did not answer in {_WAIT_S} s"
                said = "\n  ".join(self.log.read_text(errors="replace").splitlines()[-15:])
                raise ValueError(f"{self.name} {how}. The end of {self.log}:\n  {said}")
            time.sleep(0.2)

    def works(self) -> bool:
        """Return whether it answers now."""
        try:
            return self.pid is not None and self.answers()
        except Exception:  # each client has errors of its own for a server that is not up
            return False

    def stop(self) -> None:
        """End its process and what that started, and nothing else."""
        below = self._alive()
        if pid := self.pid:
            os.kill(pid, self.stop_signal)
            _wait_for(lambda: not _left(below), _STOP_S)
        self._end(below)
        self._pid_file.unlink(missing_ok=True)

    def kill(self) -> None:
        """Kill it with SIGKILL, as the kernel or a person in anger does it: its process and its children."""
        self._end(self._alive())

    def _alive(self) -> dict[int, int]:
        """Return a session's members, and when each began: some have sessions of their own and are not found below a
        dead leader."""
        return {pid: began for pid in self.members() if (began := started(pid)) is not None}

    def _end(self, below: dict[int, int]) -> None:
        below = below | self._alive()
        for pid in _left(below):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _wait_for(lambda: not _left(below), _STOP_S)

    def _recorded(self) -> tuple[int, int] | None:
        try:
            found = json.loads(self._pid_file.read_text())
            return int(found["pid"]), int(found["started"])
        except (OSError, ValueError, KeyError, TypeError):
            return None


def processes() -> Iterator[int]:
    """Yield the process ids of this machine."""
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def started(pid: int) -> int | None:
    """Return when a process began, in the kernel's ticks; None where there is none, or one that has ended."""
    fields = _stat(pid)
    return int(fields[19]) if fields and _runs(fields) else None


def _runs(fields: Sequence[str]) -> bool:
    return fields[0] not in "ZX"


def _stat(pid: int) -> list[str]:
    """Return fields of /proc/PID/stat from the third on: state, parent, group, session, …, start at 19."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _left(below: Mapping[int, int]) -> list[int]:
    return [pid for pid, began in below.items() if started(pid) == began]


def _wait_for(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
