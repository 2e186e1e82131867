"""The one interface of all backbones: species weights and a periodic graph in, scalars and l = 1 vectors out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from crystalsweep.networks.architectures import BackboneConfig
from crystalsweep.networks.backbones._compile import compiled
from crystalsweep.structures.graph import Graph

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Features:
    """What a backbone knows about each atom."""

    scalars: Tensor
    """(n, width) invariant."""
    vectors: Tensor
    """(n, 3, width) rotate and reflect with the crystal."""

    def __iter__(self) -> Iterator[Tensor]:
        """Yield scalars, then vectors."""
        return iter((self.scalars, self.vectors))


def norm(vectors: Tensor) -> Tensor:
    """Return (n, width) lengths of (n, 3, width) vectors, with a finite gradient at zero."""
    return (vectors.square().sum(dim=1) + 1e-8).sqrt()


class ScalarHead(nn.Module):
    """Invariant outputs per atom, from its scalars and the lengths of its vectors."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(2 * width), nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, outputs)
        )

    def forward(self, features: Features) -> Tensor:
        """Return (n, outputs) invariants."""
        logits: Tensor = self.layers(torch.cat([features.scalars, norm(features.vectors)], dim=-1))
        return logits


class VectorHead(nn.Module):
    """One vector per atom: its vectors, gated by its scalars and summed over channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.sum = nn.Linear(width, 1, bias=False)

    def forward(self, features: Features) -> Tensor:
        """Return (n, 3) vectors."""
        vector: Tensor = self.sum(features.vectors * self.gate(features.scalars)[:, None])
        return vector.squeeze(-1)


class Backbone(nn.Module, ABC):
    """An E(3)-equivariant network over periodic graphs."""

    gains_compiled: ClassVar[bool] = False
    """Whether compiled blocks were measured to be faster on a CPU."""
    in_blocks: ClassVar[bool] = False
    """Whether messages go in blocks of edges on a CPU, so that memory grows evenly only once a batch fills many."""
    average_degree: Tensor
    """Edges per atom in the training set; messages are scaled by it."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.config = config
        self.compiles = config.compile is True
        """Whether blocks are compiled where gradients are asked for; of `auto` the training decides."""
        self._compiled: dict[Callable[..., Any], Callable[..., Any]] = {}
        self.register_buffer("average_degree", torch.tensor(float(config.max_neighbours)))

    @abstractmethod
    def forward(self, species: Tensor, graph: Graph) -> Features:
        """Return features of the atoms of `graph`.

        `species` is (n, 119) rows of weights over mask token and elements: one-hot, or probabilities through which a
        gradient flows. Implementations must be differentiable in it and in the graph's positions.
        """

    def scalar_head(self, outputs: int) -> nn.Module:
        """Make the head from this backbone's features to (n, outputs) invariants."""
        return ScalarHead(self.config.width, outputs)

    def vector_head(self) -> nn.Module:
        """Make the head from this backbone's features to (n, 3) vectors."""
        return VectorHead(self.config.width)

    def run(self, block: Callable[..., T], *arguments: Any) -> T:
        """Return `block(*arguments)`, where gradients are asked for compiled, and with its activations recomputed in
        the backward pass, if so set."""
        if self.compiles and torch.is_grad_enabled():
            if block not in self._compiled:
                self._compiled[block] = compiled(block)
            block = self._compiled[block]
        if not self.config.activation_checkpointing or not torch.is_grad_enabled():
            return block(*arguments)
        result: T = checkpoint(block, *arguments, use_reentrant=False)
        return result

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_compiled": {}}  # those are over this network's blocks, not over a copy's

    def autocast(self) -> torch.autocast:
        """Return the precision that the config asks for, to run this backbone and its heads in."""
        device = self.average_degree.device.type
        return torch.autocast(device, torch.bfloat16, enabled=self.config.precision == "bf16")
