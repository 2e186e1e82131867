"""Which crystals an energy is computed for, and which energies are believed. Every refusal is a reason in words.

An interatomic potential answers any input, also one far outside of what it was trained on; what cannot be a crystal
is refused before it is asked, and an answer that cannot be an energy afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crystalsweep.metrics.similarity import reduced_lattice
from crystalsweep.structures.crystal import MASK, Crystal
from crystalsweep.structures.neighbours import neighbour_list

BOND = 3.0
"""Å; CHGNet takes the angles between all pairs of bonds up to this length, which is what its memory goes by."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a calculator accepts. The defaults are far outside of what the Materials Project holds."""

    max_atoms: int = 500
    """Time and memory grow with it; the largest bundled crystal has 152."""
    min_distance: float = 0.5
    """Å; below it atoms coincide (the structural validity's threshold)."""
    min_volume_per_atom: float = 2.0
    """Å³; diamond, the densest in atoms at ambient pressure, has 5.7."""
    max_length: float = 200.0
    """Å, of the reduced lattice vectors; neighbour searches divide the cell into boxes and run out of memory."""
    max_angles: int = 200_000
    """Ordered pairs of bonds up to 3 Å at one atom. Each takes CHGNet about 4 kB and 60 µs; crystals have some 30 per
    atom, atoms that have collapsed onto each other thousands."""
    max_energy: float = 50.0
    """eV/atom either way; PBE energies of the Materials Project, and of potentials fitted to it, stay within 20."""


DEFAULT_LIMITS = Limits()


def unusable(crystal: Crystal, heaviest: int, limits: Limits = DEFAULT_LIMITS) -> str:
    """Return why no energy is computed for `crystal` by a calculator of the elements 1…`heaviest`; empty if one is."""
    return _species(crystal, heaviest, limits) or _cell(crystal, limits) or _distances(crystal, limits)


def unbelievable(energy: float, limits: Limits = DEFAULT_LIMITS) -> str:
    """Return why `energy` (eV/atom) is no energy; empty if it may be one."""
    if not np.isfinite(energy):
        return f"the calculator returned {energy}"
    if abs(energy) > limits.max_energy:
        return f"the calculator returned {energy:.4g} eV/atom, beyond ±{limits.max_energy:g}"
    return ""


def compact(crystal: Crystal) -> Crystal:
    """Return the same crystal in its reduced cell, sites in order: searches in a sheared cell visit thousands of
    images."""
    reduced = reduced_lattice(crystal.lattice)
    if np.linalg.norm(reduced, axis=1).max() > 0.9 * np.linalg.norm(crystal.lattice, axis=1).max():
        return crystal
    return Crystal.of(crystal.id, crystal.species, reduced, crystal.cart @ np.linalg.inv(reduced), **crystal.labels)


def _species(crystal: Crystal, heaviest: int, limits: Limits) -> str:
    if not len(crystal):
        return "no atoms"
    if len(crystal) > limits.max_atoms:
        return f"{len(crystal)} atoms, more than the limit of {limits.max_atoms}"
    if crystal.species.min() <= MASK:
        return f"species {crystal.species.min()}: masked or unknown"
    if crystal.species.max() > heaviest:
        return f"element {crystal.species.max()} is beyond the calculator's (up to {heaviest})"
    return ""


def _cell(crystal: Crystal, limits: Limits) -> str:
    if crystal.frac.shape != (len(crystal), 3) or not np.isfinite(crystal.frac).all():
        return "non-finite or missing coordinates"
    if not np.isfinite(crystal.lattice).all():
        return "non-finite lattice"
    per_atom = crystal.volume / len(crystal)
    if not per_atom >= limits.min_volume_per_atom:  # also where the determinant overflows
        return f"{per_atom:.3g} Å³ per atom, less than {limits.min_volume_per_atom:g}"
    longest = float(np.linalg.norm(reduced_lattice(crystal.lattice), axis=1).max())
    if not longest <= limits.max_length:
        return f"a lattice vector of {longest:.4g} Å, longer than {limits.max_length:g}"
    return ""


def _distances(crystal: Crystal, limits: Limits) -> str:
    reduced = compact(crystal)
    pairs = neighbour_list(reduced.lattice, reduced.frac, BOND)
    if len(pairs.distance) and pairs.distance.min() <= limits.min_distance:
        return f"atoms {pairs.distance.min():.2f} Å apart, not more than {limits.min_distance:g}"
    bonds = np.bincount(pairs.dst)
    if (angles := int((bonds * (bonds - 1)).sum())) > limits.max_angles:
        return f"{angles} angles between bonds up to {BOND:g} Å, more than {limits.max_angles}"
    return ""
