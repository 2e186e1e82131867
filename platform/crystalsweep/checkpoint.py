"""Checkpoints that load without executing code: weights as safetensors, everything else as JSON or plain tensors.

A checkpoint is a folder: `checkpoint.json` (stage, config, epoch, step, metrics, data), one `<model>.safetensors` per
network, and `training.pt` (optimizers, read with `weights_only=True`) for resuming exactly. Random state needs no
file: it follows from the seed and the epoch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from crystalsweep.architectures import BackboneConfig, backbone_config
from crystalsweep.models import Generator

FORMAT = 2


@dataclass(frozen=True, kw_only=True)
class CheckpointInfo:
    """The JSON part of a checkpoint."""

    stage: str
    """`pretrain`, `finetune` or `gan`."""
    config: dict[str, Any]
    """The stage's config, as JSON."""
    epoch: int
    """Epochs completed."""
    step: int
    """Optimizer steps completed (of the generator, in the GAN stage)."""
    data_sha256: str
    """Fingerprint of the data set."""
    split_sha256: str
    """Fingerprint of its split."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Those of the last epoch."""
    dropped: list[str] = field(default_factory=list)
    """Tensors of the checkpoints it started from that did not fit, such as heads of another task."""
    ancestry: list[dict[str, str]] = field(default_factory=list)
    """What it was started from, earliest first, as `lineage` gives it."""
    format: int = FORMAT
    """Version of this layout."""


def save_checkpoint(
    folder: Path, info: CheckpointInfo, models: dict[str, nn.Module], training: dict[str, Any] | None = None
) -> None:
    """Write a checkpoint into an existing empty `folder`."""
    for name, model in models.items():
        state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
        save_file(state, folder / f"{name}.safetensors")
    if training is not None:
        torch.save(training, folder / "training.pt")
    (folder / "checkpoint.json").write_text(json.dumps(asdict(info), indent=2, sort_keys=True) + "\n")


def read_info(folder: Path) -> CheckpointInfo:
    """The JSON part. Raises `ValueError` when `folder` holds no checkpoint of this format."""
    try:
        content = json.loads((folder / "checkpoint.json").read_text())
    except FileNotFoundError:
        raise ValueError(f"{folder} is not a checkpoint: it has no checkpoint.json") from None
    if content.get("format") != FORMAT:
        raise ValueError(f"{folder} has checkpoint format {content.get('format')}, this version reads {FORMAT}")
    return CheckpointInfo(**content)


def lineage(folders: Iterable[Path]) -> list[dict[str, str]]:
    """Trainings that led to these checkpoints, they included: stage, data_sha256 and split_sha256 of each, once."""
    found: list[dict[str, str]] = []
    for info in map(read_info, folders):
        own = {"stage": info.stage, "data_sha256": info.data_sha256, "split_sha256": info.split_sha256}
        found += [each for each in (*info.ancestry, own) if each not in found]
    return found


def read_weights(folder: Path, model: str) -> dict[str, torch.Tensor]:
    """Weights of the network called `model`. Raises `ValueError` when the checkpoint has none of that name."""
    path = folder / f"{model}.safetensors"
    if not path.exists():
        names = sorted(p.stem for p in folder.glob("*.safetensors"))
        raise ValueError(f"{folder} has no {model!r} weights; it has {', '.join(names) or 'none at all'}")
    return load_file(path)


def read_training_state(folder: Path) -> dict[str, Any]:
    """States of the optimizers by name, on the CPU; never executes code."""
    state: dict[str, Any] = torch.load(folder / "training.pt", map_location="cpu", weights_only=True)
    return state


def read_backbone(folder: Path) -> BackboneConfig:
    """Config of the backbone that a checkpoint's networks share."""
    return backbone_config(read_info(folder).config["backbone"])


def load_generator(folder: Path) -> Generator:
    """The generator of a `pretrain` or `gan` checkpoint, in evaluation mode, on the CPU."""
    model = Generator(read_backbone(folder))
    model.load_state_dict(read_weights(folder, "generator"))
    return model.eval()
