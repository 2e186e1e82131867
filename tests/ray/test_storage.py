"""A sweep whose storage is full, then read-only: one line each time, and it goes on once there is room."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ray.conftest import Starter, until
from tests.ray.remains import require_whole

pytestmark = pytest.mark.long

EPOCHS = 24


def fill(small: Path) -> Path:
    """A file that takes all the room there is."""
    filler = small / "filler"
    with filler.open("wb", buffering=0) as out:
        try:
            while True:
                out.write(bytes(4096))
        except OSError:
            return filler


def test_a_sweep_outlives_a_full_disk_and_a_read_only_one(disk: Callable[[str], Path], sweep: Starter) -> None:
    small = disk("64m")
    full = sweep("w_pos", small, "--num-samples", "3", "--set", f"epochs={EPOCHS}", "--set", "max_crystals=32")
    until(lambda: full.reached("0000-s0", 3), "some epochs")
    filler = fill(small)
    assert full.wait() == 1, full.output
    errors = [line for line in full.output.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    checkpoint, ledger = (
        "No space left on device; free some space there, then resume",
        "; free some and --resume w_pos-",
    )
    assert checkpoint in errors[0] or ("no space left in " in errors[0] and ledger in errors[0])  # whichever is first
    assert "Traceback" not in full.output

    subprocess.run(["mount", "-o", "remount,ro", small], check=True)
    frozen = sweep("w_pos", small, "--resume", "latest")
    assert frozen.wait() == 1
    (line,) = [line for line in frozen.output.splitlines() if line.strip()]
    assert line.startswith("Error: ")
    assert "Read-only file system" in line

    subprocess.run(["mount", "-o", "remount,rw", small], check=True)
    filler.unlink()
    freed = sweep("w_pos", small, "--resume", "latest")
    assert freed.wait() == 0, freed.output
    require_whole(freed.folder, {f"{number:04d}-s0" for number in range(3)}, EPOCHS)
