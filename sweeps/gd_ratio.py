"""How should generator and discriminator be balanced?

The paper updates its generator ten times for each update of the discriminator, at ten times the learning rate (lr_G
1e-4, lr_D 1e-5), and compares with nothing else (Liu et al., iScience 27, 110672 (2024)). A discriminator that learns
too little goes on teaching what the generator has long learned; one that learns too fast is always right and teaches
nothing. This sweep varies both ratios at a w_W at which the adversary is felt, beside the control arm w_W = 0.

    python sweeps/gd_ratio.py --preset demo                  twenty minutes on two cores, bundled crystals
    python sweeps/gd_ratio.py --preset demo --search optuna --num-samples 10 --scheduler asha
    ray job submit --working-dir . -- python sweeps/gd_ratio.py --preset small --scheduler pbt --search random
"""

from __future__ import annotations

from collections.abc import Sequence

import sweeps  # noqa: F401  brings the library that lies beside it, before another is imported
from crystalsweep.sweeping.command import sweep_command
from crystalsweep.sweeping.options import BACKBONE
from crystalsweep.sweeping.space.spec import SearchSpace, SweepSpec
from sweeps.axes import NO_ADVERSARY, W, g_steps_per_d_step, gan_stages, learning_rate_ratio, require_unvaried

G_STEPS_PER_D_STEP = (1, 2, 5, 10, 20)
"""10 is the paper's."""

RATES = (0.01, 0.1, 1.0)
"""lr_D over lr_G; 0.1 is the paper's."""

W_WASSERSTEIN = 1.0
"""The greater of the paper's two. With the demo preset its gradient on the generator is a third of reconstruction's; at
0.1 it is 4 %, where no balance could be seen to matter, and at 10 the adversary costs the generator its species.
Another one: --set w_wasserstein=…"""


def search_space(name: str, settings: Sequence[str], *, backbone: str) -> SearchSpace:
    """Return the three stages of the paper; `settings` change the GAN's."""
    stages = gan_stages(name, backbone, settings, first=[f"{W}={W_WASSERSTEIN}"])
    parameters = (
        g_steps_per_d_step(G_STEPS_PER_D_STEP, min(G_STEPS_PER_D_STEP), max(G_STEPS_PER_D_STEP)),
        learning_rate_ratio(stages["gan"], RATES, min(RATES), max(RATES)),
    )
    require_unvaried(stages["gan"], settings, parameters)
    return SearchSpace(stages=stages, parameters=parameters, controls=(NO_ADVERSARY,))


SWEEP = SweepSpec(
    name="gd_ratio", question=__doc__, search_space=search_space, report="crystalsweep.sweeping.report.gan:gan_report"
)

main = sweep_command(SWEEP, BACKBONE)

if __name__ == "__main__":
    main()
