"""How much should positions count beside species?

Pre-training minimises L_species + w_pos · L_position. The paper's Fig. S2 trains with one w_pos after another:
L_species stays as it is, L_position falls until about 200 and no further, so 200 is what it uses (Liu et al., iScience
27, 110672 (2024)). This sweep draws that figure again, from one pre-training for each w_pos.

Values are on the paper's scale, where w_pos weighs the mean of squared fractional components. Positions are compared in
units of min_edge here, and what weighs as much as the paper's 200 is then a w_pos of about 16; MLflow has that number.

    python sweeps/w_pos.py --preset demo                     ten minutes on two cores, bundled crystals
    python sweeps/w_pos.py --preset small --seeds 3
    ray job submit --working-dir . -- python sweeps/w_pos.py --preset small --search optuna --num-samples 24
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import sweeps  # noqa: F401  brings the library that lies beside it, before another is imported
from crystalsweep.config import override
from crystalsweep.sweeping.command import sweep_command
from crystalsweep.sweeping.options import BACKBONE
from crystalsweep.sweeping.space.spec import SearchSpace, SweepSpec
from crystalsweep.training.catalogue import preset
from crystalsweep.training.config import RestorationConfig
from sweeps.axes import require_unvaried, w_pos

W_POS = (2, 10, 20, 50, 100, 200, 400, 1000)
"""On the paper's scale: from a hundredth of its value, where positions hardly count, to five times that."""


def search_space(name: str, settings: Sequence[str], *, backbone: str) -> SearchSpace:
    """Return pre-training at a preset's size, w_pos apart."""
    config = cast(RestorationConfig, override(preset("pretrain", name, backbone), settings))
    parameters = (w_pos(config, W_POS, min(W_POS), max(W_POS)),)
    require_unvaried(config, settings, parameters)
    return SearchSpace(stages={"pretrain": config}, parameters=parameters)


SWEEP = SweepSpec(
    name="w_pos", question=__doc__, search_space=search_space, report="crystalsweep.sweeping.report.w_pos:w_pos_report"
)

main = sweep_command(SWEEP, BACKBONE)

if __name__ == "__main__":
    main()
