"""Energy above the hull of a reference set, by any calculator.

The reference's formation energies (`formation_energy_per_atom`, DFT) name the phases that a composition decomposes
into: the x_i >= 0 with the least Σ x_i E_i (Ong et al., Chem. Mater. 20, 1798 (2008), doi:10.1021/cm702327g). Then
e_above_hull = E(generated) − Σ x_i E(phase i), all by the calculator, so that its zero of energy cancels.

Elements are end members at zero whether the reference holds their crystals or not. Polymorphs of the generated
composition take part like any other phase, and so does a crystal's own parent if the reference holds it. A reference
that lacks phases has a hull that is too high, and energies above it too low: against the bundled training split alone,
held-out crystals come out 0.6 eV/atom too low and most lack an element. Give the largest labelled set there is,
whatever a model was trained on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crystalsweep.structures.crystal import N_SPECIES, Crystal
from crystalsweep.structures.elements import element_symbol

LABEL = "formation_energy_per_atom"
"""The label that a reference crystal must have to take part, eV/atom."""

_NOTHING = 1e-6
"""Shares below this are rounding of the linear program."""


@dataclass(frozen=True)
class Phase:
    """The lowest reference crystal of one composition, or an element that the reference has none of."""

    fractions: dict[int, float]
    """Atomic fraction by Z."""
    formation_energy: float
    """eV/atom on the hull's side: the label of a compound, 0 of an element."""
    crystal: Crystal | None
    """None for an element without a labelled crystal."""
    above: float = 0.0
    """eV/atom by which the crystal's label exceeds `formation_energy`: where the reference lacks an element's ground
    state, its lowest polymorph stands in, less what DFT says it lies above it."""


@dataclass(frozen=True)
class Decomposition:
    """The phases on the hull below a composition."""

    phases: tuple[Phase, ...]
    shares: tuple[float, ...]
    """Share of the atoms in each; they add up to 1."""

    @property
    def formation_energy(self) -> float:
        """Of the hull at this composition, eV/atom."""
        return float(sum(x * phase.formation_energy for x, phase in zip(self.shares, self.phases, strict=True)))

    def energy(self, of_phases: Sequence[float]) -> float:
        """Return Σ x_i E_i (eV/atom) for the calculator's energies of the phases' crystals, in order."""
        parts = zip(self.shares, self.phases, of_phases, strict=True)
        return float(sum(x * (energy - phase.above) for x, phase, energy in parts))

    @property
    def missing(self) -> str:
        """Why the energy above the hull cannot be computed; empty if it can."""
        symbols = [element_symbol(z) for phase in self.phases if phase.crystal is None for z in phase.fractions]
        return f"no labelled reference crystal of {', '.join(symbols)}" if symbols else ""


class ReferenceHull:
    """The convex hull of the labelled crystals of a reference set, over all its chemical systems.

    Raises `ValueError` if no crystal has the label `formation_energy_per_atom`.
    """

    def __init__(self, reference: Iterable[Crystal]) -> None:
        lowest: dict[str, Crystal] = {}
        for crystal in sorted((c for c in reference if LABEL in c.labels), key=lambda c: (c.labels[LABEL], c.id)):
            lowest.setdefault(crystal.reduced_formula, crystal)
        if not lowest:
            raise ValueError(f"No crystal of the reference set has the label {LABEL}; give one that has, or no hull.")
        self._elements: dict[int, Phase] = {}
        self._compounds: dict[frozenset[int], list[Phase]] = {}
        for crystal in lowest.values():
            self._add(crystal)
        self._found: dict[tuple[tuple[int, float], ...], Decomposition] = {}

    def _add(self, crystal: Crystal) -> None:
        fractions, label = _fractions(crystal.species), crystal.labels[LABEL]
        if len(fractions) == 1:
            self._elements[next(iter(fractions))] = Phase(fractions, 0.0, crystal, above=label)
        elif label <= 0:  # a compound above its elements is on no hull
            self._compounds.setdefault(frozenset(fractions), []).append(Phase(fractions, label, crystal))

    def decompose(self, species: ArrayLike) -> Decomposition:
        """Return the phases below the composition of species (N,), N >= 1, atomic numbers 1…118."""
        fractions = _fractions(np.asarray(species, dtype=np.int64))
        if not fractions or min(fractions) < 1 or max(fractions) >= N_SPECIES:
            raise ValueError("A composition is one or more atoms of the elements 1…118; it has no masked species.")
        key = tuple(fractions.items())
        if key not in self._found:
            phases = self.phases(fractions)
            shares = hull_shares(
                np.array(list(fractions.values())),
                np.array([[phase.fractions.get(z, 0.0) for z in fractions] for phase in phases]),
                np.array([phase.formation_energy for phase in phases]),
            )
            kept = np.flatnonzero(shares)
            self._found[key] = Decomposition(tuple(phases[i] for i in kept), tuple(shares[kept].tolist()))
        return self._found[key]

    def phases(self, elements: Iterable[int]) -> list[Phase]:
        """Return what a composition of `elements` can decompose into: the elements, then compounds of only these."""
        system = frozenset(elements)
        ends = [self._elements.get(z, Phase({z: 1.0}, 0.0, None)) for z in sorted(system)]
        return ends + [
            phase for inside in sorted(self._inside(system), key=sorted) for phase in self._compounds[inside]
        ]

    def _inside(self, system: frozenset[int]) -> list[frozenset[int]]:
        return [inside for inside in self._compounds if inside <= system]


def hull_shares(
    target: NDArray[np.float64], fractions: NDArray[np.float64], energies: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return (M,) shares x >= 0 with the least Σ x_i E_i that make up the composition `target` (K,), by linear
    programming.

    `fractions` (M, K) are the phases' atomic fractions and `energies` (M,) theirs, eV/atom. Some mixture of the
    phases must give `target`. pymatgen's `PhaseDiagram` finds the same (a test compares them) and is slower: it
    builds every facet of the hull where this needs one.
    """
    from scipy.optimize import linprog

    solution = linprog(energies, A_eq=fractions.T, b_eq=target, bounds=(0, None), method="highs")
    if not solution.success:
        raise ValueError(f"The phases do not give the composition {target.tolist()}: {solution.message}")
    shares: NDArray[np.float64] = np.where(solution.x > _NOTHING, solution.x, 0.0)
    return shares / shares.sum()


def _fractions(species: NDArray[np.int64]) -> dict[int, float]:
    numbers, counts = np.unique(species, return_counts=True)
    return {int(z): float(n) / len(species) for z, n in zip(numbers, counts, strict=True)}
