"""Files and folders that appear at once and whole, and the names that they have until then.

Each such name tells which process is at it, and so whether it still is.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from crystalsweep.provenance import lives

PARTIAL = "partial-"
"""Begins such a name: `partial-epoch_00002-4711-0f3a…`, with the process id, and a host and a number of 8 digits."""

_NAME = re.compile(PARTIAL + r"(?P<target>.+)-(?P<pid>\d+)-(?P<host>[0-9a-f]{8})[0-9a-f]{8}")
_UNTOUCHED_S = 3600.0
"""How long a writer on another host may write nothing before it counts as dead."""

_under_way: set[str] = set()


def to_disk(file: Path) -> None:
    """Wait until a file's content is on the disk: else a power cut leaves names without it, and a network file system
    may not have said yet that it is full."""
    with file.open("rb+") as written:
        os.fsync(written)


@contextmanager
def partial_name(target: str) -> Iterator[str]:
    """Give a name that no other writer has, for what becomes `target`; at the end of the block this process is done."""
    name = f"{PARTIAL}{target}-{os.getpid()}-{_host()}{secrets.token_hex(4)}"
    _under_way.add(name)
    try:
        yield name
    finally:
        _under_way.discard(name)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a file to write beside `path`; at the end of the block it becomes `path` at once, if nothing failed."""
    with partial_name(path.name) as name:
        partial = path.with_name(name)
        try:
            yield partial
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def write_whole(path: Path, text: str, *, mode: int = 0o666) -> None:
    """Write a text file whole or not at all, with `mode` less the umask."""
    with whole_file(path) as partial:
        partial.touch(mode)
        partial.write_text(text, encoding="utf-8")


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def target_of(name: str) -> str | None:
    """Return what a partial folder was to become; None for a name that is no partial's."""
    match = _NAME.fullmatch(name)
    return match["target"] if match else None


def is_abandoned(folder: Path) -> bool:
    """Return whether the writer of a partial folder is no more: by its process id on this host, by age on another."""
    match = _NAME.fullmatch(folder.name)
    if match is None:
        return False
    if match["host"] != _host():
        return time.time() - _touched(folder) > _UNTOUCHED_S
    if int(match["pid"]) == os.getpid():
        return folder.name not in _under_way
    return not lives(int(match["pid"]))


def _touched(folder: Path) -> float:
    """Return when anything was last written there, in seconds since 1970."""
    times = [0.0]
    for path in (folder, *folder.rglob("*")):
        with suppress(OSError):  # freed meanwhile
            times.append(path.stat().st_mtime)
    return max(times)


def _host() -> str:
    """Return a digest of this host and, in a container, of its own process ids."""
    processes = ""
    with suppress(OSError):
        processes = str(Path("/proc/self/ns/pid").readlink())
    return hashlib.sha256(f"{socket.gethostname()} {processes}".encode()).hexdigest()[:8]
