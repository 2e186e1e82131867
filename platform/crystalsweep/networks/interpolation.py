"""Networks on the straight line between two of the same shape, such as a control and its adversarial sister.

θ = (1 − α) θ_control + α θ_adversarial (ESRGAN, doi:10.48550/arXiv.1809.00219; WiSE-FT, doi:10.48550/arXiv.2109.01903).
It works where both were trained from the same start, and so lie in one valley of the loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from crystalsweep.artifacts.sums import write_sums
from crystalsweep.networks.checkpoint import (
    CheckpointInfo,
    lineage,
    load_generator,
    read_backbone,
    read_info,
    save_checkpoint,
)
from crystalsweep.networks.models import Generator


def interpolated(first: Mapping[str, Tensor], second: Mapping[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """Return weights at `alpha` between the first (0) and the second (1); exactly theirs at the ends.

    Raises:
        ValueError: They are not of networks of the same shape, naming the first tensor that differs.
    """
    for name in sorted(first.keys() | second.keys()):
        if name not in first or name not in second or first[name].shape != second[name].shape:
            raise ValueError(f"two different networks: {name} is not alike in both")
    if alpha in (0.0, 1.0):
        return dict(second if alpha else first)
    return {name: value.lerp(second[name].to(value), alpha) for name, value in first.items()}


def generators_between(first: Path, second: Path, alphas: list[float]) -> dict[float, Generator]:
    """Return the generators at each α between those of two checkpoints, in evaluation mode.

    Raises:
        ValueError: A checkpoint has no generator, or the two have different networks.
    """
    networks = [read_backbone(folder) for folder in (first, second)]
    if networks[0].model_dump() != networks[1].model_dump():
        raise ValueError(f"{first} and {second} have different networks; interpolate between two of one shape")
    control, other = (load_generator(folder).state_dict() for folder in (first, second))
    between: dict[float, Generator] = {}
    for alpha in alphas:
        between[alpha] = Generator(networks[0])
        between[alpha].load_state_dict(interpolated(control, other, alpha))
        between[alpha].eval()
    return between


def save_between(folder: Path, generator: nn.Module, first: Path, second: Path) -> None:
    """Write a generator between those of two checkpoints as a checkpoint of its own, without metrics, into a new
    folder; it is a descendant of both."""
    control = read_info(first)
    info = CheckpointInfo(
        stage=control.stage,
        config=control.config,
        epoch=control.epoch,
        step=control.step,
        data_sha256=control.data_sha256,
        split_sha256=control.split_sha256,
        ancestry=lineage([first, second]),
    )
    folder.mkdir(parents=True)
    save_checkpoint(folder, info, {"generator": generator})
    write_sums(folder)
