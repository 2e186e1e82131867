"""PaiNN: polarizable interaction neural network (Schütt et al. 2021, doi:10.48550/arXiv.2102.03150).

Scalars and vectors (lmax 1) exchange messages along edges; cheap enough for a CPU. Differences from the paper: species
enter as weights, the cutoff is a polynomial envelope (doi:10.48550/arXiv.2003.03123, Eq. 8), messages are divided by
the square root of the training set's average degree, and scalars are layer-normalised.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch_geometric.utils import scatter

from crystalsweep.networks.architectures import PaiNNConfig
from crystalsweep.networks.backbones._base import Backbone, Features, norm
from crystalsweep.structures.crystal import N_SPECIES
from crystalsweep.structures.graph import Graph


class BesselBasis(nn.Module):
    """sin(kπ d / r_cut) / d for k = 1…K, times an envelope that ends smoothly at the cutoff."""

    frequencies: Tensor

    def __init__(self, functions: int, cutoff: float) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.register_buffer("frequencies", math.pi * torch.arange(1, functions + 1).float(), persistent=False)

    def forward(self, distance: Tensor) -> tuple[Tensor, Tensor]:
        """Return (E, K) basis and (E, 1) envelope of (E,) distances, Å."""
        x = (distance / self.cutoff)[:, None]
        basis = math.sqrt(2 / self.cutoff) * torch.sin(self.frequencies * x) / distance[:, None]
        envelope = 1 - 28 * x**6 + 48 * x**7 - 21 * x**8
        return basis, envelope.masked_fill(x >= 1, 0.0)


class Message(nn.Module):
    """Neighbours' scalars and vectors, filtered by distance and directed along the edge (Eqs. 7 and 8)."""

    def __init__(self, width: int, functions: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.content = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 3 * width))
        self.filter = nn.Linear(functions, 3 * width)

    def forward(self, x: Features, graph: Graph, basis: Tensor, envelope: Tensor, unit: Tensor) -> Features:
        """Return sums over each atom's neighbours.

        Args:
            x: (n, width) scalars.
            graph: Edges.
            basis: (E, radial functions) of the distances.
            envelope: (E, 1), zero at the cutoff.
            unit: (E, 3) directions.
        """
        content = self.content(self.norm(x.scalars))[graph.src]
        scalar, gate, direction = (content * self.filter(basis) * envelope).chunk(3, dim=-1)
        vector = x.vectors[graph.src] * gate[:, None] + unit[:, :, None] * direction[:, None]
        n = len(x.scalars)
        return Features(scatter(scalar, graph.dst, dim_size=n), scatter(vector, graph.dst, dim_size=n))


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

    def __init__(self, config: PaiNNConfig) -> None:
        super().__init__(config)
        width = config.width
        self.embedding = nn.Linear(N_SPECIES, width, bias=False)
        nn.init.normal_(self.embedding.weight)
        self.radial = BesselBasis(config.radial_functions, config.cutoff)
        self.messages = nn.ModuleList(Message(width, config.radial_functions) for _ in range(config.layers))
        self.updates = nn.ModuleList(Update(width) for _ in range(config.layers))

    def forward(self, species: Tensor, graph: Graph) -> Features:
        """Return the features that `Backbone.forward` describes; an atom without neighbours keeps its embedding and
        zero vectors."""
        edge = graph.edge_vectors()
        distance = (edge.square().sum(dim=-1) + 1e-12).sqrt()  # finite for coinciding atoms
        basis, envelope = self.radial(distance)
        unit = edge / distance[:, None]
        scale = self.average_degree.rsqrt()
        scalars = self.embedding(species)
        x = Features(scalars, scalars.new_zeros(len(scalars), 3, scalars.shape[1]))
        for message, update in zip(self.messages, self.updates, strict=True):
            x = self.run(_block, message, update, x, graph, basis, envelope, unit, scale)
        return x


def _block(
    message: Message,
    update: Update,
    x: Features,
    graph: Graph,
    basis: Tensor,
    envelope: Tensor,
    unit: Tensor,
    scale: Tensor,
) -> Features:
    m = message(x, graph, basis, envelope, unit)
    x = Features(x.scalars + m.scalars * scale, x.vectors + m.vectors * scale)
    u = update(x)
    return Features(x.scalars + u.scalars, x.vectors + u.vectors)
