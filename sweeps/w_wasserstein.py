"""How hard should the adversary push?

The paper trains its GAN with w_W = 0.1 and 1 and reports no significant difference (Liu et al., iScience 27, 110672
(2024)). In its released code the gradient is cut before it reaches the generator, so that w_W has no effect at all.
This sweep takes w_W over four orders of magnitude from one pre-trained checkpoint, beside two control arms: w_W = 0,
and the paper's w_W with the gradient cut (species_gradient = none).

    python sweeps/w_wasserstein.py --preset demo             ten minutes on two cores, bundled crystals
    python sweeps/w_wasserstein.py --preset small --seeds 3 --set corruption.sigma_noise=0.2
    ray job submit --working-dir . -- python sweeps/w_wasserstein.py --preset demo --scheduler pbt --search random
"""

from __future__ import annotations

from collections.abc import Sequence

import sweeps  # noqa: F401  brings the library that lies beside it, before another is imported
from crystalsweep.sweeping.command import sweep_command
from crystalsweep.sweeping.options import BACKBONE
from crystalsweep.sweeping.space.spec import SearchSpace, SweepSpec
from sweeps.axes import AS_RELEASED, NO_ADVERSARY, gan_stages, require_unvaried, w_wasserstein

W_WASSERSTEIN = (0.01, 0.1, 1.0, 10.0, 100.0)
"""0.1 and 1 are the paper's. With the demo preset w_W = 0.1 gives the generator a gradient of 4 % of reconstruction's,
10 one of its size; 100 is there to see what too much does."""


def search_space(name: str, settings: Sequence[str], *, backbone: str) -> SearchSpace:
    """Return the three stages of the paper, at the preset's noise; `settings` change the GAN's."""
    stages = gan_stages(name, backbone, settings)
    parameters = (w_wasserstein(W_WASSERSTEIN, min(W_WASSERSTEIN), max(W_WASSERSTEIN)),)
    require_unvaried(stages["gan"], settings, parameters)
    return SearchSpace(stages=stages, parameters=parameters, controls=(NO_ADVERSARY, AS_RELEASED))


SWEEP = SweepSpec(
    name="w_wasserstein",
    question=__doc__,
    search_space=search_space,
    report="crystalsweep.sweeping.report.gan:gan_report",
)

main = sweep_command(SWEEP, BACKBONE)

if __name__ == "__main__":
    main()
