"""Settings and presets of the GAN stage. Imports without torch."""

from __future__ import annotations

from math import gcd, lcm
from typing import Annotated

from pydantic import Field, model_validator

from crystalsweep.hyperparameters import AdversarialConfig, Positive
from crystalsweep.networks.architectures import BackboneConfig, resized
from crystalsweep.training.catalogue import StageSpec, StepKinds, declare
from crystalsweep.training.config import RestorationConfig
from trainables.pretrain.config import (
    BASE_EVALUATION,
    DEMO_EVALUATION,
    PAPER_CORRUPTION,
    PAPER_RECONSTRUCTION,
    SMALL_EVALUATION,
    SMOKE_EVALUATION,
)


class GanConfig(RestorationConfig):
    """L_G = w_W · L_W + L_species + w_pos · L_position against a discriminator (Eqs. 2 and 3)."""

    adversarial: AdversarialConfig = AdversarialConfig()
    """The adversarial term."""
    discriminator_learning_rate: Positive = 1e-5
    """lr_D, of Adam with betas (0.5, 0.999)."""
    discriminator_width: Annotated[int, Field(gt=0, le=4096)] | None = None
    """Width of D's backbone; none is the generator's, or that of the classifier it starts from."""
    discriminator_layers: Annotated[int, Field(gt=0, le=256)] | None = None
    """Its layers, likewise. A D of its own size that starts from no classifier starts from scratch."""
    audit_every: Annotated[int, Field(gt=0, le=1_000_000)] = 20
    """Generator steps between gradient audits."""

    @property
    def discriminator_backbone(self) -> BackboneConfig:
        """D's backbone."""
        return resized(self.backbone, self.discriminator_width, self.discriminator_layers)

    @property
    def unread(self) -> dict[str, str]:
        """What only one loss, or one way of the gradient through species, reads."""
        adversarial = self.adversarial
        found = {}
        if adversarial.loss != "wgan_gp":
            found["adversarial.gradient_penalty"] = f"loss=wgan_gp, and loss={adversarial.loss} here"
        if (way := adversarial.species_gradient) != "gumbel":
            found["adversarial.temperature"] = f"species_gradient=gumbel, and species_gradient={way} here"
        return found

    @property
    def twice_differentiated(self) -> bool:
        """Whether the discriminator's loss has a gradient in it."""
        return self.adversarial.penalised

    @model_validator(mode="after")
    def _can_be_differentiated_twice(self) -> GanConfig:
        if self.twice_differentiated and self.backbone.compile is True:
            raise ValueError(
                "the gradient penalties of wgan_gp, real_penalty and fake_penalty need gradients of gradients, which "
                "compiled networks do not give; set backbone.compile=false or leave them out"
            )
        return self

    @model_validator(mode="after")
    def _one_weight(self) -> GanConfig:
        adversarial = self.adversarial
        if adversarial.gradient_ratio is not None and adversarial.species_gradient == "none":
            raise ValueError("gradient_ratio has nothing to balance where species_gradient=none cuts the adversary off")
        return self


PRESETS = {
    "smoke": GanConfig(epochs=2, max_atoms=12, max_crystals=64, audit_every=1, evaluation=SMOKE_EVALUATION),
    "demo": GanConfig(epochs=4, learning_rate=1e-3, schedule="cosine", max_atoms=20, evaluation=DEMO_EVALUATION),
    "small": GanConfig(epochs=6, learning_rate=5e-4, schedule="cosine", max_atoms=60, evaluation=SMALL_EVALUATION),
    "base": GanConfig(epochs=20, learning_rate=3e-4, schedule="cosine", max_atoms=120, evaluation=BASE_EVALUATION),
    "paper": GanConfig(
        epochs=30,
        learning_rate=1e-4,
        batch_size=16,
        corruption=PAPER_CORRUPTION,
        reconstruction=PAPER_RECONSTRUCTION,
        evaluation=BASE_EVALUATION,
    ),
}
"""`smoke`: seconds. `demo`: a minute on one core. `small`: tens of minutes with tens of thousands of crystals. `base`:
hours on a GPU. `paper`: the paper's losses, learning rates, noise and 10:1 schedule; 16 crystals per step are its
code's on four GPUs, the number of epochs is ours."""


def step_kinds(config: GanConfig) -> StepKinds:
    """Return a step of each kind and its share: with the discriminator's update or not, audited or not."""
    ratio, audit = config.adversarial.g_steps_per_d_step, config.audit_every
    period = lcm(ratio, audit)
    meet = gcd(ratio, audit) == 1  # once in each period, at the step that is -1 modulo the one and 0 modulo the other
    firsts = [*range(8), ratio - 1, 2 * ratio - 1, *([audit * (-pow(audit, -1, ratio) % ratio)] if meet else [])]
    counts = {
        (True, True): int(meet),
        (True, False): period // ratio - meet,
        (False, True): period // audit - meet,
        (False, False): period - period // ratio - period // audit + meet,
    }
    kinds = {((number + 1) % ratio == 0, number % audit == 0): number for number in sorted(firsts, reverse=True)}
    return sorted((number, counts[kind] / period) for kind, number in kinds.items())


STAGE = declare(
    StageSpec(
        name="gan",
        package="trainables.gan",
        summary="Train generator against discriminator (Fig. 2).",
        presets=PRESETS,
        inputs=("generator", "discriminator"),
        leaves="generator",
        named={
            "corruption.sigma_noise": "σ={}",
            "adversarial.w_wasserstein": "w_W={}",
            "adversarial.g_steps_per_d_step": "{}:1",
        },
        step_kinds=step_kinds,
    )
)
