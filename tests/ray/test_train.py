"""`crystalsweep train` on several Ray Train workers: one may die, and a full disk ends the run in one line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from crystalsweep.artifacts.checkpoint_store import CheckpointStore
from crystalsweep.networks.checkpoint import load_generator, read_info
from tests.ray.conftest import PATIENCE, descendants, until

pytestmark = pytest.mark.long


def started(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "crystalsweep", "train", *arguments, "--preset", "smoke"],
        cwd=folder,
        env={k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(process: subprocess.Popen[str], code: int = 0) -> str:
    try:
        output, _ = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == code, output
    return output


def train(folder: Path, *arguments: str) -> str:
    return ended(started(folder, *arguments))


def rows(folder: Path) -> list[dict[str, float]]:
    path = folder / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_gan_trains_on_two_workers_of_which_one_is_killed(tmp_path: Path) -> None:
    """From checkpoints made alone, with every setting of a step that workers share."""
    shared = ("clip_norm=1", "ema_decay=0.9", "keep_best=true", "batch_atoms=100", "ahead=1", "optimizer=adamw")
    train(tmp_path, "pretrain", "--out", "g")
    train(tmp_path, "finetune", "--generator", "g", "--out", "d")
    inputs = ("--generator", "g", "--discriminator", "d", "--out", "gan", "--workers", "2", "--set", "epochs=4")
    process = started(tmp_path, "gan", *inputs, *(part for each in shared for part in ("--set", each)))
    until(lambda: rows(tmp_path / "gan"), "the first epoch")
    workers = [pid for pid, name in descendants(process.pid).items() if "RayTrainWorker" in name]
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    output = ended(process)
    assert [f"epoch {epoch}:" in output for epoch in (1, 2, 3, 4)] == [True] * 4
    assert "ceiling" in output
    found = rows(tmp_path / "gan")
    assert [row["epoch"] for row in found] == [1, 2, 3, 4]
    assert all(row["audit/adversarial_norm"] > 0 for row in found)
    assert all(row["grad_norm/generator/max"] >= row["grad_norm/generator"] > 0 for row in found)
    best = max(found, key=lambda row: (row["val/score"], -row["epoch"]))
    assert (found[-1]["kept_epoch"], read_info(tmp_path / "gan" / "epoch_00004").kept_epoch) == (best["epoch"],) * 2
    assert [row["epoch"] for row in CheckpointStore(tmp_path / "gan").history()] == [1, 2, 3, 4]
    load_generator(tmp_path / "gan" / "epoch_00004")


@pytest.fixture
def small_disk(disk: Callable[[str], Path]) -> Path:
    """With room for one checkpoint of the smoke preset."""
    return disk("240k")


def test_a_full_disk_ends_the_run_in_one_line_and_it_can_be_resumed(small_disk: Path) -> None:
    command = ("pretrain", "--out", "run", "--workers", "2")
    output = ended(started(small_disk, *command), code=1)
    assert "Error: storage: cannot use the storage" in output
    assert "No space left on device; free some space there, then resume" in output
    assert "Traceback" not in output
    assert CheckpointStore(small_disk / "run").epochs() == [1]
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    assert "epoch 2:" in train(small_disk, *command, "--resume")
    assert [row["epoch"] for row in rows(small_disk / "run")] == [1, 2]
