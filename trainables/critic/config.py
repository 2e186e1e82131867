"""Settings and presets of the critic. Imports without torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from crystalsweep.hyperparameters import CorruptionConfig, NonNegative, Weight
from crystalsweep.training.catalogue import StageSpec, declare
from crystalsweep.training.config import StageConfig


class CriticConfig(StageConfig):
    """True species of masked sites against those that a frozen generator chooses, on the same restored positions."""

    corruption: CorruptionConfig = CorruptionConfig()
    """How inputs are made; as the generator's own training, and where the critic is to judge."""
    passes: Annotated[int, Field(ge=1, le=64)] = 2
    """Passes of the generator in which species are chosen, the surest sites first."""
    argmax_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of crystals whose species are the likeliest; the others are drawn at `temperature`."""
    temperature: Weight = 1.0
    """Of drawing; at 1 the critic learns what turns the generator's probabilities into the true ones."""
    site_weight: NonNegative = 1.0
    """Weight of the answers per masked site beside that per crystal."""
    best_by: str = "val/pair_accuracy"
    """Metric of an epoch by which the best is told."""


PRESETS = {
    "smoke": CriticConfig(epochs=2, learning_rate=1e-3, max_atoms=12, max_crystals=64),
    "demo": CriticConfig(epochs=4, learning_rate=1e-3, schedule="cosine", max_atoms=20),
    "small": CriticConfig(epochs=3, learning_rate=1e-3, schedule="cosine", max_atoms=60),
    "base": CriticConfig(epochs=10, learning_rate=3e-4, schedule="cosine", max_atoms=120),
    "paper": CriticConfig(epochs=10, learning_rate=1e-4),
}
"""`smoke`: seconds. `demo`: a minute or two on two cores. `small`: ten minutes with tens of thousands of crystals.
`base`: hours on a GPU. `paper`: at the size of the paper's networks; the paper has no such critic."""

STAGE = declare(
    StageSpec(
        name="critic",
        package="trainables.critic",
        summary="Learn to tell a frozen generator's choices of species from the true ones, to rank candidates.",
        presets=PRESETS,
        inputs=("generator",),
        leaves="generator",
    )
)
