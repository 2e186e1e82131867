"""The interface of every energy calculator: crystals in, energy per atom or a reason out; nothing is computed twice.

Results are kept by content (species, lattice, coordinates), so that a crystal's energy difference to itself is zero
exactly, and parents, phases of a hull and rows that return their input cost one evaluation however often they occur.
"""

from __future__ import annotations

import hashlib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from crystalsweep.energies.limits import DEFAULT_LIMITS, Limits, compact, unbelievable, unusable
from crystalsweep.energies.relaxation import relax
from crystalsweep.structures.crystal import Crystal

FMAX = 0.05
"""eV/Å; MatterGen's. CHGNet's own 0.1 saves a third of the steps and leaves up to 6 meV/atom in a disturbed crystal."""

Progress = Callable[..., Iterable[Any]]
"""Called as `progress(items, desc=...)` around every loop that computes; `tqdm.tqdm` is one."""


def silent(items: Iterable[Any], **_: Any) -> Iterable[Any]:
    """Return progress that shows nothing."""
    return items


@dataclass(frozen=True)
class Energy:
    """A single-point energy."""

    per_atom: float
    """eV/atom; NaN where it failed."""
    failure: str = ""
    """Why there is none; empty if there is."""


@dataclass(frozen=True)
class Relaxed:
    """A crystal after relaxation of positions and cell."""

    crystal: Crystal | None
    """None where it failed."""
    per_atom: float
    """Energy, eV/atom; NaN where it failed."""
    converged: bool
    """Whether every force and the stress fell below fmax within the steps; if not, the energy is an upper bound."""
    failure: str = ""
    """Why there is none; empty if there is."""


_Result = TypeVar("_Result")


class EnergyCalculator(ABC):
    """Energies by one potential with fixed settings. Failures are results, never exceptions."""

    name: str
    """As the user writes it."""

    heaviest: int
    """Largest atomic number it knows."""

    batch_size: int = 1
    """Crystals computed at once."""

    def __init__(self, *, limits: Limits = DEFAULT_LIMITS) -> None:
        self.limits = limits
        self._energies: dict[bytes, Energy] = {}
        self._relaxed: dict[tuple[bytes, int, float], Relaxed] = {}

    def energies(self, crystals: Sequence[Crystal], progress: Progress = silent) -> list[Energy]:
        """Return single-point energies of `crystals`, in order."""
        keys = [_key(crystal) for crystal in crystals]
        missing, usable = dict(zip(keys, crystals, strict=True)), {}
        for key in [key for key in missing if key not in self._energies]:
            if reason := self._refusal(missing[key]):
                self._energies[key] = Energy(np.nan, reason)
            else:
                usable[key] = compact(missing[key])
        blocks = _blocks(list(usable), self.batch_size)
        for block in progress(blocks, desc="energies") if blocks else ():
            for key, energy in zip(block, self._block([usable[key] for key in block]), strict=True):
                self._energies[key] = energy
        return [self._energies[key] for key in keys]

    def relax(
        self, crystals: Sequence[Crystal], steps: int, fmax: float = FMAX, progress: Progress = silent
    ) -> list[Relaxed]:
        """Return crystals after at most `steps` steps of FIRE on positions and cell, until forces are < `fmax` (eV/Å).

        The cell's gradient counts as forces do (Fréchet cell filter; Larsen et al., doi:10.1088/1361-648X/aa680e).
        """
        if steps < 1 or not fmax > 0:
            raise ValueError(f"Relaxation takes at least one step and fmax > 0, not {steps} steps and fmax = {fmax}.")
        keys = [(_key(crystal), steps, fmax) for crystal in crystals]
        missing = {key: crystal for key, crystal in zip(keys, crystals, strict=True) if key not in self._relaxed}
        for key in progress(list(missing), desc="relaxations") if missing else ():
            self._relaxed[key] = self._relaxation(missing[key], steps, fmax)
        return [self._relaxed[key] for key in keys]

    @abstractmethod
    def _compute(self, crystals: Sequence[Crystal]) -> list[float]:
        """Return energies (eV/atom) of a batch; any exception is a failure of the batch."""

    @abstractmethod
    def _ase(self) -> Any:
        """Return the potential as an ASE calculator with forces and stress."""

    def _refusal(self, crystal: Crystal) -> str:
        reason, failure = _attempt(lambda: unusable(crystal, self.heaviest, self.limits))
        return failure if reason is None else reason

    def _block(self, crystals: list[Crystal]) -> list[Energy]:
        """Compute a batch; where it fails, its crystals one by one, so that one of them does not fail the others."""
        found, failure = _attempt(lambda: self._compute(crystals))
        if found is not None:
            reasons = [unbelievable(energy, self.limits) for energy in found]
            return [Energy(np.nan if reason else e, reason) for e, reason in zip(found, reasons, strict=True)]
        if len(crystals) == 1:
            return [Energy(np.nan, failure)]
        return [self._block([crystal])[0] for crystal in crystals]

    def _relaxation(self, crystal: Crystal, steps: int, fmax: float) -> Relaxed:
        if reason := self._refusal(crystal):
            return Relaxed(None, np.nan, False, reason)
        found, failure = _attempt(lambda: relax(compact(crystal), self._ase(), steps, fmax, self._refusal))
        if found is None:
            return Relaxed(None, np.nan, False, failure)
        relaxed, energy, converged = found
        if reason := unbelievable(energy, self.limits):
            return Relaxed(None, np.nan, False, reason)
        return Relaxed(relaxed, energy, converged)


def _attempt(work: Callable[[], _Result]) -> tuple[_Result | None, str]:
    """Return the result, or None with the reason; potentials raise nearly any exception on a strange crystal."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return work(), ""
    except Exception as error:
        return None, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _blocks(keys: list[bytes], size: int) -> list[list[bytes]]:
    return [keys[first : first + size] for first in range(0, len(keys), size)]


def _key(crystal: Crystal) -> bytes:
    """Return what the energy depends on: 128 bits of the exact content."""
    content = hashlib.blake2b(digest_size=16)
    for array in (crystal.species, crystal.lattice, crystal.frac):
        content.update(np.ascontiguousarray(array).tobytes())
    return content.digest()
