"""Any ASE calculator by its import path, e.g. `ase.calculators.lj:LennardJones{"sigma": 2.5}`."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from crystalsweep.energies._base import EnergyCalculator
from crystalsweep.energies.limits import DEFAULT_LIMITS, Limits
from crystalsweep.energies.relaxation import atoms_of
from crystalsweep.structures.crystal import N_ELEMENTS, Crystal

_SPELLING = re.compile(r"(?P<module>\w+(\.\w+)*)[:.](?P<factory>\w+)\s*(?P<settings>\{.*\})?", re.DOTALL)


class AseCalculator(EnergyCalculator):
    """The potential energy of an ASE calculator, crystal by crystal."""

    def __init__(
        self, calculator: Any, name: str, *, heaviest: int = N_ELEMENTS, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        super().__init__(limits=limits)
        self.name = name
        self.heaviest = heaviest
        self._calculator = calculator

    def _compute(self, crystals: Sequence[Crystal]) -> list[float]:
        return [self._energy(crystal) for crystal in crystals]

    def _energy(self, crystal: Crystal) -> float:
        atoms = atoms_of(crystal)
        atoms.calc = self._calculator
        return float(atoms.get_potential_energy()) / len(atoms)

    def _ase(self) -> Any:
        return self._calculator


def import_calculator(name: str, *, limits: Limits = DEFAULT_LIMITS) -> AseCalculator:
    """Return the calculator that `module:factory` or `module.Class` makes, called with the JSON object behind it, if
    any.

    Importing runs the code of that module. Raises `ValueError` for anything that is no calculator's path.
    """
    factory, settings = _factory(name)
    try:
        calculator = factory(**settings)
    except Exception as error:
        raise ValueError(f"{name}: making the calculator failed: {type(error).__name__}: {error}") from error
    if not callable(getattr(calculator, "get_potential_energy", None)):
        raise ValueError(f"{name} makes a {type(calculator).__name__}, which is no ASE calculator")
    return AseCalculator(calculator, name, limits=limits)


def _factory(name: str) -> tuple[Any, dict[str, Any]]:
    parts = _SPELLING.fullmatch(name.strip())
    if parts is None:
        raise ValueError(f"{name!r} is no import path; write module:factory or module:factory{{JSON settings}}")
    try:
        settings = json.loads(parts["settings"] or "{}")
    except json.JSONDecodeError as error:
        raise ValueError(f'{name}: its settings are no JSON object ({error}); write e.g. {{"sigma": 2.5}}') from None
    try:
        factory = getattr(import_module(parts["module"]), parts["factory"], None)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"{name}: cannot import {parts['module']} ({reason}); is its package installed?") from error
    if not callable(factory):
        raise ValueError(f"{name}: module {parts['module']} has no class or function {parts['factory']}")
    return factory, settings
