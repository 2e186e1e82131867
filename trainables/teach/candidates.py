"""Candidates for the masked sites of a batch, and which of them is first and last in a ranking."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from crystalsweep.networks.models import Critic, Generator, Restoration, graph_of, one_hot
from crystalsweep.structures.segments import segment_max
from crystalsweep.training.restoration import Task
from trainables.critic.choosing import Chain, chosen_species
from trainables.teach.config import TeachConfig


class Ends(NamedTuple):
    """The ends of a ranking of candidates."""

    first: Tensor
    """(n,) species of each crystal's first."""
    last: Tensor
    """(n,) of its last."""
    moved: Tensor
    """Share of crystals whose first is not the first by log p alone, or against the truth of those that have a wrong
    one; a scalar."""


@torch.no_grad()
def candidates(
    generator: Generator, task: Task, logits: Tensor, config: TeachConfig, random: torch.Generator
) -> list[Chain]:
    """Return as many joint choices as `config` asks for: the likeliest chain, then draws.

    Args:
        generator: In evaluation mode.
        task: The corrupted batch.
        logits: (n, 118) that the generator gives of it.
        config: Their number, passes and temperature.
        random: On the CPU.
    """
    size, device = len(task.corrupted.pristine), logits.device
    return [
        chosen_species(
            generator,
            task.corrupted,
            task.graph,
            logits,
            passes=config.passes,
            drawn=torch.full((size,), number > 0, device=device),
            temperature=config.temperature,
            random=random,
        )
        for number in range(config.candidates)
    ]


@torch.no_grad()
def ranked(chains: list[Chain], task: Task, restored: Restoration, critic: Critic | None, config: TeachConfig) -> Ends:
    """Return the ends of the ranking by log p + λ · critic, or by log p where there is no critic.

    Args:
        chains: The candidates.
        task: The corrupted batch.
        restored: What the generator says of it: the critic judges on its positions.
        critic: In evaluation mode.
        config: λ, and the backbone that reads the restored crystals.
    """
    corrupted, batch = task.corrupted, task.corrupted.pristine
    likely = torch.stack([chain.log_probability for chain in chains])
    score = likely
    if critic is not None:
        cart = restored.cart(corrupted.cart, batch.lattice, batch.crystal)
        graph = graph_of(cart, batch.lattice, batch.counts, config.backbone)
        verdicts = [critic(one_hot(chain.species), graph, corrupted.masked).crystal for chain in chains]
        score = likely + config.critic_weight * torch.stack(verdicts)
    species, atoms = torch.stack([chain.species for chain in chains]), torch.arange(len(batch.species))
    atoms = atoms.to(species.device)
    first, last = score.argmax(dim=0), score.argmin(dim=0)
    moved = (first != likely.argmax(dim=0)).double().mean()
    return Ends(species[first[batch.crystal], atoms], species[last[batch.crystal], atoms], moved)


@torch.no_grad()
def against_truth(chains: list[Chain], task: Task) -> Ends:
    """Return the true species, and of each crystal's wrong candidates the likeliest; the true ones where none is wrong.

    Args:
        chains: The candidates.
        task: The corrupted batch.
    """
    batch = task.corrupted.pristine
    species = torch.stack([chain.species for chain in chains])
    wrong = (
        torch.stack([segment_max((each != batch.species).double(), batch.crystal, len(batch)) for each in species]) > 0
    )
    likely = torch.stack([chain.log_probability for chain in chains]).masked_fill(~wrong, -torch.inf)
    atoms = torch.arange(len(batch.species)).to(species.device)
    worst = species[likely.argmax(dim=0)[batch.crystal], atoms]
    any_wrong = wrong.any(dim=0)
    return Ends(batch.species, torch.where(any_wrong[batch.crystal], worst, batch.species), any_wrong.double().mean())
