"""Species that a generator chooses for the masked sites of a batch, as a decoder would: in passes, surest first."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from crystalsweep.networks.models import Generator, one_hot
from crystalsweep.structures.corruption import Corrupted
from crystalsweep.structures.graph import Graph
from crystalsweep.structures.segments import segment_rank, segment_sum


class Chain(NamedTuple):
    """One joint choice for every crystal of a batch."""

    species: Tensor
    """(n,), visible ones as given."""
    log_probability: Tensor
    """(B,) Σ log p of what was filled, each given what was filled before; natural logarithm."""


@torch.no_grad()
def chosen_species(
    generator: Generator,
    corrupted: Corrupted,
    graph: Graph,
    logits: Tensor,
    *,
    passes: int,
    drawn: Tensor,
    temperature: float,
    random: torch.Generator,
) -> Chain:
    """Return what the generator chooses for masked sites, of some crystals the likeliest, of others draws.

    Args:
        generator: In evaluation mode.
        corrupted: The inputs.
        graph: Theirs.
        logits: (n, 118) that the generator gives of them: the first pass.
        passes: In which sites are filled.
        drawn: (B,) bool: crystals whose species are drawn; of the others the likeliest are taken.
        temperature: Of drawing.
        random: On the CPU.
    """
    crystal, size = corrupted.pristine.crystal, len(corrupted.pristine)
    species, left = corrupted.species, corrupted.masked
    total = logits.new_zeros(size)
    for passes_left in range(passes, 0, -1):
        if passes_left < passes:
            logits = generator(one_hot(species), graph).logits
        now = surest(logits, left, crystal, size, passes_left)
        gumbel = -torch.log(torch.empty(logits.shape).exponential_(generator=random)).to(logits.device)
        scores = torch.where(drawn[crystal][:, None], logits / temperature + gumbel, logits)
        column = scores.argmax(dim=-1)
        said = logits.log_softmax(dim=-1).gather(1, column[:, None])[:, 0]
        total = total + segment_sum(said * now, crystal, size)
        species = torch.where(now, column + 1, species)
        left = left & ~now
    return Chain(species, total)


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
