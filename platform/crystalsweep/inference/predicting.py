"""A property model in use: loaded from its checkpoint, it predicts properties of crystals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from crystalsweep.data.targets import STABILITY, Target
from crystalsweep.networks.checkpoint import load_classifier
from crystalsweep.networks.models import PropertyModel, one_hot, pristine_graph_of
from crystalsweep.structures.batch import collate
from crystalsweep.structures.crystal import Crystal

BATCH = 64
"""Crystals that pass the network together."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictor:
    """A property model, in evaluation mode."""

    model: PropertyModel
    targets: tuple[Target, ...]

    @torch.no_grad()
    def predict(self, crystals: Sequence[Crystal]) -> dict[str, NDArray[np.float64]]:
        """Return predictions by target, (M, K) probabilities of K classes."""
        parts = [self._logits(crystals[i : i + BATCH]) for i in range(0, len(crystals), BATCH)]
        (target,) = self.targets
        return {target.name: torch.cat(parts).double().softmax(dim=-1).numpy()}

    def _logits(self, crystals: Sequence[Crystal]) -> torch.Tensor:
        batch = collate(crystals)
        return self.model(one_hot(batch.species), pristine_graph_of(batch, self.model.backbone.config)).cpu()


def load_predictor(path: Path) -> Predictor:
    """Return the property model of a checkpoint folder. Raises `ValueError` where there is none."""
    return Predictor(model=load_classifier(path), targets=(STABILITY,))
