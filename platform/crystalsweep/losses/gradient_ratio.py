"""w_W chosen so that the adversary's gradient is a given share of the reconstruction's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from crystalsweep.losses.audit import GradientAudit, audit_gradients

MEMORY = 0.9
"""Share of w_W that stays from one audit to the next; norms of single batches differ by as much as themselves."""

GREATEST_WEIGHT = 1e4
"""Of w_W, where the adversary hardly has a gradient."""


class RatioController(nn.Module):
    """Holds w_W, which follows r · ‖∇ reconstruction‖ / ‖∇ L_W‖; saved with the networks, so that resuming is exact.

    VQGAN chooses its weight so, at every step and with r = 0.8 (doi:10.48550/arXiv.2012.09841).
    """

    weight: Tensor
    audits: Tensor

    def __init__(self, ratio: float) -> None:
        super().__init__()
        self.ratio = ratio
        self.register_buffer("weight", torch.zeros((), dtype=torch.float64))
        self.register_buffer("audits", torch.zeros((), dtype=torch.float64))

    def follow(self, unweighted: GradientAudit) -> float:
        """Take in the audit of L_W itself, without a weight, and return w_W; it stays where L_W has no gradient."""
        if unweighted.adversarial_norm > 0:
            wanted = self.ratio * unweighted.reconstruction_norm / unweighted.adversarial_norm
            stays = MEMORY if self.audits > 0 else 0.0
            self.weight.mul_(stays).add_((1 - stays) * min(wanted, GREATEST_WEIGHT))
            self.audits += 1
        return float(self.weight)


def weighed(
    loss: Tensor,
    reconstruction: Tensor,
    parameters: Sequence[nn.Parameter],
    *,
    given: float,
    controller: RatioController | None,
    asked: bool,
) -> tuple[float, GradientAudit | None]:
    """Return the weight of an adversary's loss in a step, and where it is audited the gradients of both with it.

    Args:
        loss: The adversary's, without a weight.
        reconstruction: What the generator minimises besides.
        parameters: The generator's.
        given: The weight where nothing controls it.
        controller: Chooses the weight by the audits, of which it needs one before its first.
        asked: Whether this step is to be audited.
    """
    if not asked and (controller is None or controller.audits > 0):
        return (given if controller is None else float(controller.weight)), None
    found = audit_gradients(loss, reconstruction, parameters)
    weight = given if controller is None else controller.follow(found)
    return weight, found.weighted(weight)
