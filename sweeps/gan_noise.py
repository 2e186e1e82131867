"""Does the adversary help, at which noise, and how hard should it push?

The paper trains its GAN at noise levels 0.1 and 0.2 of min_edge and reports no significant difference between w_W =
0.1 and 1 (Liu et al., iScience 27, 110672 (2024)); with its released code w_W has no effect at all. This sweep
trains the generator at both levels with and without the adversary, from the same pre-trained checkpoint, and says
what the adversary changed beyond just more training at that noise: the control arm, w_W = 0, is always part of it.

    python sweeps/gan_noise.py --preset demo                 ten minutes on two cores, bundled crystals
    python sweeps/gan_noise.py --preset small --data train.parquet,val.parquet --num-samples 16
    ray job submit --working-dir . -- python sweeps/gan_noise.py --preset demo
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import click
import optuna

import sweeps  # noqa: F401  brings the library that lies beside it, before another is imported
from crystalsweep.architectures import SIZES
from crystalsweep.config import override
from sweeps._gan_report import SIGMA, W, report
from sweeps._options import sweep_command
from sweeps._run import run
from sweeps._spec import Resolved, SweepSpec
from trainables.catalogue import preset

SIGMA_NOISE = (0.1, 0.2)
"""Noise levels of the paper's two GAN generators, in units of min_edge."""

W_WASSERSTEIN = (0.1, 1.0, 10.0)
"""0.1 and 1 are the paper's, 10 pushes harder; beyond these Optuna proposes, log-uniformly, in `W_RANGE`."""

W_RANGE = (0.01, 100.0)

POINTS = [
    *({SIGMA: sigma, W: 0.0} for sigma in SIGMA_NOISE),
    *({SIGMA: sigma, W: w} for w in W_WASSERSTEIN for sigma in SIGMA_NOISE),
]
"""The first trials: control arms, then the paper's points."""


def space(trial: optuna.Trial) -> dict[str, Any]:
    """Search space. Control arms come first and do not ask for a w_W, so that its log scale needs no zero."""
    trial.suggest_categorical(SIGMA, SIGMA_NOISE)
    if trial.number < len(SIGMA_NOISE):
        return {W: 0.0}
    trial.suggest_float(W, *W_RANGE, log=True)
    return {}


def resolve(backbone: str, name: str, settings: Sequence[str]) -> Resolved:
    """The three stages of the paper on one backbone; `settings` change the GAN's."""
    stages = {stage: preset(stage, name, backbone) for stage in ("pretrain", "finetune", "gan")}
    stages["gan"] = override(stages["gan"], settings)
    if stages["gan"].backbone != stages["pretrain"].backbone:
        raise ValueError("the backbone is the pre-trained generator's; --set changes the GAN stage only")
    return Resolved(stages=stages)


@sweep_command(
    __doc__ or "",
    click.option(
        "--num-samples", default=len(POINTS), show_default=True, help="Trials in all; at least the control arms."
    ),
    click.option("--backbone", type=click.Choice(list(SIZES)), default="painn", show_default=True, help="The network."),
    presets="smoke, demo, small, base or paper.",
    changes="Change a GAN setting",
    max_concurrent=8,
)
def main(*, backbone: str, **options: Any) -> None:
    """Read the options and run."""
    spec = SweepSpec(
        name="gan_noise",
        question=__doc__ or "",
        resolve=partial(resolve, backbone),
        points=POINTS,
        controls=len(SIGMA_NOISE),
        space=space,
        report=report,
    )
    run(spec, **options)


if __name__ == "__main__":
    main()
