"""What can be set about the method, apart from how each stage trains. Imports without torch.

Symbols and defaults follow Liu et al., iScience 27, 110672 (2024), doi:10.1016/j.isci.2024.110672, except where a field
says otherwise.

Every number has bounds, orders of magnitude beyond what anybody would try: they refuse what is a slip of the keyboard,
or is written to exhaust whoever reads it, before hours of work.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from crystalsweep.config import Config


def mask_fraction(mask_type: str) -> float | None:
    """Return 0.15 for `random15`; None for `species`. Raises `ValueError` for anything else."""
    if mask_type == "species":
        return None
    found = re.fullmatch(r"random(\d{1,3})", mask_type)
    if not found or not 0 <= int(found[1]) <= 100:
        raise ValueError(
            f"mask type {mask_type!r} is neither 'species' nor 'random' with a percentage, as in 'random15'"
        )
    return int(found[1]) / 100


def _known_mask_type(mask_type: str) -> str:
    mask_fraction(mask_type)
    return mask_type


MaskType = Annotated[str, AfterValidator(_known_mask_type)]
"""`species` (α: every atom of one species) or `randomNN` (β, γ: ceil(NN % of N) distinct atoms)."""

GREATEST = 1e30
"""Of any number; float32, in which networks compute, ends at 3e38."""

NonNegative = Annotated[float, Field(ge=0, le=GREATEST, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, le=GREATEST, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=1e-6, le=1e6, allow_inf_nan=False)]
"""Relative to others, or what is divided by; float32 tells such apart."""
Noise = Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)]
"""In units of min_edge; at 1 a crystal is no longer to be told from any other."""
Seed = Annotated[int, Field(ge=0, lt=1 << 63)]
"""What NumPy and torch both take."""


class Range(Config):
    """A uniform range to draw from, once per crystal."""

    low: Noise
    """Least value."""
    high: Noise
    """Greatest value."""

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")
        return self


class CorruptionConfig(Config):
    """How a pristine crystal becomes a training input."""

    mask_types: dict[MaskType, Weight] = {"species": 0.5, "random15": 0.5}
    """Mask types and their weights; one is drawn per crystal."""
    sigma_noise: Noise | tuple[Noise, ...] | Range = 0.1
    """Noise level in units of min_edge: a number, a list, or {"low": …, "high": …} to draw from per crystal."""
    center_noise: bool = True
    """Remove the mean displacement, which a translation-invariant network cannot see; off is the paper's reading."""

    @model_validator(mode="after")
    def _not_empty(self) -> CorruptionConfig:
        if not self.mask_types or self.sigma_noise == ():
            raise ValueError("mask_types and sigma_noise need at least one entry")
        return self


class ReconstructionConfig(Config):
    """L_species + w_pos · L_position (Eqs. 1 and 3)."""

    w_pos: NonNegative = 60.0
    """Weight of L_position; the paper's 200 is 66.7 in fractional, and weighs like 16 in min_edge, 2.8 in angstrom."""
    position_unit: Literal["min_edge", "angstrom", "fractional"] = "min_edge"
    """Unit of the displacement error; `fractional` is the paper's."""
    position_error: Literal["squared", "distance"] = "squared"
    """The paper's squared error, or the distance, which the structural similarity measures: w_pos 15 then weighs like
    100 squared."""
    masked_only: bool = False
    """Average L_species over masked atoms only; off is the paper's, over all atoms."""


class AdversarialConfig(Config):
    """The adversarial term w_W · L_W (Eqs. 2 and 3) and how its gradient reaches the generator."""

    w_wasserstein: NonNegative = 0.1
    """w_W, the weight of L_W in the generator's loss; 0 is the control arm."""
    loss: Literal["l1", "bce", "hinge", "wgan_gp", "relativistic"] = "l1"
    """L_W: `l1` is the paper's distance between label and softmax; the others are the field's. relativistic: the real
    crystal of a pair should have the greater score (doi:10.48550/arXiv.2501.05441)."""
    gradient_ratio: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] | None = None
    """r: choose w_W anew at every audit, so that the adversary's gradient on the generator is r times that of the
    reconstruction; means the same on every backbone, where w_W does not. Takes the place of w_wasserstein."""
    trust_region: NonNegative = 0.0
    """β: weight of KL(p_Ĝ ‖ p_start) on masked sites, which keeps the generator near the one it started from."""
    species_gradient: Literal["straight_through", "gumbel", "soft", "none"] = "straight_through"
    """How species carry gradient from D to G; `none` cuts species and positions off, as the released code does."""
    keep_known: bool = False
    """Give visible atoms to D with their true species instead of the predicted one."""
    shared_positions: bool = False
    """Show D real and generated species on the same restored positions, so that it judges and teaches species alone."""
    pooling: Literal["mean", "mean_max", "masked"] = "mean"
    """How D's answers per atom become one: the paper's mean; half of it the greatest, so that one bad atom is seen; or
    the mean over masked atoms, so that D knows what the generator chose."""
    temperature: Weight = 1.0
    """Softmax temperature of `gumbel`."""
    gradient_penalty: NonNegative = 10.0
    """Weight of the gradient penalty of `wgan_gp` (doi:10.48550/arXiv.1704.00028)."""
    g_steps_per_d_step: Annotated[int, Field(gt=0, le=1_000_000)] = 10
    """Generator updates per discriminator update."""
    discriminator_warmup: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    """First steps of the run in which D alone learns."""
    real_sigma_noise: Noise = 0.001
    """Noise on the real crystals shown to D, in units of min_edge."""
    input_sigma_noise: Noise | Range = 0.0
    """More noise on all that D is shown, real and generated, in units of min_edge: a number or a range to draw from per
    crystal. At the size of what restoring leaves, D cannot win on that (doi:10.48550/arXiv.1701.04862)."""
    real_penalty: NonNegative = 0.0
    """R1: weight of D's squared gradient at real crystals (doi:10.48550/arXiv.1801.04406)."""
    fake_penalty: NonNegative = 0.0
    """R2: the same at generated ones."""

    @property
    def penalised(self) -> bool:
        """Whether D's loss has a gradient in it, which training then differentiates again."""
        return self.loss == "wgan_gp" or self.real_penalty > 0 or self.fake_penalty > 0


class EvaluationConfig(Config):
    """The evaluation protocol of Fig. 4: every crystal × mask type × sigma."""

    mask_types: Annotated[tuple[MaskType, ...], Field(min_length=1)] = ("species", "random15", "random30")
    """Mask types; `species` masks each species of a crystal once."""
    sigma_noise: Annotated[tuple[Noise, ...], Field(min_length=1, max_length=1000)] = (0.1, 0.2, 0.4)
    """Noise levels in units of min_edge."""
    draws: Annotated[int, Field(gt=0, le=100_000)] = 5
    """Draws per crystal and sigma of each random mask type."""
    max_crystals: Annotated[int, Field(gt=0, le=1 << 53)] | None = None
    """Evaluate a seeded sample of this many parents; none means all."""
    center_noise: bool = True
    """Remove the mean displacement; not tied to training, so that all models see the same inputs."""
    keep_known: bool = True
    """Visible species are kept as given (completion); off restores every atom (the paper's reading)."""
    seed: Seed = 20240917
    """Fixes the corruptions, so that all models and baselines see the same inputs."""

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        """Refuse cases that would be counted twice."""
        for name, values in (("mask_types", self.mask_types), ("sigma_noise", [round(s, 6) for s in self.sigma_noise])):
            if len(set(values)) < len(values):
                raise ValueError(f"{name} names one twice; give each once")
        return self
