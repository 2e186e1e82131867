"""Checkpoints of generators with random weights, for tests that need one and no training."""

from __future__ import annotations

from pathlib import Path

import torch

from crystalsweep.networks.architectures import BackboneConfig, size
from crystalsweep.networks.checkpoint import CheckpointInfo, save_checkpoint
from crystalsweep.networks.models import Generator


def random_checkpoint(folder: Path, seed: int, config: BackboneConfig | None = None, stage: str = "pretrain") -> Path:
    """Write a checkpoint into a new folder, and return it; by default of the smallest PaiNN."""
    folder.mkdir(parents=True)
    torch.manual_seed(seed)
    config = config or size("painn", "smoke")
    info = CheckpointInfo(
        stage=stage,
        config={"backbone": config.model_dump(mode="json")},
        epoch=1,
        step=1,
        data_sha256="0" * 64,
        split_sha256="0" * 64,
    )
    save_checkpoint(folder, info, {"generator": Generator(config)})
    return folder
