"""Optimizers as settings ask for them, and one update: gradient, clipping, step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Adam, AdamW, Optimizer

from crystalsweep.structures.crystal import N_SPECIES
from crystalsweep.training.config import StageConfig

BETAS = (0.9, 0.999)
"""Adam's own."""


def optimizer_of(
    model: nn.Module,
    config: StageConfig,
    learning_rate: float,
    betas: tuple[float, float] = BETAS,
    factors: Mapping[str, float] | None = None,
) -> Optimizer:
    """Make the optimizer of what in `model` requires a gradient; its groups remember their first learning rate, which
    a schedule scales.

    Args:
        model: The network.
        config: Names the optimizer and the decay of weights.
        learning_rate: Before the schedule.
        betas: Of Adam.
        factors: What the learning rate of each weight is multiplied with, by its name; 1 where left out.
    """
    known = factors or {}
    told = [
        {**group, "lr": learning_rate * factor, "initial_lr": learning_rate * factor}
        for factor, weights in _by_factor(model, known).items()
        for group in _groups(model, weights, config.weight_decay)
    ]
    if config.optimizer == "adamw":
        return AdamW(told, lr=learning_rate, betas=betas, weight_decay=config.weight_decay, fused=True)
    return Adam(told, lr=learning_rate, betas=betas, fused=True)  # fused: one pass over the weights


def set_rates(optimizers: Iterable[Optimizer], factor: float) -> None:
    """Make every learning rate so many times its first one."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor


def descend(optimizer: Optimizer, loss: Tensor, clip_norm: float | None) -> Tensor | None:
    """Make one step against the gradient of a scalar loss; returns the gradient's norm before clipping to
    `clip_norm`, on the device, where there is one."""
    optimizer.zero_grad()
    loss.backward()
    norm = None
    if clip_norm is not None:
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        norm = clip_grad_norm_(parameters, clip_norm, foreach=True)
    optimizer.step()
    return norm


def _by_factor(model: nn.Module, factors: Mapping[str, float]) -> dict[float, list[Tensor]]:
    """Return what is trained by the factor of its learning rate, in the order of the network."""
    found: dict[float, list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            found.setdefault(factors.get(name, 1.0), []).append(parameter)
    return found


def _groups(model: nn.Module, trained: list[Tensor], weight_decay: float) -> list[dict[str, Any]]:
    """Return one group, or where weights decay two: matrices, and apart biases, norms and embeddings, which do not."""
    if not weight_decay:
        return [{"params": trained}]
    embeddings = {id(weight) for weight in _embeddings(model)}
    decay = [p for p in trained if p.ndim > 1 and id(p) not in embeddings]
    rest = [p for p in trained if p.ndim < 2 or id(p) in embeddings]
    groups = [{"params": decay, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def _embeddings(model: nn.Module) -> Iterator[Tensor]:
    """Yield weights that are rows by species, as tables or as what multiplies one-hot rows."""
    for module in model.modules():
        if isinstance(module, nn.Embedding) or (isinstance(module, nn.Linear) and module.in_features == N_SPECIES):
            yield module.weight
