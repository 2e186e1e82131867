"""Checkpoints that load without executing code: weights as safetensors, everything else as JSON or plain tensors.

A checkpoint is a folder: `checkpoint.json` (stage, config, epoch, step, metrics, data), one `<model>.safetensors` per
network, and `training.pt` (optimizers, and the weights as trained where the network's file has others, such as their
average; read with `weights_only=True`) for resuming exactly. Random state needs no file: it follows from the seed and
the epoch.

A folder may come from a stranger: what it says is compared before anything is made of it, so that a config of absurd
size is refused before a network of that size is built. No other file of it is opened.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import nn

from crystalsweep.artifacts.kept import KEPT, KEPT_STEP
from crystalsweep.artifacts.safe_json import read_json
from crystalsweep.artifacts.safe_load import (
    TensorEntry,
    described_tensors,
    read_tensors,
    require_same_tensors,
    tensors_of_pickle,
)
from crystalsweep.artifacts.sums import require_sum, require_sums
from crystalsweep.networks.architectures import BackboneConfig, backbone_config
from crystalsweep.networks.backbones import build_backbone
from crystalsweep.networks.cost import weightless
from crystalsweep.networks.models import Critic, Generator, PropertyModel
from crystalsweep.wording.mistakes import mistakes

CHECKPOINT_FORMAT = 2

TRAINING = "training.pt"
"""File of what resuming needs beside the weights."""

PROPERTY_WEIGHTS = "classifier.safetensors"
"""File of a property model."""

UNKNOWN, PUBLISHED = "unknown", "published"
"""Stages in a lineage: what nobody kept, and a published file whose name is told as `file`."""

_NETWORKS = ("generator", "classifier", "discriminator", "critic")
"""Those that a checkpoint may hold; all of one checkpoint have the same backbone, but for a discriminator whose size
the config tells."""

_BACKBONE = "backbone."


@dataclass(frozen=True, kw_only=True)
class CheckpointInfo:
    """The JSON part of a checkpoint."""

    stage: str
    """`pretrain`, `finetune`, `gan`, `critic` or `teach`, or one of somebody's own."""
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
    ancestry: list[dict[str, str]] | None = None
    """What it was started from, earliest first, as `lineage` gives it; None where nobody kept it."""
    format: int = CHECKPOINT_FORMAT
    """Version of this layout."""

    @property
    def kept_epoch(self) -> int:
        """Epoch whose weights these are: the best so far where the training keeps that, else the last."""
        kept = self.metrics.get(KEPT, self.epoch)
        return int(kept) if math.isfinite(kept) else self.epoch

    @property
    def kept_step(self) -> int:
        """Steps after that epoch; of a checkpoint that does not tell, all."""
        kept = self.metrics.get(KEPT_STEP, self.step)
        return int(kept) if math.isfinite(kept) else self.step


def save_checkpoint(
    folder: Path, info: CheckpointInfo, models: dict[str, nn.Module], training: dict[str, Any] | None = None
) -> None:
    """Write a checkpoint into an existing empty `folder`."""
    for name, model in models.items():
        state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
        save_file(state, folder / f"{name}.safetensors")
    if training is not None:
        torch.save(training, folder / TRAINING)
    (folder / "checkpoint.json").write_text(json.dumps(asdict(info), indent=2, sort_keys=True) + "\n")


def read_info(folder: Path) -> CheckpointInfo:
    """Return the JSON part. Raises `ValueError` when `folder` holds no checkpoint of this format."""
    path = folder / "checkpoint.json"
    try:
        content = read_json(path)
    except FileNotFoundError:
        raise ValueError(f"{folder} is not a checkpoint: it has no checkpoint.json") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} is no JSON object; copy or download the checkpoint again")
    if content.get("format") != CHECKPOINT_FORMAT:
        raise ValueError(
            f"{folder} has checkpoint format {content.get('format')!r}, this version reads {CHECKPOINT_FORMAT}"
        )
    require_sum(folder, path.name)
    known = {each.name: each for each in fields(CheckpointInfo)}
    if unknown := sorted(content.keys() - known.keys()):
        raise ValueError(f"{path} has the field {unknown[0]!r}, which format {CHECKPOINT_FORMAT} does not know")
    for name, each in known.items():
        if name not in content:
            if each.default is MISSING and each.default_factory is MISSING:
                raise ValueError(f"{path} has no field {name!r}; copy or download the checkpoint again")
        elif not _IS[str(each.type)](content[name]):
            raise ValueError(f"{path}: {name} is not {each.type}, but {str(content[name])[:60]!r}")
    return CheckpointInfo(**content)


def lineage(folders: Iterable[Path]) -> list[dict[str, str]]:
    """Return trainings that led to these checkpoints, they included: stage, data_sha256 and split_sha256 of each, once.

    Stage `UNKNOWN` stands for those that a checkpoint does not tell of.
    """
    found: list[dict[str, str]] = []
    for info in map(read_info, folders):
        found += [each for each in trainings(info) if each not in found]
    return found


def trainings(info: CheckpointInfo) -> list[dict[str, str]]:
    """Return the same for one checkpoint; its own training is the last."""
    own = {"stage": info.stage, "data_sha256": info.data_sha256, "split_sha256": info.split_sha256}
    before = [{"stage": UNKNOWN}] if info.ancestry is None else info.ancestry
    return [*(each for each in before if each != own), own]


def read_weights(folder: Path, model: str) -> dict[str, torch.Tensor]:
    """Return weights of the network called `model`, all finite.

    Raises `ValueError` when the checkpoint has none of that name, or when its file is damaged or hostile, or is not the
    one of which the checkpoint has a sum.
    """
    path = folder / f"{model}.safetensors"
    if not path.exists():
        names = sorted(p.stem for p in folder.glob("*.safetensors"))
        raise ValueError(f"{folder} has no {model!r} weights; it has {', '.join(names) or 'none at all'}")
    require_sum(folder, path.name)
    return read_tensors(path)


def read_training_state(folder: Path) -> dict[str, Any]:
    """Return states of the optimizers and what else resuming needs, by name, on the CPU; never executes code.

    Raises `ValueError` for any other file.
    """
    return tensors_of_pickle(folder / TRAINING)


def damage(folder: Path, epoch: int | None = None) -> str:
    """Return what is wrong with a checkpoint in which a training should go on, in a line; empty where it is whole.

    Its files are compared with their sums; where it has none, as older ones, each is read.

    Args:
        folder: The checkpoint.
        epoch: Whose it should be, where that is known.
    """
    try:
        summed = require_sums(folder)
        info = read_info(folder)
        if epoch is not None and info.epoch != epoch:
            return f"it is that of epoch {info.epoch}, not of {epoch}"
        if not summed:
            for path in sorted(folder.glob("*.safetensors")):
                read_tensors(path)
            read_training_state(folder)
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (ValueError, NotADirectoryError) as error:
        return " ".join(str(error).replace(f"{folder}/", "").replace(str(folder), "it").split())[:300]
    return ""


def read_backbone(folder: Path) -> BackboneConfig:
    """Return config of the backbone of a checkpoint's networks, which is the one that its weights have.

    Raises `ValueError` where it is not, before a network is built.
    """
    for path in _networks(folder):
        config, found = _backbone(folder, path.stem), described_tensors(path)
        _require_size(folder, config, found)
        own = {name: each for name, each in found.items() if name.startswith(_BACKBONE)}
        with _without_storage(folder):
            state = build_backbone(config).state_dict(prefix=_BACKBONE)
        require_same_tensors(path, own, state)
    return _backbone(folder)


def load_generator(folder: Path) -> Generator:
    """Load the generator of a checkpoint, in evaluation mode, on the CPU. Raises `ValueError` where there is none."""
    return _load(folder, "generator", Generator)


def load_critic(folder: Path) -> Critic | None:
    """Load the critic that judges a checkpoint's generator, in evaluation mode, on the CPU; None where it has none.

    Raises `ValueError` where its file is damaged or hostile.
    """
    return _load(folder, "critic", Critic) if (folder / "critic.safetensors").exists() else None


def load_property_model(folder: Path, outputs: int) -> PropertyModel:
    """Load the property model of a checkpoint, in evaluation mode, on the CPU. Raises `ValueError` where there is none,
    or where it has another number of outputs."""
    pooling = read_info(folder).config.get("pooling", "mean")
    if pooling not in ("mean", "sum"):
        raise ValueError(f"{folder / 'checkpoint.json'}: config.pooling is {str(pooling)[:40]!r}, not mean or sum")
    return _load(folder, "classifier", lambda config: PropertyModel(config, outputs, pooling))


M = TypeVar("M", bound=nn.Module)


def _load(folder: Path, name: str, network: Callable[[BackboneConfig], M]) -> M:
    config, path = _backbone(folder, name), folder / f"{name}.safetensors"
    if path.exists():
        found = described_tensors(path)
        _require_size(folder, config, found)
        with _without_storage(folder):
            state = network(config).state_dict()
        require_same_tensors(path, found, state)
    weights = read_weights(folder, name)
    model = network(config)
    model.load_state_dict(weights)
    return model.eval()


def _backbone(folder: Path, network: str = "generator") -> BackboneConfig:
    """Return the backbone that the config of a checkpoint tells, of one of its networks."""
    path, config = folder / "checkpoint.json", read_info(folder).config
    content = config.get("backbone")
    if not isinstance(content, dict):
        raise ValueError(f"{path}: config has no backbone")
    sizes = (
        {key: config.get(f"discriminator_{key}") for key in ("width", "layers")} if network == "discriminator" else {}
    )
    content = content | {key: size for key, size in sizes.items() if size is not None}
    try:
        return backbone_config(content)
    except ValidationError as error:
        raise ValueError(f"{path}: config.backbone: {mistakes(error, BackboneConfig, content)}") from None


def _networks(folder: Path) -> list[Path]:
    return [path for name in _NETWORKS if (path := folder / f"{name}.safetensors").exists()]


def _require_size(folder: Path, config: BackboneConfig, found: dict[str, TensorEntry]) -> None:
    """Check sizes, which is cheap: a layer has a tensor, a width as many weights, or the network is not theirs."""
    numbers = sum(math.prod(each.shape) for each in found.values())
    limits = {"layers": len(found), "max_neighbours": None}
    for name, value in config.model_dump().items():
        limit = limits.get(name, numbers)
        if isinstance(value, int) and limit is not None and value > limit:
            raise ValueError(
                f"{folder / 'checkpoint.json'}: config.backbone.{name} is {value:,}, too large for the "
                f"{numbers:,} weights that are there"
            )


@contextmanager
def _without_storage(folder: Path) -> Iterator[None]:
    """Make networks inside with their weights' names and shapes alone; random streams stay where they are."""
    try:
        with torch.random.fork_rng(devices=[]), weightless():
            yield
    except (MemoryError, OverflowError, RuntimeError) as error:
        reason = str(error).partition("\n")[0][:200]
        raise ValueError(f"{folder / 'checkpoint.json'} describes no network that can be built ({reason})") from None
    except ValueError as error:
        raise ValueError(f"{folder / 'checkpoint.json'}: config.backbone: {error}") from None


def _is_texts(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(each, str) for each in value.values())


_TOLD = ({"stage"}, {"stage", "file"}, {"stage", "data_sha256", "split_sha256"})
"""What a lineage says of a training: nothing, a published file, or its data."""

_IS: dict[str, Callable[[Any], bool]] = {
    "str": lambda value: isinstance(value, str),
    "int": lambda value: type(value) is int and 0 <= value < 1 << 53,
    "dict[str, Any]": lambda value: isinstance(value, dict),
    "dict[str, float]": lambda value: (
        isinstance(value, dict) and all(type(each) in (int, float) for each in value.values())
    ),
    "list[str]": lambda value: isinstance(value, list) and all(isinstance(each, str) for each in value),
    "list[dict[str, str]] | None": lambda value: (
        value is None or (isinstance(value, list) and all(_is_texts(each) and each.keys() in _TOLD for each in value))
    ),
}
"""Whether a value of JSON is of a field's type; whole numbers are counts."""
