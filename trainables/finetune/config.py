"""Settings and presets of fine-tuning. Imports without torch."""

from __future__ import annotations

from typing import Literal

from crystalsweep.training.catalogue import StageSpec, declare
from crystalsweep.training.config import StageConfig


class FinetuneConfig(StageConfig):
    """Stability classification: e_above_hull ≤ 0 or not, by negative log likelihood."""

    stable_only: Literal[False] = False
    """A classifier needs both classes."""
    best_by: str = "val/loss"
    """Metric of an epoch by which the best is told."""
    best_mode: Literal["max", "min"] = "min"
    """Whether `best_by` is better greater or smaller."""
    trainable: Literal["all", "head"] = "all"
    """What is updated: everything (the paper's text) or the head alone (its code)."""


LABELS = ("e_above_hull",)
"""eV/atom; what a crystal must have to be learnt from."""

PRESETS = {
    "smoke": FinetuneConfig(epochs=1, learning_rate=1e-3, max_atoms=12, max_crystals=64),
    "demo": FinetuneConfig(epochs=4, learning_rate=1e-3, schedule="cosine", max_atoms=20),
    "small": FinetuneConfig(epochs=6, learning_rate=5e-4, schedule="cosine", max_atoms=60),
    "base": FinetuneConfig(epochs=20, learning_rate=3e-4, schedule="cosine", max_atoms=120),
    "paper": FinetuneConfig(epochs=60, learning_rate=1e-4, batch_size={0: 1, 25: 3, 45: 5}),
}
"""`smoke`: seconds. `demo`: a minute on two cores. `small`: tens of minutes with tens of thousands of crystals. `base`:
hours on a GPU. `paper`: the paper's optimizer and batch schedule, all weights updated."""

STAGE = declare(
    StageSpec(
        name="finetune",
        package="trainables.finetune",
        summary="Learn to tell stable crystals from unstable ones (Fig. 1C).",
        presets=PRESETS,
        inputs=("generator",),
        leaves="discriminator",
        labels=LABELS,
    )
)
