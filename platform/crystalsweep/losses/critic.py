"""What a critic of species minimises: true and chosen ones told apart in pairs, by themselves, and site by site.

A relativistic pair loss (doi:10.48550/arXiv.1807.00734) asks only that the true crystal of a pair has the greater
logit, which is what ranking needs; the cross entropies fix where zero is, so that logits of different crystals can be
added to their log-probabilities.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from crystalsweep.networks.models import Judgement


class CriticLoss(NamedTuple):
    """The parts, each a mean."""

    pair: Tensor
    """Over pairs whose species differ: −log σ(true − chosen)."""
    crystal: Tensor
    """Over the same crystals, both of each pair: the binary cross entropy."""
    site: Tensor
    """Over masked atoms of both: the binary cross entropy of "this species is the true one"."""

    def total(self, site_weight: float) -> Tensor:
        """Return the sum that a critic minimises, answers per site with this weight."""
        return self.pair + self.crystal + site_weight * self.site


def critic_loss(true: Judgement, chosen: Judgement, masked: Tensor, replaced: Tensor, differs: Tensor) -> CriticLoss:
    """Return the loss of pairs of crystals with the same atoms on the same positions.

    Pairs that are alike, because the choice was right, count for nothing. All parts are 0 where no pair differs.

    Args:
        true: Of the true crystals.
        chosen: Of those with chosen species.
        masked: (n,) bool: species was chosen.
        replaced: (n,) bool: and is another than the true one.
        differs: (B,) bool: any of a crystal's is.
    """
    pairs = differs.float()
    pair = _mean(softplus(chosen.crystal - true.crystal), pairs)
    crystal = _mean(softplus(-true.crystal) + softplus(chosen.crystal), pairs) / 2
    sites = masked.float()
    signs = torch.where(replaced, 1.0, -1.0)
    site = _mean(softplus(-true.site) + softplus(signs * chosen.site), sites) / 2
    return CriticLoss(pair, crystal, site)


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum() / weights.sum().clamp(min=1)
