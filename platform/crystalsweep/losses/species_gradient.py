"""How predicted species enter the discriminator, and what gradient they carry back to the generator."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

SpeciesGradient = Literal["straight_through", "gumbel", "soft", "none"]


def species_for_discriminator(
    logits: Tensor, mode: SpeciesGradient, temperature: float = 1.0, generator: torch.Generator | None = None
) -> Tensor:
    """Return (n, 119) species weights from (n, 118) logits; nothing on the mask token.

    `straight_through`: one-hot forward, softmax backward (doi:10.48550/arXiv.1308.3432). `gumbel`: the same for a
    sample (doi:10.48550/arXiv.1611.01144), drawn from `generator`. `soft`: the softmax itself. `none`: one-hot, no
    gradient.
    """
    if mode == "gumbel":
        uniform = torch.rand(logits.shape, generator=generator).clamp(1e-9, 1 - 1e-7).to(logits.device)
        logits = (logits - torch.log(-torch.log(uniform))) / temperature
    soft = logits.float().softmax(dim=-1)
    if mode == "soft":
        weights = soft
    else:
        hard = functional.one_hot(logits.argmax(dim=-1), logits.shape[-1]).to(soft.dtype)
        weights = hard if mode == "none" else hard + (soft - soft.detach())
    return functional.pad(weights, (1, 0))
