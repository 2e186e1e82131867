"""The axes along which sweeps vary: keys, titles, ranges, and where the paper stands on them.

Liu et al., iScience 27, 110672 (2024), doi:10.1016/j.isci.2024.110672.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from crystalsweep.config import override, setting_path
from crystalsweep.sweeping.space.parameters import Parameter
from crystalsweep.training.catalogue import preset
from crystalsweep.training.config import RestorationConfig, StageConfig
from trainables.gan.config import GanConfig

W_POS = "reconstruction.w_pos"
SIGMA = "corruption.sigma_noise"
W = "adversarial.w_wasserstein"
SPECIES_GRADIENT = "adversarial.species_gradient"
G_STEPS = "adversarial.g_steps_per_d_step"
D_RATE = "discriminator_learning_rate"

PAPER_W_POS = 200.0
"""w_pos as the paper writes it: over the mean of squared fractional components."""

W_POS_AS_IN_PAPER = {"min_edge": 16.0, "angstrom": 2.8, "fractional": 66.7}
"""The w_pos of each `position_unit` that gives L_position the weight of the paper's 200.

`fractional` is exact: the paper's code averages over three components, which are summed here. In the other two the
weights are equal where errors are as large as the noise, on average over the bundled stable crystals of at most 20
atoms; over those of at most 12 and 60 atoms it is 19 and 15 for `min_edge`, 3.1 and 2.7 for `angstrom`.
"""


def w_pos(config: RestorationConfig, on_paper_scale: Sequence[float], low: float, high: float) -> Parameter:
    """Return w_pos at values on the scale on which the paper's is 200, whatever the config's `position_unit`."""
    paper = W_POS_AS_IN_PAPER[config.reconstruction.position_unit]
    unit = paper / PAPER_W_POS
    return Parameter(
        key=W_POS,
        title="w_pos (paper's scale)",
        values=tuple(value * unit for value in on_paper_scale),
        low=low * unit,
        high=high * unit,
        log=True,
        paper=paper,
        unit=unit,
        brief="w_pos={}",
    )


def sigma_noise(values: Sequence[float], low: float | None = None, high: float | None = None) -> Parameter:
    """Return training noise in units of min_edge; the paper's 0.2 is the greater of its two."""
    return Parameter(key=SIGMA, title="σ_noise", values=tuple(values), low=low, high=high, paper=0.2, brief="σ={}")


def w_wasserstein(values: Sequence[float], low: float, high: float) -> Parameter:
    """Return w_W, the weight of the adversary."""
    return Parameter(key=W, title="w_W", values=tuple(values), low=low, high=high, log=True, paper=0.1, mutable=True)


def g_steps_per_d_step(values: Sequence[int], low: int, high: int) -> Parameter:
    """Return updates of the generator for each of the discriminator."""
    return Parameter(
        key=G_STEPS,
        title="G:D steps",
        values=tuple(values),
        low=low,
        high=high,
        log=True,
        paper=10,
        mutable=True,
        brief="{}:1",
    )


def learning_rate_ratio(config: StageConfig, values: Sequence[float], low: float, high: float) -> Parameter:
    """Return lr_D at multiples of the config's lr_G; shown as the ratio."""
    unit = config.learning_rate
    return Parameter(
        key=D_RATE,
        title="lr_D/lr_G",
        values=tuple(value * unit for value in values),
        low=low * unit,
        high=high * unit,
        log=True,
        paper=0.1 * unit,
        unit=unit,
        mutable=True,
    )


NO_ADVERSARY = {W: 0.0}
"""A control arm: the same training, and nothing comes from the discriminator."""

AS_RELEASED = {W: 0.1, SPECIES_GRADIENT: "none"}
"""A control arm: the paper's released code, in which the gradient is cut before it reaches the generator."""


def gan_stages(name: str, backbone: str, settings: Sequence[str], first: Sequence[str] = ()) -> dict[str, StageConfig]:
    """Return the paper's three stages on one backbone; `first` and after it `settings` change the GAN's."""
    stages = {stage: preset(stage, name, backbone) for stage in ("pretrain", "finetune", "gan")}
    stages["gan"] = override(stages["gan"], [*first, *settings])
    require_backbone_of(stages["pretrain"], stages["gan"], "the GAN stage")
    return stages


def require_backbone_of(pretrain: StageConfig, later: StageConfig, changed: str) -> None:
    """Raise `ValueError` where `--set` gives a later stage another backbone; `changed` is what it may change."""
    if later.backbone != pretrain.backbone:
        raise ValueError(f"the backbone is the pre-trained generator's; --set changes {changed} only")


def gan_of(stages: dict[str, StageConfig]) -> GanConfig:
    """Return the config that is swept."""
    return cast(GanConfig, stages["gan"])


def require_unvaried(config: StageConfig, settings: Sequence[str], parameters: Sequence[Parameter]) -> None:
    """Raise `ValueError` for a `--set` of what every trial sets anew."""
    for assignment in settings:
        key = setting_path(config, assignment.partition("=")[0].strip())
        if any(parameter.key == key or parameter.key.startswith(f"{key}.") for parameter in parameters):
            raise ValueError(f"--set {assignment}: {key} is what this sweep varies; leave that out")
