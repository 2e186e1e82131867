"""What a preference of one joint choice over another teaches: direct preference optimisation."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from crystalsweep.structures.segments import segment_sum


def preference_loss(
    logits: Tensor,
    start_logits: Tensor,
    better: Tensor,
    worse: Tensor,
    masked: Tensor,
    crystal: Tensor,
    *,
    size: int,
    strength: float,
) -> Tensor:
    """Return −log σ(β · Δ), mean over crystals whose two choices differ; 0 where none does.

    Δ is by how much the odds of the better over the worse have risen since the start, in nats; the probability of a
    choice is the product over masked sites of one pass (Rafailov et al. 2023, Eq. 7, doi:10.48550/arXiv.2305.18290).

    Args:
        logits: (n, 118) of the generator in training.
        start_logits: (n, 118) of the one it started from; without gradient.
        better: (n,) species of the choice that is preferred.
        worse: (n,) of the other.
        masked: (n,) bool.
        crystal: (n,) which crystal an atom belongs to.
        size: B, the number of crystals.
        strength: β; the greater, the sooner a pair counts as learnt.
    """
    risen = logits.float().log_softmax(dim=-1) - start_logits.float().log_softmax(dim=-1)
    per_atom = risen.gather(1, better[:, None] - 1) - risen.gather(1, worse[:, None] - 1)
    odds = segment_sum(per_atom[:, 0] * masked, crystal, size)
    differ = torch.zeros(size, device=odds.device).index_add(0, crystal, ((better != worse) & masked).float()) > 0
    return (softplus(-strength * odds) * differ).sum() / differ.sum().clamp(min=1)
