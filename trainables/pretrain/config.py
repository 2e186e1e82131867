"""Settings and presets of pre-training. Imports without torch."""

from __future__ import annotations

from crystalsweep.hyperparameters import CorruptionConfig, EvaluationConfig, ReconstructionConfig
from crystalsweep.training.catalogue import StageSpec, declare
from crystalsweep.training.config import RestorationConfig


class PretrainConfig(RestorationConfig):
    """L_pretrain = L_species + w_pos · L_position on corrupted crystals."""


SMOKE_EVALUATION = EvaluationConfig(sigma_noise=(0.1,), draws=1, max_crystals=8)
DEMO_EVALUATION = EvaluationConfig(sigma_noise=(0.1, 0.2), draws=1, max_crystals=100)
SMALL_EVALUATION = EvaluationConfig(sigma_noise=(0.1,), draws=1, max_crystals=300)
BASE_EVALUATION = EvaluationConfig(draws=1, max_crystals=1000)
PAPER_RECONSTRUCTION = ReconstructionConfig(position_unit="fractional", w_pos=66.7)
PAPER_CORRUPTION = CorruptionConfig(center_noise=False)

PRESETS = {
    "smoke": PretrainConfig(epochs=2, learning_rate=3e-3, max_atoms=12, max_crystals=64, evaluation=SMOKE_EVALUATION),
    "demo": PretrainConfig(epochs=30, learning_rate=5e-3, schedule="cosine", max_atoms=20, evaluation=DEMO_EVALUATION),
    "small": PretrainConfig(
        epochs=14, learning_rate=3e-3, schedule="cosine", max_atoms=60, evaluation=SMALL_EVALUATION
    ),
    "base": PretrainConfig(epochs=50, learning_rate=1e-3, schedule="cosine", max_atoms=120, evaluation=BASE_EVALUATION),
    "paper": PretrainConfig(
        epochs=60,
        learning_rate=1e-4,
        batch_size={0: 1, 25: 3, 45: 5},
        corruption=PAPER_CORRUPTION,
        reconstruction=PAPER_RECONSTRUCTION,
        evaluation=BASE_EVALUATION,
    ),
}
"""`smoke`: seconds, to see that everything works. `demo`: minutes on two cores with the bundled crystals. `small`:
tens of minutes with tens of thousands. `base`: hours on a GPU. `paper`: losses, learning rate and batch schedule as the
paper and its code have them; it does not say when training ends, so 60 epochs is ours. `catalogue.preset` adds the
backbone of that size and its learning rate."""

STAGE = declare(
    StageSpec(
        name="pretrain",
        package="trainables.pretrain",
        summary="Learn to restore corrupted crystals (paper, Fig. 1B).",
        presets=PRESETS,
        inputs=("generator",),
        leaves="generator",
        published=True,
    )
)
