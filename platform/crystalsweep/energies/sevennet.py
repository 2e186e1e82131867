"""SevenNet-0 (Park et al., J. Chem. Theory Comput. 20, 4857 (2024), doi:10.1021/acs.jctc.4c00190), a second judge.

An equivariant potential of another architecture than CHGNet's, trained on the same relaxations of the Materials Project
(MPtrj). The weights, of 11 July 2024, ship in the sevenn package's wheel; nothing is downloaded. An optional
dependency: pip install 'crystalsweep[sevennet]'.
"""

from __future__ import annotations

import warnings
from typing import Any

from crystalsweep.energies.ase_calculator import AseCalculator
from crystalsweep.energies.limits import DEFAULT_LIMITS, Limits

WEIGHTS = "7net-0"
"""As the package calls them."""

HEAVIEST = 94
"""Pu; some lighter elements it has not seen either, and fails on these."""


def load_sevennet(*, device: str = "cpu", limits: Limits = DEFAULT_LIMITS) -> AseCalculator:
    """Return SevenNet-0 on `device`. Raises `ValueError` with the remedy where the package is not installed."""
    return AseCalculator(_calculator(device), "sevennet", heaviest=HEAVIEST, limits=limits)


def _calculator(device: str) -> Any:
    try:
        from sevenn.calculator import SevenNetCalculator
    except ImportError as error:
        raise ValueError(
            f"SevenNet is not installed ({error}); pip install 'crystalsweep[sevennet]', or take chgnet"
        ) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it would be faster with an accelerator of NVIDIA's
        return SevenNetCalculator(WEIGHTS, device=device)
