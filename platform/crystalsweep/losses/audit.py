"""Gradient-flow audit: does the discriminator teach the generator, how hard, and in which direction?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class GradientAudit:
    """Gradients on the generator's weights, of one step."""

    adversarial_norm: float
    """‖∇ w_W · L_W‖; exactly 0 where the adversary is cut off."""
    reconstruction_norm: float
    """‖∇ (L_species + w_pos · L_position)‖."""
    ratio: float
    """Adversarial over reconstruction."""
    cosine: float
    """Between the two; 0 where either vanishes. Negative: the adversary pulls against reconstruction."""

    def weighted(self, weight: float) -> GradientAudit:
        """Return the audit with the adversarial loss multiplied by a weight."""
        return replace(
            self,
            adversarial_norm=weight * self.adversarial_norm,
            ratio=weight * self.ratio,
            cosine=self.cosine if weight else 0.0,
        )

    def as_metrics(self) -> dict[str, float]:
        """Return flat names for tracking."""
        return {f"audit/{name}": value for name, value in asdict(self).items()}


def audit_gradients(adversarial: Tensor, reconstruction: Tensor, parameters: Sequence[nn.Parameter]) -> GradientAudit:
    """Return audit of two scalar losses; the graph is kept for the step's own backward pass, `.grad` is not touched."""
    a, r = _gradient(adversarial, parameters), _gradient(reconstruction, parameters)
    norm_a, norm_r = float(a.norm()), float(r.norm())
    product = norm_a * norm_r
    return GradientAudit(
        adversarial_norm=norm_a,
        reconstruction_norm=norm_r,
        ratio=norm_a / norm_r if norm_r else 0.0,
        cosine=float(a @ r) / product if product else 0.0,
    )


def _gradient(loss: Tensor, parameters: Sequence[nn.Parameter]) -> Tensor:
    if not loss.requires_grad:
        return torch.zeros(sum(p.numel() for p in parameters), device=loss.device)
    gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
    return torch.cat([g.flatten() for g in gradients])
