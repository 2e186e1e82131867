"""Species that a generator chooses for the masked sites of a batch, as a decoder would: in passes, surest first."""

from __future__ import annotations

import torch
from torch import Tensor

from crystalsweep.networks.models import Generator, one_hot
from crystalsweep.structures.corruption import Corrupted
from crystalsweep.structures.graph import Graph
from crystalsweep.structures.segments import segment_rank
from trainables.critic.config import CriticConfig


@torch.no_grad()
def chosen_species(
    generator: Generator,
    corrupted: Corrupted,
    graph: Graph,
    logits: Tensor,
    config: CriticConfig,
    random: torch.Generator,
) -> Tensor:
    """Return (n,) species: visible ones as given, masked ones chosen by the generator, some the likeliest, some drawn.

    Args:
        generator: In evaluation mode.
        corrupted: The inputs.
        graph: Theirs.
        logits: (n, 118) that the generator gives of them: the first pass.
        config: Passes, share of argmax, temperature.
        random: On the CPU.
    """
    crystal, size = corrupted.pristine.crystal, len(corrupted.pristine)
    drawn = (torch.rand(size, generator=random) >= config.argmax_share).to(crystal.device)[crystal]
    species, left = corrupted.species, corrupted.masked
    for passes_left in range(config.passes, 0, -1):
        if passes_left < config.passes:
            logits = generator(one_hot(species), graph).logits
        now = surest(logits, left, crystal, size, passes_left)
        gumbel = -torch.log(torch.empty(logits.shape).exponential_(generator=random)).to(logits.device)
        scores = torch.where(drawn[:, None], logits / config.temperature + gumbel, logits)
        species = torch.where(now, scores.argmax(dim=-1) + 1, species)
        left = left & ~now
    return species


def surest(logits: Tensor, left: Tensor, crystal: Tensor, size: int, passes_left: int) -> Tensor:
    """Return (n,) bool: of each crystal's open sites the share to fill in this pass, ⌈open / passes left⌉, of which
    the generator is surest.

    Args:
        logits: (n, 118).
        left: (n,) bool, open sites.
        crystal: (n,) which crystal an atom belongs to.
        size: B, the number of crystals.
        passes_left: This one included.
    """
    confidence = logits.log_softmax(dim=-1).max(dim=-1).values.masked_fill(~left, -torch.inf)
    by_confidence = torch.argsort(confidence, descending=True, stable=True)
    rank = segment_rank(by_confidence, crystal, torch.bincount(crystal, minlength=size))
    wanted = -(-torch.bincount(crystal[left], minlength=size) // passes_left)
    return left & (rank < wanted[crystal])
