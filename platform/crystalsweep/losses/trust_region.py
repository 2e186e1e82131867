"""How far a generator's choices have moved from those of the one it started from."""

from __future__ import annotations

from torch import Tensor


def divergence_from_start(logits: Tensor, start_logits: Tensor, masked: Tensor) -> Tensor:
    """Return KL(p_Ĝ ‖ p_start), mean over masked atoms, in nats; 0 where none is masked.

    The direction is that of reference models in reinforcement learning: the generator may leave out what the first one
    thought possible, and is held back from what that one thought impossible.

    Args:
        logits: (n, 118) of the generator in training.
        start_logits: (n, 118) of the one it started from; without gradient.
        masked: (n,) bool.
    """
    logs, start = logits.float().log_softmax(dim=-1), start_logits.float().log_softmax(dim=-1)
    per_atom = (logs.exp() * (logs - start)).sum(dim=-1)
    return (per_atom * masked).sum() / masked.sum().clamp(min=1)
