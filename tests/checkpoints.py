"""Checkpoints with random weights, for tests that need one and no training."""

from __future__ import annotations

from pathlib import Path

import torch

from crystalsweep.inference.target_records import TargetRecord, write_targets
from crystalsweep.networks.architectures import BackboneConfig, size
from crystalsweep.networks.checkpoint import CheckpointInfo, save_checkpoint
from crystalsweep.networks.models import Generator, PropertyModel


def random_checkpoint(folder: Path, seed: int, config: BackboneConfig | None = None, stage: str = "pretrain") -> Path:
    """Write a checkpoint into a new folder, and return it; by default of the smallest PaiNN."""
    folder.mkdir(parents=True)
    torch.manual_seed(seed)
    config = config or size("painn", "smoke")
    save_checkpoint(folder, _info(stage, config), {"generator": Generator(config)})
    return folder


def random_property_model(folder: Path, seed: int, *records: TargetRecord) -> Path:
    """Write a property model's checkpoint into a new folder, and return it."""
    folder.mkdir(parents=True)
    torch.manual_seed(seed)
    config = size("painn", "smoke")
    network = PropertyModel(config, sum(record.outputs for record in records), "mean")
    save_checkpoint(folder, _info("finetune", config), {"classifier": network})
    write_targets(folder, records)
    return folder


def _info(stage: str, config: BackboneConfig) -> CheckpointInfo:
    return CheckpointInfo(
        stage=stage,
        config={"backbone": config.model_dump(mode="json")},
        epoch=1,
        step=1,
        data_sha256="0" * 64,
        split_sha256="0" * 64,
    )
