"""`crystalsweep train` on several Ray Train workers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from crystalsweep.checkpoint import load_generator
from tests.ray.conftest import PATIENCE

pytestmark = pytest.mark.slow


def train(folder: Path, *arguments: str) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    ran = subprocess.run(
        [sys.executable, "-m", "crystalsweep", "train", *arguments, "--preset", "smoke"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_gan_trains_on_two_workers_from_checkpoints_made_alone(tmp_path: Path) -> None:
    train(tmp_path, "pretrain", "--out", "g")
    train(tmp_path, "finetune", "--generator", "g", "--out", "d")
    output = train(tmp_path, "gan", "--generator", "g", "--discriminator", "d", "--out", "gan", "--workers", "2")
    assert "epoch 2" in output
    assert "ceiling" in output
    rows = [json.loads(line) for line in (tmp_path / "gan" / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    assert all(row["audit/adversarial_norm"] > 0 for row in rows)
    load_generator(tmp_path / "gan" / "epoch_00002")
