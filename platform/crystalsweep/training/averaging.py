"""An exponential moving average of a network's weights, which is smoother than the last step's (Polyak averaging).

The rule is torch's (`torch.optim.swa_utils.get_ema_multi_avg_fn`). Its `AveragedModel` around it is not used: it counts
on the CPU and copies that count to the GPU in every step, which waits for it, and its decay cannot begin low.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


def decay_at(decay: float, updates: int) -> float:
    """Return the decay of an update, counted from 1: (1 + n) / (10 + n) at first, then `decay`.

    So the average forgets the first, random weights within a few steps, and a short training is not ruined by it.
    """
    return min(decay, (1 + updates) / (10 + updates))


class WeightAverage:
    """The average of a network's weights over its updates; buffers are those of the network itself."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = deepcopy(model).requires_grad_(False).eval()
        """The network with averaged weights."""
        self.updates = 0
        """Of the network, so far."""
        self._decay = decay

    @torch.no_grad()
    def follow(self, model: nn.Module) -> None:
        """Take in the network after an update."""
        self.updates += 1
        average = get_ema_multi_avg_fn(decay_at(self._decay, self.updates))
        average(list(self.model.parameters()), list(model.parameters()), self.updates)
        for own, theirs in zip(self.model.buffers(), model.buffers(), strict=True):
            own.copy_(theirs)

    def load(self, weights: dict[str, Any], updates: int) -> None:
        """Go on from these averaged weights after so many updates."""
        self.model.load_state_dict(weights)
        self.updates = updates
