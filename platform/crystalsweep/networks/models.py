"""The networks over one backbone: the paper's generator Ĝ, discriminator D̂ and other property models; the critic."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from crystalsweep.networks.architectures import BackboneConfig
from crystalsweep.networks.backbones import build_backbone
from crystalsweep.structures.batch import CrystalBatch, wrap_into_cell
from crystalsweep.structures.crystal import N_ELEMENTS, N_SPECIES
from crystalsweep.structures.graph import Graph, build_graph, pristine_graph
from crystalsweep.structures.segments import segment_max, segment_mean, segment_sum


def one_hot(species: Tensor) -> Tensor:
    """Return (n, 119) float rows for (n,) species indices."""
    return functional.one_hot(species, N_SPECIES).float()


def graph_of(cart: Tensor, lattice: Tensor, counts: Tensor, config: BackboneConfig) -> Graph:
    """Return the periodic graph that a backbone of this config reads."""
    return build_graph(cart, lattice, counts, config.cutoff, config.max_neighbours)


def pristine_graph_of(batch: CrystalBatch, config: BackboneConfig) -> Graph:
    """Return the same of a batch whose positions are its crystals', whose neighbours are searched for once."""
    return pristine_graph(batch, config.cutoff, config.max_neighbours)


class Restoration(NamedTuple):
    """What the generator says about corrupted crystals."""

    logits: Tensor
    """(n, 118) species logits; index = Z − 1."""
    perturbation: Tensor
    """(n, 3) predicted P̃, Å, Cartesian."""

    def cart(self, corrupted_cart: Tensor, lattice: Tensor, crystal: Tensor) -> Tensor:
        """Return (n, 3) restored positions x̂ = x' − P̃, wrapped into the cell, Å."""
        return wrap_into_cell(corrupted_cart - self.perturbation, lattice, crystal)

    def species(self) -> Tensor:
        """Return (n,) most likely element of every atom, 1…118."""
        return self.logits.argmax(dim=-1) + 1


class Generator(nn.Module):
    """Ĝ: species logits from the invariants, predicted perturbation from the l = 1 features."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.backbone = build_backbone(config)
        self.species_head = self.backbone.scalar_head(N_ELEMENTS)
        self.perturbation_head = self.backbone.vector_head()

    def forward(self, species: Tensor, graph: Graph) -> Restoration:
        """Return restoration of corrupted crystals; `species` is (n, 119) weights, the mask token among them."""
        with self.backbone.autocast():
            features = self.backbone(species, graph)
            logits, perturbation = self.species_head(features), self.perturbation_head(features)
        return Restoration(logits.to(graph.cart.dtype), perturbation.to(graph.cart.dtype))


Pooling = Literal["mean", "sum", "mean_max", "masked"]


class PropertyModel(nn.Module):
    """K outputs per crystal: a mean over its atoms, so that a supercell answers as its primitive cell does, or a sum.

    With K = 2 it is the stability classifier (class 1 is stable) and, started from that, the discriminator D̂ (1 is
    real). No pooling has weights of its own.
    """

    def __init__(self, config: BackboneConfig, outputs: int = 2, pooling: Pooling = "mean") -> None:
        super().__init__()
        self.backbone = build_backbone(config)
        self.head = self.backbone.scalar_head(outputs)
        self.pooling = pooling

    def forward(self, species: Tensor, graph: Graph, masked: Tensor | None = None) -> Tensor:
        """Return (B, K) outputs for (n, 119) species weights; `masked` (n,) bool says over which atoms `masked` pools,
        all where none is given, and of crystals that have none."""
        with self.backbone.autocast():
            per_atom = self.head(self.backbone(species, graph))
        return pooled(per_atom.to(graph.cart.dtype), graph, self.pooling, masked)


def pooled(per_atom: Tensor, graph: Graph, pooling: Pooling, masked: Tensor | None = None) -> Tensor:
    """Return (B, K) of (n, K): means over the atoms of each crystal; of `mean_max`, halfway to the greatest."""
    if pooling == "sum":
        return segment_sum(per_atom, graph.crystal, graph.size)
    mean = segment_mean(per_atom, graph.crystal, graph.size)
    if pooling == "mean_max":
        return (mean + segment_max(per_atom, graph.crystal, graph.size)) / 2
    if pooling == "masked" and masked is not None:
        counts = segment_sum(masked.to(per_atom.dtype), graph.crystal, graph.size)[:, None]
        among = segment_sum(per_atom * masked[:, None], graph.crystal, graph.size) / counts.clamp(min=1)
        return torch.where(counts > 0, among, mean)
    return mean


class Judgement(NamedTuple):
    """What the critic says about crystals whose masked species were chosen."""

    crystal: Tensor
    """(B,) logit that all of them are the true ones."""
    site: Tensor
    """(n,) logit, of an atom that was masked, that its species is the true one."""


class Critic(nn.Module):
    """A discriminator of species: are those on masked sites the true ones, on positions that tell nothing?

    The crystal's logit is a sum over masked atoms, as a log-likelihood is: with the optimal critic of joint choices
    drawn from the generator, log p + logit is the log-probability of the true crystals (doi:10.48550/arXiv.2004.11714).
    Each masked atom also has an answer of its own (replaced-token detection, doi:10.48550/arXiv.2003.10555).
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.backbone = build_backbone(config)
        self.head = self.backbone.scalar_head(2)

    def forward(self, species: Tensor, graph: Graph, masked: Tensor) -> Judgement:
        """Return judgement of crystals without masked sites; `species` is (n, 119) weights, `masked` (n,) bool tells
        which atoms were masked."""
        with self.backbone.autocast():
            per_atom = self.head(self.backbone(species, graph)).to(graph.cart.dtype)
        counted = per_atom[:, 0] * masked
        return Judgement(segment_sum(counted, graph.crystal, graph.size), per_atom[:, 1])


def load_matching(model: nn.Module, state: dict[str, Tensor]) -> list[str]:
    """Load the backbone of `state` and whatever else fits by name and shape; returns the names that were dropped.

    Raises `ValueError` when a backbone tensor is missing or has another shape: then it is another network.
    """
    own = model.state_dict()
    fitting = {name: value for name, value in state.items() if name in own and own[name].shape == value.shape}
    misfits = [name for name in own if name.startswith("backbone.") and name not in fitting]
    if misfits:
        raise ValueError(
            f"the checkpoint's backbone is another one: {misfits[0]} is {_shape(state, misfits[0])} there and "
            f"{_shape(own, misfits[0])} here; use the backbone config the checkpoint was trained with"
        )
    model.load_state_dict(fitting, strict=False)
    return sorted(set(state) - set(fitting))


def _shape(state: dict[str, Tensor], name: str) -> str:
    return f"of shape {tuple(state[name].shape)}" if name in state else "absent"
