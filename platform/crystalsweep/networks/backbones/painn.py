"""PaiNN: polarizable interaction neural network (Schütt et al. 2021, doi:10.48550/arXiv.2102.03150).

Scalars and vectors (lmax 1) exchange messages along edges; cheap enough for a CPU. Differences from the paper: species
enter as weights, the cutoff is a polynomial envelope (doi:10.48550/arXiv.2003.03123, Eq. 8), messages are divided by
the square root of the training set's average degree, and scalars are layer-normalised.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from crystalsweep.networks.architectures import PaiNNConfig
from crystalsweep.networks.backbones._base import Backbone, Features, norm
from crystalsweep.networks.backbones._filtered import filtered_message
from crystalsweep.structures.crystal import N_SPECIES
from crystalsweep.structures.graph import Graph


class BesselBasis(nn.Module):
    """sin(kπ d / r_cut) / d for k = 1…K, times an envelope that ends smoothly at the cutoff."""

    frequencies: Tensor

    def __init__(self, functions: int, cutoff: float) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.register_buffer("frequencies", math.pi * torch.arange(1, functions + 1).float(), persistent=False)

    def forward(self, distance: Tensor) -> Tensor:
        """Return (E, K + 1) of (E,) distances, Å: the functions under the envelope, and the envelope itself, for a
        bias."""
        x = (distance / self.cutoff)[:, None]
        basis = math.sqrt(2 / self.cutoff) * torch.sin(self.frequencies * x) / distance[:, None]
        envelope = (1 - 28 * x**6 + 48 * x**7 - 21 * x**8).masked_fill(x >= 1, 0.0)
        return torch.cat([basis * envelope, envelope], dim=1)


class Message(nn.Module):
    """Neighbours' scalars and vectors, filtered by distance and directed along the edge (Eqs. 7 and 8)."""

    def __init__(self, width: int, functions: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.content = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 3 * width))
        self.filter = nn.Linear(functions, 3 * width)

    def forward(self, scalars: Tensor, vectors: Tensor | None, graph: Graph, basis: Tensor, unit: Tensor) -> Features:
        """Return sums over each atom's neighbours.

        Args:
            scalars: (n, width).
            vectors: (n, 3, width); None where all are zero.
            graph: Edges.
            basis: (E, radial functions + 1) of the distances, the envelope last.
            unit: (E, 3) directions.
        """
        weight = torch.cat([self.filter.weight.T, self.filter.bias[None]])
        content = self.content(self.norm(scalars))
        return Features(*filtered_message(content, vectors, basis, unit, weight, graph.src, graph.dst))


class Update(nn.Module):
    """Scalars and vectors of one atom inform each other (Eqs. 9 and 10)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Linear(width, 2 * width, bias=False)
        self.content = nn.Sequential(
            nn.LayerNorm(2 * width), nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, 3 * width)
        )

    def forward(self, x: Features) -> Features:
        """Return what is added to each atom's features."""
        left, right = self.mix(x.vectors).chunk(2, dim=-1)
        length = norm(right)
        scalar, product, gate = self.content(torch.cat([x.scalars, length], dim=-1)).chunk(3, dim=-1)
        return Features(scalar + product * (left * right).sum(dim=1), left * gate[:, None])


class PaiNN(Backbone):
    """Interaction blocks of message and update over embedded species."""

    gains_compiled = in_blocks = True

    def __init__(self, config: PaiNNConfig) -> None:
        super().__init__(config)
        width = config.width
        self.embedding = nn.Linear(N_SPECIES, width, bias=False)
        self.embedding.weight = nn.Parameter(torch.randn(width, N_SPECIES))
        self.radial = BesselBasis(config.radial_functions, config.cutoff)
        self.messages = nn.ModuleList(Message(width, config.radial_functions) for _ in range(config.layers))
        self.updates = nn.ModuleList(Update(width) for _ in range(config.layers))

    def forward(self, species: Tensor, graph: Graph) -> Features:
        """Return the features that `Backbone.forward` describes; an atom without neighbours keeps its embedding and
        zero vectors."""
        edge = graph.edge_vectors()
        distance = (edge.square().sum(dim=-1) + 1e-12).sqrt()  # finite for coinciding atoms
        basis = self.radial(distance)
        unit = edge / distance[:, None]
        scale = self.average_degree.rsqrt()
        scalars, vectors = self.embedding(species), None
        for message, update in zip(self.messages, self.updates, strict=True):
            scalars, vectors = self.run(_block, message, update, scalars, vectors, graph, basis, unit, scale)
        return Features(scalars, cast(Tensor, vectors))


def _block(
    message: Message,
    update: Update,
    scalars: Tensor,
    vectors: Tensor | None,
    graph: Graph,
    basis: Tensor,
    unit: Tensor,
    scale: Tensor,
) -> Features:
    m = message(scalars, vectors, graph, basis, unit)
    x = Features(scalars + m.scalars * scale, m.vectors * scale if vectors is None else vectors + m.vectors * scale)
    u = update(x)
    return Features(x.scalars + u.scalars, x.vectors + u.vectors)
