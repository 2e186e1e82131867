"""Settings and presets of pre-training. Imports without torch."""

from __future__ import annotations

from crystalsweep.hyperparameters import BackboneConfig, EvaluationConfig
from trainables.config import RestorationConfig


class PretrainConfig(RestorationConfig):
    """L_pretrain = L_species + w_pos · L_position on corrupted crystals."""


SMOKE_BACKBONE = BackboneConfig(width=16, layers=1, radial_functions=8, max_neighbours=8)
SMOKE_EVALUATION = EvaluationConfig(sigma_noise=(0.1,), draws=1, max_crystals=8)
DEMO_BACKBONE = BackboneConfig(width=48, layers=2, radial_functions=16, max_neighbours=12)
DEMO_EVALUATION = EvaluationConfig(sigma_noise=(0.1, 0.2), draws=1, max_crystals=100)
SMALL_BACKBONE = BackboneConfig(width=96, layers=3)
SMALL_EVALUATION = EvaluationConfig(sigma_noise=(0.1,), draws=1, max_crystals=300)

PRESETS = {
    "smoke": PretrainConfig(
        epochs=2,
        learning_rate=3e-3,
        max_atoms=12,
        max_crystals=64,
        backbone=SMOKE_BACKBONE,
        evaluation=SMOKE_EVALUATION,
    ),
    "demo": PretrainConfig(
        epochs=30,
        learning_rate=5e-3,
        schedule="cosine",
        max_atoms=20,
        backbone=DEMO_BACKBONE,
        evaluation=DEMO_EVALUATION,
    ),
    "small": PretrainConfig(
        epochs=14,
        learning_rate=3e-3,
        schedule="cosine",
        max_atoms=60,
        backbone=SMALL_BACKBONE,
        evaluation=SMALL_EVALUATION,
    ),
}
"""`smoke`: seconds, to see that everything works. `demo`: minutes on two cores with the bundled crystals. `small`:
tens of minutes with tens of thousands."""
