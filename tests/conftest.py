"""What tests of several folders need from the machine."""

from __future__ import annotations

import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def ctrl_c() -> None:
    """Works as on a terminal; what a script starts with `&`, as CI may be, inherits that it is ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps the user's cache of data sets out of the tests, and theirs out of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CRYSTALSWEEP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def disk() -> Iterator[Callable[[str], Path]]:
    """Mounts a file system of a size, as `64m`, until the test ends; skips where the machine does not let us."""
    with ExitStack() as until_the_end:
        yield lambda size: until_the_end.enter_context(_mounted(size))


@contextmanager
def _mounted(size: str) -> Iterator[Path]:
    at = Path(tempfile.mkdtemp(prefix="disk-"))
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(at)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        at.rmdir()
        pytest.skip("needs the right to mount a file system")
    try:
        yield at
    finally:
        subprocess.run(["umount", "--lazy", at], check=True)  # Ray's processes may outlive a test by a second
        at.rmdir()
