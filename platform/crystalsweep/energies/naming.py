"""An energy calculator by the name that a user writes on a command line."""

from __future__ import annotations

from crystalsweep.energies._base import EnergyCalculator
from crystalsweep.energies.ase_calculator import import_calculator
from crystalsweep.energies.chgnet import Chgnet
from crystalsweep.energies.limits import DEFAULT_LIMITS, Limits
from crystalsweep.energies.sevennet import load_sevennet
from crystalsweep.energies.uma import load_uma
from crystalsweep.structures.devices import device_named

SPELLINGS = (
    "chgnet (its weights come with the package); sevennet (another potential: pip install 'crystalsweep[sevennet]'); "
    "uma:FILE or uma:FILE#TASK (a fairchem checkpoint on this machine); "
    'module:factory or module:factory{"setting": 1} (any ASE calculator by its import path)'
)
"""What can be written, for help texts and errors."""


def energy_calculator(name: str, *, device: str = "cpu", limits: Limits = DEFAULT_LIMITS) -> EnergyCalculator:
    """Return the calculator called `name`, ready to use; `device` is for CHGNet, SevenNet and UMA (others take
    theirs as a setting).

    Raises `ValueError` with the remedy for a name, file, import path or device that is not there.
    """
    if name.startswith("uma:") or name in ("chgnet", "sevennet"):
        device_named(device)
    if name == "chgnet":
        return Chgnet(device=device, limits=limits)
    if name == "sevennet":
        return load_sevennet(device=device, limits=limits)
    if name.startswith("uma:"):
        return load_uma(name, device=device, limits=limits)
    if ":" in name or "." in name:
        return import_calculator(name, limits=limits)
    raise ValueError(f"There is no energy calculator {name!r}; write one of: {SPELLINGS}")
