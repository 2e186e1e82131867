"""Energies of generated crystals: relative to their parents, and above the hull of a reference set.

`energy_calculator` makes a calculator by name, `ReferenceHull` a hull, and `energy_columns` the columns of a table.
Single-point energies follow Liu et al., iScience 27, 110672 (2024), doi:10.1016/j.isci.2024.110672.
"""

from crystalsweep.energies._base import FMAX, Energy, EnergyCalculator, Progress, Relaxed
from crystalsweep.energies.ase_calculator import AseCalculator
from crystalsweep.energies.hull import Decomposition, Phase, ReferenceHull, hull_shares
from crystalsweep.energies.limits import Limits, unbelievable, unusable
from crystalsweep.energies.naming import SPELLINGS, energy_calculator
from crystalsweep.energies.scoring import ENERGY_COLUMNS, energy_columns, sun
from crystalsweep.energies.uma import HELP as UMA_HELP

__all__ = [
    "ENERGY_COLUMNS",
    "FMAX",
    "SPELLINGS",
    "UMA_HELP",
    "AseCalculator",
    "Decomposition",
    "Energy",
    "EnergyCalculator",
    "Limits",
    "Phase",
    "Progress",
    "ReferenceHull",
    "Relaxed",
    "energy_calculator",
    "energy_columns",
    "hull_shares",
    "sun",
    "unbelievable",
    "unusable",
]
