"""An energy calculator by the name that a user writes on a command line."""

from __future__ import annotations

from crystalsweep.energies._base import EnergyCalculator
from crystalsweep.energies.ase_calculator import import_calculator
from crystalsweep.energies.chgnet import Chgnet
from crystalsweep.energies.limits import DEFAULT_LIMITS, Limits
from crystalsweep.energies.sevennet import load_sevennet
from crystalsweep.energies.uma import load_uma

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
        _require_device(device)
    if name == "chgnet":
        return Chgnet(device=device, limits=limits)
    if name == "sevennet":
        return load_sevennet(device=device, limits=limits)
    if name.startswith("uma:"):
        return load_uma(name, device=device, limits=limits)
    if ":" in name or "." in name:
        return import_calculator(name, limits=limits)
    raise ValueError(f"There is no energy calculator {name!r}; write one of: {SPELLINGS}")


def _require_device(device: str) -> None:
    import torch

    try:
        known = torch.device(device).type in {"cpu", "cuda"}
    except RuntimeError:
        known = False
    if not known:
        raise ValueError(f"There is no device {device!r}; write cpu or cuda")
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"Device {device!r} is not available here; write cpu")
