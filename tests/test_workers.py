"""Two workers without Ray: what they agree on, and that they resume exactly."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from crystalsweep.networks.checkpoint import read_weights

pytestmark = pytest.mark.server

SETTINGS = ["epochs=4", "width=8", "layers=1", "max_crystals=24", "batch_atoms=40", "learning_rate=0.01", "clip_norm=1"]
SETTINGS += ["evaluation.max_crystals=2", "ema_decay=0.9", "optimizer=adamw", "weight_decay=0.01", "ahead=2"]
SETTINGS += ["schedule=cosine", "schedule_by=step", "warmup_steps=4", "keep_best=true", "g_steps_per_d_step=2"]

WORKER = """
import gc, json, sys
from datetime import timedelta
from pathlib import Path
import torch
from torch.nn.parallel import DistributedDataParallel
from crystalsweep.config import override
from crystalsweep.data import load_data
from crystalsweep.training.catalogue import preset, stage_builder
from crystalsweep.training.local import LocalSession
from crystalsweep.training.loop import fit

class Session(LocalSession):
    world_size = 2
    def __init__(self, folder, rank, resume):
        super().__init__(folder, device="cpu", progress=False, resume=resume)
        self.rank = rank
    def wrap(self, model):
        return DistributedDataParallel(model)
    def history(self):
        return super().history() if self.rank == 0 else []
    def report(self, metrics, write_checkpoint, last):
        if self.rank == 0:
            super().report(metrics, write_checkpoint, last)
        torch.distributed.barrier()

rank, folder, resume, settings = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "resume", json.loads(sys.argv[4])
meeting = f"file://{folder}.{sys.argv[3]}.meeting"
torch.distributed.init_process_group(
    "gloo", init_method=meeting, rank=rank, world_size=2, timeout=timedelta(seconds=100)
)
session = Session(folder, rank, resume)
stage = stage_builder("gan")(override(preset("gan", "smoke"), settings), load_data("bundled"), session, {})
fit(stage, session)
torch.distributed.barrier()
torch.save(stage.models["generator"].state_dict(), f"{folder}.{rank}.pt")
del stage, session  # the models that talk through the group go before it: else a process may abort at its end
gc.collect()
torch.distributed.destroy_process_group()
"""


def trained(folder: Path, *more: str, resume: bool = False) -> list[dict[str, float]]:
    """The rows of a GAN trained by two processes."""
    folder.mkdir(exist_ok=True)
    told = [str(folder), "resume" if resume else "begin", json.dumps([*SETTINGS, *more])]
    command = [sys.executable, "-W", "ignore", "-c", WORKER]
    pair = [subprocess.Popen([*command, str(rank), *told], stderr=subprocess.PIPE, text=True) for rank in (0, 1)]
    try:
        errors = [process.communicate(timeout=240)[1] for process in pair]
    finally:
        [process.kill() for process in pair]
    assert [process.returncode for process in pair] == [0, 0], "\n".join(errors)
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_two_workers_train_alike_and_resume_exactly(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole")
    assert [row["epoch"] for row in whole] == [1, 2, 3, 4]
    assert all(row["grad_norm/generator/max"] > row["grad_norm/generator"] > 0 for row in whole)
    best = max(whole, key=lambda row: (row["val/score"], -row["epoch"]))
    assert whole[-1]["kept_epoch"] == best["epoch"]
    first, second = (torch.load(f"{tmp_path / 'whole'}.{rank}.pt") for rank in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert len(trained(tmp_path / "cut", "max_minutes=1e-9")) == 1
    assert trained(tmp_path / "cut", resume=True) == whole
    checkpoints = [read_weights(tmp_path / name / "checkpoint", "generator") for name in ("whole", "cut")]
    assert all(torch.equal(value, checkpoints[1][name]) for name, value in checkpoints[0].items())


def test_two_workers_stop_together_when_patience_is_over(tmp_path: Path) -> None:
    rows = trained(tmp_path / "run", "best_by=step", "best_mode=min", "patience=1")
    assert [(row["epoch"], row["kept_epoch"]) for row in rows] == [(1, 1), (2, 1)]
