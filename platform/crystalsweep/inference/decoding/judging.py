"""Candidates ranked by a critic beside their own probability: log p + λ · critic.

The critic sees a whole candidate at once, which the generator, filling site after site, does not. It learned on
positions that the generator restores before it knows any masked species; so candidates are judged on those, which tell
nothing of the choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from crystalsweep.inference.decoding.filling import Filling, in_order
from crystalsweep.inference.decoding.network import batches
from crystalsweep.inference.decoding.positions import place
from crystalsweep.inference.decoding.settings import DecodeConfig
from crystalsweep.networks.models import Critic, Generator, one_hot
from crystalsweep.structures.crystal import MASK, Crystal


def judged(
    generator: Generator,
    critic: Critic,
    partials: Sequence[Crystal],
    filled: Sequence[Sequence[Filling]],
    config: DecodeConfig,
) -> list[list[Filling]]:
    """Return the fillings of each crystal in the order of log p + λ · verdict, with their verdicts.

    Args:
        generator: In evaluation mode; restores the positions on which all candidates of a crystal are judged.
        critic: Of this generator, in evaluation mode.
        partials: Crystals, masked sites with species `MASK`.
        filled: Joint choices for each.
        config: λ, and whether those that can be charge-neutral stay before the others.

    Raises:
        ValueError: The weights of either give no finite answer.
    """
    restored = [placed.crystal for placed in place(generator, partials, passes=1)]
    chosen = [filling.species for fillings in filled for filling in fillings]
    origins = [index for index, fillings in enumerate(filled) for _ in fillings]
    masked = [partials[index].species == MASK for index in origins]
    verdicts = iter(_verdicts(critic, [restored[index] for index in origins], chosen, masked))
    told = [[replace(filling, verdict=next(verdicts)) for filling in fillings] for fillings in filled]
    return [in_order(fillings, config) for fillings in told]


@torch.no_grad()
def _verdicts(
    critic: Critic,
    crystals: Sequence[Crystal],
    species: Sequence[NDArray[np.int64]],
    masked: Sequence[NDArray[np.bool_]],
) -> list[float]:
    """Return the critic's logit of each crystal with these species, of which the masked ones were chosen."""
    device, verdicts = next(critic.parameters()).device, []
    for part, batch, graph in batches(crystals, species, critic.backbone.config):
        hidden = torch.from_numpy(np.concatenate(masked[part])).to(device)
        logits = critic(one_hot(batch.species).to(device), graph.to(device), hidden).crystal
        verdicts += logits.double().cpu().tolist()
    if not np.isfinite(verdicts).all():
        raise ValueError("the critic gives no finite answer: its weights are damaged; use another checkpoint")
    return verdicts
