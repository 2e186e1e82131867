"""PaiNN as others write it, for `training_step.py`: as its equations read, and schnetpack's."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch_geometric.utils import scatter

from crystalsweep.networks.architectures import PaiNNConfig
from crystalsweep.networks.backbones._base import Features, ScalarHead, VectorHead
from crystalsweep.networks.backbones.painn import BesselBasis, Message, PaiNN
from crystalsweep.networks.models import Generator
from crystalsweep.structures.crystal import N_ELEMENTS
from crystalsweep.structures.graph import Graph

SCHNETPACK = "schnetpack==2.1.1"


@dataclass(frozen=True)
class Plain:
    """PaiNN as this project had it until November 2026: every edge's filter, message and vectors as whole tensors."""

    config: PaiNNConfig


@dataclass(frozen=True)
class Schnetpack:
    """PaiNN of `SCHNETPACK`, with this project's edges and heads."""

    config: PaiNNConfig


def plain_message(
    self: Message, scalars: Tensor, vectors: Tensor | None, graph: Graph, basis: Tensor, unit: Tensor
) -> Features:
    """Return sums over each atom's neighbours, in place of `Message.forward`."""
    functions, envelope = basis[:, :-1], basis[:, -1:]
    content = self.content(self.norm(scalars))[graph.src]
    scalar, gate, direction = (content * self.filter(functions) * envelope).chunk(3, dim=-1)
    given = scalars.new_zeros(len(scalars), 3, scalars.shape[1]) if vectors is None else vectors
    vector = given[graph.src] * gate[:, None] + unit[:, :, None] * direction[:, None]
    n = len(scalars)
    return Features(scatter(scalar, graph.dst, dim_size=n), scatter(vector, graph.dst, dim_size=n))


def plain_basis(self: BesselBasis, distance: Tensor) -> Tensor:
    """Return (E, K + 1) functions of the distance, not under the envelope, and the envelope; for `plain_message`."""
    x = (distance / self.cutoff)[:, None]
    basis = math.sqrt(2 / self.cutoff) * torch.sin(self.frequencies * x) / distance[:, None]
    envelope = 1 - 28 * x**6 + 48 * x**7 - 21 * x**8
    return torch.cat([basis, envelope.masked_fill(x >= 1, 0.0)], dim=1)


def plain_generator(config: PaiNNConfig) -> Generator:
    """Return a generator whose messages are plain."""
    model = Generator(config.model_copy(update={"compile": False}))
    backbone = cast(PaiNN, model.backbone)
    backbone.radial.forward = plain_basis.__get__(backbone.radial)  # type: ignore[method-assign]
    for message in backbone.messages:
        message.forward = plain_message.__get__(message)  # type: ignore[method-assign]
    return model


class SchnetGenerator(nn.Module):
    """schnetpack's PaiNN with the heads that our backbones have."""

    def __init__(self, config: PaiNNConfig) -> None:
        super().__init__()
        from schnetpack.nn import BesselRBF, CosineCutoff
        from schnetpack.representation.painn import PaiNN as Theirs

        radial, cutoff = BesselRBF(config.radial_functions, config.cutoff), CosineCutoff(config.cutoff)
        embedding = nn.Embedding(N_ELEMENTS + 1, config.width)
        self.network = Theirs(config.width, config.layers, radial, cutoff, nuclear_embedding=embedding)
        self.heads = nn.ModuleList([ScalarHead(config.width, N_ELEMENTS), VectorHead(config.width)])

    def forward(self, species: Tensor, graph: Graph) -> tuple[Tensor, Tensor]:
        """Return (n, 118) logits and (n, 3) vectors for (n,) species."""
        inputs = {"_atomic_numbers": species, "_Rij": graph.edge_vectors(), "_idx_i": graph.dst, "_idx_j": graph.src}
        found = self.network(inputs)
        features = Features(found["scalar_representation"], found["vector_representation"])
        return self.heads[0](features), self.heads[1](features)


def load_schnetpack(folder: Path) -> None:
    """Make schnetpack's networks importable, without the packages that its own `__init__` imports for training."""
    sys.path.insert(0, str(folder))
    for name in ("schnetpack", "schnetpack.representation"):
        package = ModuleType(name)
        package.__path__ = [str(folder / name.replace(".", "/"))]
        sys.modules[name] = package


# What a step cannot take less than


def floor_seconds(step: Callable[[], object], edges: int, config: PaiNNConfig) -> float:
    """Return the least seconds of a step on this core: its matrix products at the rate of large ones, and its filters
    through memory.

    Filters are (E, 3W) per layer: written and read forward, computed again, and their gradients written and read.
    """
    from crystalsweep.networks.cost import count_flops

    products = count_flops(step) / _flops_per_second()
    filters = 5 * edges * 3 * config.width * 4 * config.layers
    return products + filters / _bytes_per_second()


def _flops_per_second(size: int = 512) -> float:
    a = torch.randn(size, size)
    return 2 * size**3 / _least_seconds(lambda: a @ a)


def _bytes_per_second(numbers: int = 1 << 24) -> float:
    source, target = torch.ones(numbers), torch.empty(numbers)
    return 8 * numbers / _least_seconds(lambda: target.copy_(source))


def _least_seconds(action: Callable[[], Any], repeats: int = 7) -> float:
    times = []
    for _ in range(repeats):
        began = process_time()
        action()
        times.append(process_time() - began)
    return min(times)
