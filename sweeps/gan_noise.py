"""Does the adversary help, at which noise, and how hard should it push?

The paper trains its GAN at noise levels 0.1 and 0.2 of min_edge and reports no significant difference between w_W =
0.1 and 1 (Liu et al., iScience 27, 110672 (2024)); with its released code w_W has no effect at all. This sweep
trains the generator at both levels with and without the adversary, from the same pre-trained checkpoint, and says
what the adversary changed beyond just more training at that noise: the control arm, w_W = 0, is always part of it.

    python sweeps/gan_noise.py --preset demo                 ten minutes on two cores, bundled crystals
    python sweeps/gan_noise.py --preset small --data train.parquet,val.parquet --search optuna --num-samples 16
    ray job submit --working-dir . -- python sweeps/gan_noise.py --preset demo
"""

from __future__ import annotations

from collections.abc import Sequence

import sweeps  # noqa: F401  brings the library that lies beside it, before another is imported
from crystalsweep.sweeping.command import sweep_command
from crystalsweep.sweeping.options import BACKBONE
from crystalsweep.sweeping.space.spec import SearchSpace, SweepSpec
from sweeps.axes import NO_ADVERSARY, SIGMA, W, gan_stages, require_unvaried, sigma_noise, w_wasserstein

SIGMA_NOISE = (0.1, 0.2)
"""Noise levels of the paper's two GAN generators, in units of min_edge."""

W_WASSERSTEIN = (0.1, 1.0, 10.0)
"""0.1 and 1 are the paper's, 10 pushes harder."""

W_RANGE = (0.01, 100.0)
"""What a search draws from, log-uniformly."""


def search_space(name: str, settings: Sequence[str], *, backbone: str) -> SearchSpace:
    """Return the three stages of the paper on one backbone; `settings` change the GAN's."""
    stages = gan_stages(name, backbone, settings)
    parameters = (sigma_noise(SIGMA_NOISE), w_wasserstein(W_WASSERSTEIN, *W_RANGE))
    require_unvaried(stages["gan"], settings, parameters)
    return SearchSpace(
        stages=stages,
        parameters=parameters,
        controls=tuple({SIGMA: sigma, **NO_ADVERSARY} for sigma in SIGMA_NOISE),
        grid=tuple({SIGMA: sigma, W: w} for w in W_WASSERSTEIN for sigma in SIGMA_NOISE),
    )


SWEEP = SweepSpec(
    name="gan_noise", question=__doc__, search_space=search_space, report="crystalsweep.sweeping.report.gan:gan_report"
)

main = sweep_command(SWEEP, BACKBONE)

if __name__ == "__main__":
    main()
