"""What a property model minimises: an error of numbers (the paper's is squared), also of those of spectra, the
cross-entropy of answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from crystalsweep.structures.targets import Kind

ErrorLoss = Literal["mse", "l1", "huber"]

_ERRORS: dict[ErrorLoss, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": functional.mse_loss,
    "l1": functional.l1_loss,
    "huber": functional.huber_loss,
}


def property_loss(answers: Tensor, wanted: Tensor, kind: Kind, error: ErrorLoss) -> Tensor:
    """Compute the loss of one target, a mean over the labelled crystals; 0 where none is.

    Args:
        answers: (B, 1) scaled numbers, (B, P) scaled spectra, or (B, K) logits of answers or classes.
        wanted: (B, 1) scaled labels, (B, P) scaled spectra, or (B, 1) index of the answer; NaN where unlabelled.
        kind: Which of these.
        error: Of numbers; Huber's turns from square to absolute at one standard deviation.
    """
    known = ~torch.isnan(wanted).any(dim=1)
    if not known.any():
        return answers.sum() * 0.0
    if kind == "classification":
        return functional.cross_entropy(answers[known], wanted[known, 0].long())
    return _ERRORS[error](answers[known], wanted[known])
