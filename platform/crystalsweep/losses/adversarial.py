"""L_W and its alternatives: what generator and discriminator minimise against each other (paper, Eq. 2).

Class 1 is real. The paper prints |y − LogSoftmax|, which for two classes is blind to the label; its released code uses
the softmax, and so does `l1` here. `hinge`, `wgan_gp` and `relativistic` read the two logits as one score, logit of
real minus logit of fake.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from crystalsweep.structures.segments import segment_sum

AdversarialLoss = Literal["l1", "bce", "hinge", "wgan_gp", "relativistic"]

Scored = Callable[[Tensor, Tensor], Tensor]
"""From species weights (n, 119) and positions (n, 3), Å, to (B, 2) logits."""

REAL, FAKE = 1, 0


def generator_loss(fake_logits: Tensor, loss: AdversarialLoss, real_logits: Tensor | None = None) -> Tensor:
    """Compute L_W(D̂(Ĝ(X)), real): small where (B, 2) `fake_logits` say real.

    `relativistic` needs those of the real crystals, too: it is small where the generated one of a pair has the greater
    score.
    """
    if loss == "l1":
        return l1_to_label(fake_logits, REAL)
    if loss == "bce":
        return cross_entropy_to_label(fake_logits, REAL)
    if loss == "relativistic":
        assert real_logits is not None, "a relativistic loss compares"
        return functional.softplus(realness(real_logits) - realness(fake_logits)).mean()
    return -realness(fake_logits).mean()


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor, loss: AdversarialLoss) -> Tensor:
    """Compute the discriminator's loss, small where real crystals are called real and generated ones fake; without
    `wgan_gp`'s gradient penalty."""
    if loss == "l1":
        return l1_to_label(real_logits, REAL) + l1_to_label(fake_logits, FAKE)
    if loss == "bce":
        return cross_entropy_to_label(real_logits, REAL) + cross_entropy_to_label(fake_logits, FAKE)
    if loss == "hinge":
        return (1 - realness(real_logits)).relu().mean() + (1 + realness(fake_logits)).relu().mean()
    if loss == "relativistic":
        return functional.softplus(realness(fake_logits) - realness(real_logits)).mean()
    return realness(fake_logits).mean() - realness(real_logits).mean()


def l1_to_label(logits: Tensor, label: int) -> Tensor:
    """Return mean over the batch of Σ_k |y_k − softmax_k|, 0…2."""
    target = functional.one_hot(torch.full((len(logits),), label, device=logits.device), logits.shape[-1])
    return (target - logits.float().softmax(dim=-1)).abs().sum(dim=-1).mean()


def cross_entropy_to_label(logits: Tensor, label: int) -> Tensor:
    """Compute the cross entropy; for the generator this is the non-saturating form."""
    return functional.cross_entropy(logits.float(), torch.full((len(logits),), label, device=logits.device))


def realness(logits: Tensor) -> Tensor:
    """Return (B,) realness: logit of real minus logit of fake."""
    return logits[:, REAL] - logits[:, FAKE]


def gradient_penalty(
    critic: Scored,
    real: tuple[Tensor, Tensor],
    fake: tuple[Tensor, Tensor],
    crystal: Tensor,
    mix: Tensor,
) -> Tensor:
    """Return mean of (‖∇ score‖ − 1)² per crystal, between paired real and fake crystals
    (doi:10.48550/arXiv.1704.00028).

    `real` and `fake` are (species weights (n, 119), positions (n, 3) Å) of the same atoms in the same cells, without a
    jump by a lattice vector between them; `mix` is (B,) in [0, 1). The norm runs over a crystal's species weights
    and Å.

    Args:
        critic: From species weights and positions to (B, 2) logits.
        real: Species weights and positions of real crystals.
        fake: Those of generated ones.
        crystal: (n,) which crystal an atom belongs to.
        mix: (B,) where between the two, in [0, 1).
    """
    t = mix[crystal][:, None]
    weights, cart = (t * r + (1 - t) * f for r, f in zip(real, fake, strict=True))
    return ((squared_gradient(critic, weights, cart, crystal, len(mix)) + 1e-12).sqrt() - 1).square().mean()


def squared_gradient(critic: Scored, weights: Tensor, cart: Tensor, crystal: Tensor, size: int) -> Tensor:
    """Return (B,) ‖∇ score‖² of each crystal, over its species weights and Å; its mean, times half a weight, is R1 at
    real crystals and R2 at generated ones.

    Args:
        critic: From species weights and positions to (B, 2) logits.
        weights: (n, 119) species weights.
        cart: (n, 3) positions, Å.
        crystal: (n,) which crystal an atom belongs to.
        size: B.
    """
    weights, cart = (given.detach().requires_grad_() for given in (weights, cart))
    gradients = torch.autograd.grad(realness(critic(weights, cart)).sum(), (weights, cart), create_graph=True)
    squared = sum(g.square().sum(dim=-1) for g in gradients)
    return segment_sum(torch.as_tensor(squared), crystal, size)
