"""CHGNet 0.3.0 (Deng et al., Nat. Mach. Intell. 5, 1031 (2023), doi:10.1038/s42256-023-00716-3), the default.

The weights ship in the chgnet package's wheel; nothing is downloaded. It was trained on total energies of the
Materials Project (PBE and PBE + U, MP2020 corrections), which is what its energies are.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from crystalsweep.energies._base import EnergyCalculator
from crystalsweep.energies.limits import DEFAULT_LIMITS, Limits
from crystalsweep.structures.crystal import Crystal

VERSION = "0.3.0"
"""Of the weights."""

HEAVIEST = 94
"""Pu, the last element of its embedding."""


class Chgnet(EnergyCalculator):
    """CHGNet on `device`, crystals in batches of `batch_size`: one by one on the CPU, 64 on a GPU.

    One by one, an energy is the same to the last bit whatever else is computed; in a batch float32 sums differ by
    1e-6 eV/atom, and buy a tenth of the time on a CPU.
    """

    name = "chgnet"
    heaviest = HEAVIEST

    def __init__(self, *, device: str = "cpu", batch_size: int | None = None, limits: Limits = DEFAULT_LIMITS) -> None:
        super().__init__(limits=limits)
        self.device = device
        self.batch_size = batch_size or (1 if device == "cpu" else 64)
        self._model = _load(device)
        self._calculator: Any = None

    def _compute(self, crystals: Sequence[Crystal]) -> list[float]:
        graphs = [self._model.graph_converter(_structure(crystal)) for crystal in crystals]
        with torch.no_grad():
            found = self._model.predict_graph(graphs, task="e", batch_size=len(graphs))
        return [float(each["e"]) for each in ([found] if len(graphs) == 1 else found)]

    def _ase(self) -> Any:
        if self._calculator is None:
            with contextlib.redirect_stdout(io.StringIO()):  # it says on which device it runs
                from chgnet.model import CHGNetCalculator

                self._calculator = CHGNetCalculator(self._model, use_device=self.device, on_isolated_atoms="error")
        return self._calculator


def _load(device: str) -> Any:
    """Return the network in evaluation mode. `CHGNet.load` unpickles its file; tensors and settings are all it
    needs."""
    import chgnet
    from chgnet.model.model import CHGNet

    (path,) = (Path(chgnet.__file__).parent / "pretrained" / VERSION).glob("*.pth.tar")
    stored = torch.load(path, map_location="cpu", weights_only=True)["model"]
    with contextlib.redirect_stdout(io.StringIO()):  # it says how many parameters it has
        model = CHGNet.from_dict(stored, mlp_out_bias=False, version=VERSION)
    return model.to(device).eval()


def _structure(crystal: Crystal) -> Any:
    from pymatgen.core import Lattice, Structure

    return Structure(Lattice(crystal.lattice), crystal.species, crystal.frac)
