"""Pairs that a critic learns from: crystals with the species that a generator chose, beside the same with the true
ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from crystalsweep.losses.critic import CriticLoss, critic_loss
from crystalsweep.networks.architectures import BackboneConfig
from crystalsweep.networks.models import Generator, Judgement, graph_of, one_hot
from crystalsweep.structures.graph import Graph
from crystalsweep.structures.segments import segment_max
from crystalsweep.training.restoration import Task
from trainables.critic.choosing import chosen_species


@dataclass(frozen=True, kw_only=True, eq=False)
class Pairs:
    """Crystals with chosen species beside the same with the true ones, on the same restored positions."""

    true: Tensor
    """(n,) species."""
    chosen: Tensor
    """(n,) species; the true ones where not masked."""
    masked: Tensor
    """(n,) bool."""
    graph: Graph
    """Of the restored positions."""

    @property
    def replaced(self) -> Tensor:
        """(n,) bool: the chosen species is not the true one."""
        return self.chosen != self.true

    @property
    def differs(self) -> Tensor:
        """(B,) bool: any of a crystal's species is not the true one."""
        return segment_max(self.replaced.double(), self.graph.crystal, self.graph.size) > 0


@torch.no_grad()
def chosen_pairs(
    generator: Generator,
    task: Task,
    backbone: BackboneConfig,
    *,
    passes: int,
    argmax_share: float,
    temperature: float,
    random: torch.Generator,
) -> Pairs:
    """Return a batch as the generator fills it beside the truth.

    Args:
        generator: In evaluation mode.
        task: The corrupted batch.
        backbone: Of what is to read the pairs.
        passes: In which sites are filled.
        argmax_share: Share of crystals whose species are the likeliest; the others are drawn.
        temperature: Of drawing.
        random: On the CPU.
    """
    corrupted, batch = task.corrupted, task.corrupted.pristine
    restored = generator(one_hot(corrupted.species), task.graph)
    cart = restored.cart(corrupted.cart, batch.lattice, batch.crystal)
    drawn = (torch.rand(len(batch), generator=random) >= argmax_share).to(cart.device)
    chain = chosen_species(
        generator,
        corrupted,
        task.graph,
        restored.logits,
        passes=passes,
        drawn=drawn,
        temperature=temperature,
        random=random,
    )
    graph = graph_of(cart, batch.lattice, batch.counts, backbone)
    return Pairs(true=batch.species, chosen=chain.species, masked=corrupted.masked, graph=graph)


class Judged(NamedTuple):
    """What a critic says of pairs, and the loss of that."""

    true: Judgement
    chosen: Judgement
    loss: CriticLoss

    def losses(self, pairs: Pairs) -> dict[str, Tensor]:
        """Return the parts of the loss, and the share of pairs in which the true crystal has the greater logit."""
        right = (self.true.crystal > self.chosen.crystal) & pairs.differs
        return {
            "pair": self.loss.pair.detach(),
            "crystal": self.loss.crystal.detach(),
            "site": self.loss.site.detach(),
            "pair_accuracy": right.sum() / pairs.differs.sum().clamp(min=1),
        }


def judged(critic: nn.Module, pairs: Pairs) -> Judged:
    """Return what a critic says of both of each pair."""
    true, chosen = (critic(one_hot(species), pairs.graph, pairs.masked) for species in (pairs.true, pairs.chosen))
    return Judged(true, chosen, critic_loss(true, chosen, pairs.masked, pairs.replaced, pairs.differs))
