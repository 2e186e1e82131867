"""A sweep whose storage is full, then read-only: one line each time, and it goes on once there is room."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ray.conftest import Starter, until
from tests.ray.remains import require_whole

pytestmark = pytest.mark.long

EPOCHS = 24


@pytest.fixture
def disk() -> Iterator[Path]:
    """A file system of its own, where the machine lets us mount one."""
    at = Path(tempfile.mkdtemp(prefix="disk-"))
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(at)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        at.rmdir()
        pytest.skip("needs the right to mount a file system")
    try:
        yield at
    finally:
        subprocess.run(["umount", "--lazy", at], check=True)
        at.rmdir()


def fill(disk: Path) -> Path:
    """A file that takes all the room there is."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as out:
        try:
            while True:
                out.write(bytes(4096))
        except OSError:
            return filler


def test_a_sweep_outlives_a_full_disk_and_a_read_only_one(disk: Path, sweep: Starter) -> None:
    full = sweep("w_pos", disk, "--num-samples", "3", "--set", f"epochs={EPOCHS}", "--set", "max_crystals=32")
    until(lambda: full.reached("0000-s0", 3), "some epochs")
    filler = fill(disk)
    assert full.wait() == 1, full.output
    errors = [line for line in full.output.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert "No space left on device; free some space there, then resume" in errors[0]
    assert "Traceback" not in full.output

    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    frozen = sweep("w_pos", disk, "--resume", "latest")
    assert frozen.wait() == 1
    (line,) = [line for line in frozen.output.splitlines() if line.strip()]
    assert line.startswith("Error: ")
    assert "Read-only file system" in line

    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    filler.unlink()
    freed = sweep("w_pos", disk, "--resume", "latest")
    assert freed.wait() == 0, freed.output
    require_whole(freed.folder, {f"{number:04d}-s0" for number in range(3)}, EPOCHS)
