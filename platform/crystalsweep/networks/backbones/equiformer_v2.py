"""EquiformerV2, the paper's network (Liao et al. 2024, doi:10.48550/arXiv.2306.12059), on fairchem-core 2.

fairchem-core 1.10 was the last release to have it. Here frames, SO(2) and SO(3) linear maps, grids, norms and radial
functions are fairchem-core 2's; graph attention, feed-forward network and blocks are written anew. With the same
weights it agrees with 1.10 (`tests/test_equiformer_v2.py`), whose parameter names it keeps, except that species enter
as weights and the first embedding is divided by the training set's average degree.

Shapes: n atoms, E edges, L = (lmax + 1)² coefficients of an atom, ordered by degree; M of them in an edge's frame,
|m| ≤ mmax, ordered by order m; C channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple, cast

import torch
from fairchem.core.models.uma.common.quaternion.quaternion_wigner_utils import create_wigner_data_module
from fairchem.core.models.uma.common.so3 import CoefficientMapping, SO3_Grid
from fairchem.core.models.uma.nn.activation import SmoothLeakyReLU
from fairchem.core.models.uma.nn.layer_norm import get_normalization_layer
from fairchem.core.models.uma.nn.radial import GaussianSmearing, RadialMLP
from fairchem.core.models.uma.nn.so2_layers import SO2_Conv1_WithRadialBlock, SO2_Conv2_InternalBlock
from fairchem.core.models.uma.nn.so3_layers import SO3_Linear
from torch import Tensor, nn
from torch.nn import functional

from crystalsweep.networks.architectures import EquiformerV2Config
from crystalsweep.networks.backbones._base import Backbone, Features
from crystalsweep.networks.backbones._edgewise import into_frames, sphere_silu, sum_out_of_frames
from crystalsweep.networks.backbones._frames import wigner_matrices
from crystalsweep.networks.backbones._so2 import GaussConvolution, RealConvolution, exchange
from crystalsweep.structures.crystal import N_SPECIES
from crystalsweep.structures.graph import Graph
from crystalsweep.structures.segments import segment_softmax

GAUSSIAN_WIDTH = 2.0
"""Standard deviation of the radial Gaussians over their spacing."""


class Edges(NamedTuple):
    """What every layer needs to know of the edges."""

    src: Tensor
    """(E,)."""
    dst: Tensor
    """(E,)."""
    distance: Tensor
    """(E, K) radial functions of the distance."""
    species: Tensor
    """(n, 119) weights of the atoms' species."""
    into_frame: Tensor
    """(E, M, L) from coefficients of an atom to those in the edge's frame, where the edge is +y."""
    out_of_frame: Tensor
    """(E, L, M) back, degrees above mmax scaled up by √((2l + 1) / (2 mmax + 1)) for the orders left out."""
    crystal: Tensor
    """(n,)."""
    crystals: int
    """B."""


@dataclass(frozen=True, eq=False)
class SphericalFeatures(Features):
    """Features with all degrees, which the released heads read."""

    coefficients: Tensor
    """(n, L, C)."""
    edges: Edges


class Frames(nn.Module):
    """Rotations of each edge onto +y, as Wigner matrices restricted to orders |m| ≤ mmax; always in float32.

    The network is only nearly indifferent to the roll about the edge, least so where mmax < lmax: in training it is
    drawn at random, in evaluation it is fixed, so that the same input twice gives the same output.
    """

    kept: Tensor
    scale: Tensor

    def __init__(self, lmax: int, mmax: int) -> None:
        super().__init__()
        self.lmax = lmax
        self.tables = create_wigner_data_module(lmax=lmax, lmin=5)
        mapping = CoefficientMapping(lmax, mmax)
        by_order = mapping.to_m.argmax(dim=1)
        degree = mapping.l_harmonic[by_order]
        kept = CoefficientMapping(lmax, lmax).coefficient_idx(lmax, mmax)
        self.register_buffer("kept", kept[by_order], persistent=False)
        scale = torch.where(degree > mmax, ((2 * degree + 1) / (2 * mmax + 1)).sqrt(), 1.0)
        self.register_buffer("scale", scale, persistent=False)

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return (E, M, L) into and (E, L, M) out of the frames of (E, 3) edge vectors, Å."""
        with torch.autocast(vectors.device.type, enabled=False):
            length = vectors.square().sum(dim=-1, keepdim=True)
            vectors = torch.where(length > 1e-12, vectors, vectors.new_tensor([0.0, 1.0, 0.0]))  # coinciding atoms
            wigner, _ = wigner_matrices(vectors, self.lmax, self.tables, rolled=self.training)
            into = wigner.index_select(1, self.kept)
            return into, (into * self.scale[:, None].to(into.dtype)).transpose(1, 2)


class SphereActivation(nn.Module):
    """SiLU of the function on the sphere that the coefficients stand for; scalars are activated apart (separable)."""

    to_grid: Tensor
    from_grid: Tensor

    def __init__(self, lmax: int, mmax: int, by_order: bool) -> None:
        super().__init__()
        to_grid, from_grid = _grid(lmax, mmax, by_order)
        self.register_buffer("to_grid", to_grid, persistent=False)
        self.register_buffer("from_grid", from_grid, persistent=False)

    def forward(self, scalars: Tensor, x: Tensor) -> Tensor:
        """Map (b, C) scalars and (b, M, C) coefficients to (b, M, C)."""
        return sphere_silu(scalars, x, self.to_grid, self.from_grid)


@cache
def _grid(lmax: int, mmax: int, by_order: bool) -> tuple[Tensor, Tensor]:
    """Return (R, M) matrices onto the grid of R points and (M − 1, R) back, without the mean."""
    grid = SO3_Grid(lmax, mmax, normalization="component")
    to_grid, from_grid = (matrix.flatten(0, 1) for matrix in (grid.to_grid_mat, grid.from_grid_mat))
    if by_order:
        order = CoefficientMapping(lmax, mmax).to_m.argmax(dim=1)
        to_grid, from_grid = to_grid[:, order], from_grid[:, order]
    return to_grid.contiguous(), from_grid.T[1:].contiguous()


class DegreeLinear(SO3_Linear):
    """A linear map per degree; fairchem's weights, without its copy of them for every order."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, L, C) to (n, L, C')."""
        parts = x.split([2 * degree + 1 for degree in range(self.lmax + 1)], dim=1)
        mapped = [functional.linear(part, weight) for part, weight in zip(parts, self.weight, strict=True)]
        return torch.cat([mapped[0] + self.bias, *mapped[1:]], dim=1)


class EdgeRadial(nn.Module):
    """Radial functions modulated by the species at both ends; holds the species' tables and runs a fairchem MLP."""

    def __init__(self, config: EquiformerV2Config) -> None:
        super().__init__()
        self.source_embedding = nn.Embedding(N_SPECIES, config.edge_channels)
        self.target_embedding = nn.Embedding(N_SPECIES, config.edge_channels)

    def radial(self, network: RadialMLP, edges: Edges) -> Tensor:
        """Return (E, …) outputs of an MLP over [distance, source, target]; species go through its first layer per
        atom."""
        first, rest = network.net[0], network.net[1:]
        width = edges.distance.shape[1], self.source_embedding.embedding_dim, self.target_embedding.embedding_dim
        by_distance, by_source, by_target = first.weight.split(width, dim=1)
        source = functional.linear(edges.species @ self.source_embedding.weight, by_source)
        target = functional.linear(edges.species @ self.target_embedding.weight, by_target, first.bias)
        hidden = functional.linear(edges.distance, by_distance)
        return cast(Tensor, rest(hidden + source.index_select(0, edges.src) + target.index_select(0, edges.dst)))

    def layers(self, config: EquiformerV2Config) -> list[int]:
        """Return the widths of such an MLP up to its last hidden layer."""
        return [config.radial_functions + 2 * config.edge_channels, config.edge_channels, config.edge_channels]


class EdgeDegreeEmbedding(EdgeRadial):
    """What an atom's surroundings look like before any message: radial functions along each edge, summed."""

    def __init__(self, config: EquiformerV2Config) -> None:
        super().__init__(config)
        self.degrees = config.lmax + 1
        self.rad_func = RadialMLP([*self.layers(config), (config.lmax + 1) * config.width])

    def forward(self, edges: Edges) -> Tensor:
        """Return (n, L, C) embeddings, to be divided by the average degree; orders m = 0 come first in a frame."""
        axial = self.radial(self.rad_func, edges).unflatten(1, (self.degrees, -1))
        whole = edges.distance.new_ones(len(axial), 1)
        return sum_out_of_frames(axial, whole, edges.out_of_frame[:, :, : self.degrees], edges.dst, len(edges.species))


class GraphAttention(EdgeRadial):
    """SO(2)-equivariant graph attention: convolution, activation, convolution; weights from the first one's scalars."""

    def __init__(self, config: EquiformerV2Config, outputs: int, alpha_drop: float) -> None:
        super().__init__(config)
        c, heads = config, config.attention_heads
        self.alpha_size = heads * c.alpha_channels
        mapping = CoefficientMapping(c.lmax, c.mmax)
        self.so2_conv_1 = SO2_Conv1_WithRadialBlock(
            2 * c.width,
            c.attention_hidden,
            c.lmax,
            c.mmax,
            mapping,
            self.alpha_size + c.attention_hidden,
            self.layers(c),
        )
        self.so2_conv_2 = SO2_Conv2_InternalBlock(c.attention_hidden, heads * c.value_channels, c.lmax, c.mmax, mapping)
        exchange(self, RealConvolution if c.symmetry == "O3" else GaussConvolution)
        self.alpha_norm = nn.LayerNorm(c.alpha_channels)
        self.alpha_act = SmoothLeakyReLU()
        self.alpha_dot = nn.Parameter(torch.empty(heads, c.alpha_channels))
        self.alpha_dropout = nn.Dropout(alpha_drop)
        self.s2_act = SphereActivation(c.lmax, c.mmax, by_order=True)
        self.proj = DegreeLinear(heads * c.value_channels, outputs, c.lmax)

    def forward(self, x: Tensor, edges: Edges) -> Tensor:
        """Map (n, L, C) to (n, L, outputs)."""
        pair = into_frames(x, edges.into_frame, edges.src, edges.dst)
        pair, scalars = self.so2_conv_1(pair, self.radial(self.so2_conv_1.rad_func, edges))
        alpha, gate = scalars.split([self.alpha_size, scalars.shape[1] - self.alpha_size], dim=1)
        message = self.so2_conv_2(self.s2_act(gate, pair))
        weight = self._attention(alpha, edges)
        received = sum_out_of_frames(message, weight, edges.out_of_frame, edges.dst, len(x))
        return cast(Tensor, self.proj(received))

    def _attention(self, alpha: Tensor, edges: Edges) -> Tensor:
        """Return (E, heads) weights that sum to 1 over the edges of each atom."""
        hidden = self.alpha_act(self.alpha_norm(alpha.unflatten(1, self.alpha_dot.shape)))
        logits = (hidden * self.alpha_dot).sum(dim=-1).to(edges.distance.dtype)
        return cast(Tensor, self.alpha_dropout(segment_softmax(logits, edges.dst, len(edges.species))))


class FeedForward(nn.Module):
    """Per degree up, activation on the sphere, per degree down."""

    def __init__(self, config: EquiformerV2Config, outputs: int) -> None:
        super().__init__()
        self.so3_linear_1 = DegreeLinear(config.width, config.feed_forward, config.lmax)
        self.gating_linear = nn.Linear(config.width, config.feed_forward)
        self.s2_act = SphereActivation(config.lmax, config.lmax, by_order=False)
        self.so3_linear_2 = DegreeLinear(config.feed_forward, outputs, config.lmax)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, L, C) to (n, L, outputs)."""
        return cast(Tensor, self.so3_linear_2(self.s2_act(self.gating_linear(x[:, 0]), self.so3_linear_1(x))))


class DropPath(nn.Module):
    """Leaves a residual branch out for some crystals in training; fairchem's waits for the device at every call."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor, edges: Edges) -> Tensor:
        """Return the (n, L, C) features, with the crystals that keep the branch scaled up for those that do not."""
        if not self.training or not self.share:
            return x
        kept = x.new_empty(edges.crystals, 1, 1).bernoulli_(1 - self.share) / (1 - self.share)
        return x * kept.index_select(0, edges.crystal)


class Block(nn.Module):
    """Attention and feed-forward, each normalised before and added to what came in."""

    def __init__(self, config: EquiformerV2Config) -> None:
        super().__init__()
        self.norm_1 = get_normalization_layer("rms_norm_sh", config.lmax, config.width)
        self.ga = GraphAttention(config, config.width, config.alpha_drop)
        self.drop_path = DropPath(config.drop_path)
        self.norm_2 = get_normalization_layer("rms_norm_sh", config.lmax, config.width)
        self.ffn = FeedForward(config, config.width)

    def forward(self, x: Tensor, edges: Edges) -> Tensor:
        """Map (n, L, C) to the same."""
        x = x + self.drop_path(self.ga(self.norm_1(x), edges), edges)
        return x + self.drop_path(self.ffn(self.norm_2(x)), edges)


class EquiformerV2(Backbone):
    """Blocks of graph attention over spherical features of degrees 0 … lmax."""

    config: EquiformerV2Config

    def __init__(self, config: EquiformerV2Config) -> None:
        super().__init__(config)
        self.sphere_embedding = nn.Embedding(N_SPECIES, config.width)
        self.frames = Frames(config.lmax, config.mmax)
        self.distance_expansion = GaussianSmearing(0.0, config.cutoff, config.radial_functions, GAUSSIAN_WIDTH)
        self.edge_degree_embedding = EdgeDegreeEmbedding(config)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = get_normalization_layer("rms_norm_sh", config.lmax, config.width)
        initialise(self)

    def forward(self, species: Tensor, graph: Graph) -> SphericalFeatures:
        """Return the features that `Backbone.forward` describes."""
        edges = self._edges(species, graph)
        x = self.edge_degree_embedding(edges) / self.average_degree
        x = torch.cat([x[:, :1] + (species @ self.sphere_embedding.weight)[:, None], x[:, 1:]], dim=1)
        for block in self.blocks:
            x = self.run(block, x, edges)
        x = self.norm(x)
        return SphericalFeatures(x[:, 0], x[:, 1:4], coefficients=x, edges=edges)

    def _edges(self, species: Tensor, graph: Graph) -> Edges:
        alone, graph = not len(graph.src), graph.with_an_edge()
        vectors = graph.edge_vectors()
        distance = (vectors.square().sum(dim=-1) + 1e-12).sqrt()
        into, out = self.frames(vectors)
        return Edges(
            src=graph.src,
            dst=graph.dst,
            distance=self.distance_expansion(distance),
            species=species,
            into_frame=into,
            out_of_frame=torch.zeros_like(out) if alone else out,
            crystal=graph.crystal,
            crystals=graph.size,
        )

    def scalar_head(self, outputs: int) -> nn.Module:
        """Return the released `output_block`, where the config asks for it."""
        return ReleasedScalarHead(self.config, outputs) if self._released else super().scalar_head(outputs)

    def vector_head(self) -> nn.Module:
        """Return the released `force_block`, where the config asks for it."""
        return ReleasedVectorHead(self.config) if self._released else super().vector_head()

    @property
    def _released(self) -> bool:
        return self.config.head_layout == "released"


class ReleasedScalarHead(nn.Module):
    """A feed-forward network read at degree 0."""

    def __init__(self, config: EquiformerV2Config, outputs: int) -> None:
        super().__init__()
        self.output_block = FeedForward(config, outputs)
        initialise(self)

    def forward(self, features: SphericalFeatures) -> Tensor:
        """Return (n, outputs) invariants."""
        return cast(Tensor, self.output_block(features.coefficients)[:, 0])


class ReleasedVectorHead(nn.Module):
    """A graph attention read at degree 1."""

    def __init__(self, config: EquiformerV2Config) -> None:
        super().__init__()
        self.force_block = GraphAttention(config, 1, alpha_drop=0.0)
        initialise(self)

    def forward(self, features: SphericalFeatures) -> Tensor:
        """Return (n, 3) vectors."""
        return cast(Tensor, self.force_block(features.coefficients, features.edges)[:, 1:4, 0])


def initialise(network: nn.Module) -> None:
    """Draw weights as fairchem-core 1.10 draws them: normal with variance 1 / fan-in, uniform in radial functions."""
    radial = {each for module in network.modules() if isinstance(module, RadialMLP) for each in module.modules()}
    for module in network.modules():
        if isinstance(module, nn.Linear | SO3_Linear):
            bound = 1 / math.sqrt(module.in_features)
            if module in radial:
                nn.init.uniform_(module.weight, -bound, bound)
            else:
                nn.init.normal_(module.weight, 0, bound)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, EdgeRadial):
            nn.init.uniform_(module.source_embedding.weight, -0.001, 0.001)
            nn.init.uniform_(module.target_embedding.weight, -0.001, 0.001)
        if isinstance(module, GraphAttention):
            bound = 1 / math.sqrt(module.alpha_dot.shape[1])
            nn.init.uniform_(module.alpha_dot, -bound, bound)
