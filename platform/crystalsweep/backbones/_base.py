"""The one interface of all backbones: species weights and a periodic graph in, scalars and l = 1 vectors out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from crystalsweep.graph import Graph
from crystalsweep.hyperparameters import BackboneConfig


class Features(NamedTuple):
    """What a backbone knows about each atom."""

    scalars: Tensor
    """(n, width) invariant."""
    vectors: Tensor
    """(n, 3, width) rotate and reflect with the crystal."""


def norm(vectors: Tensor) -> Tensor:
    """(n, width) lengths of (n, 3, width) vectors, with a finite gradient at zero."""
    return (vectors.square().sum(dim=1) + 1e-8).sqrt()


class Backbone(nn.Module, ABC):
    """An E(3)-equivariant network over periodic graphs."""

    average_degree: Tensor
    """Edges per atom in the training set; messages are scaled by it."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("average_degree", torch.tensor(float(config.max_neighbours)))

    @abstractmethod
    def forward(self, species: Tensor, graph: Graph) -> Features:
        """Features of the atoms of `graph`.

        `species` is (n, 119) rows of weights over mask token and elements: one-hot, or probabilities through which a
        gradient flows. Implementations must be differentiable in it and in the graph's positions.
        """
