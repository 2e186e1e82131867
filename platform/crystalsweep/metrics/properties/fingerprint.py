"""What a crystal looks like from the distances between its atoms: a radial fingerprint, and its formula beside it.

The radial part is the pair distribution of Valle and Oganov (Acta Cryst. A 66, 507 (2010),
doi:10.1107/S0108767310026395) over all pairs at once, and again with each pair counted by its difference of
electronegativity, which tells who sits beside whom. Shares of the elements stand beside it. It does not change with
the cell that describes a crystal.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from tqdm import tqdm

from crystalsweep.metrics.geometry import Array
from crystalsweep.metrics.properties.composition import PROPERTIES, element_properties, element_shares
from crystalsweep.structures.crystal import Crystal
from crystalsweep.structures.neighbours import neighbour_list

CUTOFF = 6.0
"""Å; pairs further apart are not seen."""

STEP = 0.1
"""Å, between the points of the radial part."""

WIDTH = 0.2
"""Å; standard deviation of the Gaussian that a pair is smeared to."""

FINGERPRINT = (
    f"pair distribution to {CUTOFF:g} Å in steps of {STEP:g} Å (Gaussians of {WIDTH:g} Å; all pairs, and pairs by "
    "their difference of electronegativity), volume per atom, and shares of the elements; each block standardised on "
    "the training crystals"
)
"""What two crystals are compared by, in words."""


def fingerprints_of(crystals: Sequence[Crystal], *, progress: bool = False) -> Array:
    """Return (M, 2 · 60 + 1 + 118) fingerprints: both radial parts, log volume per atom, shares of the elements."""
    shown = tqdm(crystals, desc="fingerprints", unit="", leave=False, disable=not progress)
    radial = np.array([_radial(crystal) for crystal in shown]).reshape(len(crystals), -1)
    volume = np.log([[crystal.volume / len(crystal)] for crystal in crystals])
    return np.hstack([radial, volume, element_shares(crystals)])


def blocks() -> tuple[slice, ...]:
    """Return columns of the two radial parts, of the volume, and of the elements; each counts as much as another."""
    points = len(_points())
    ends = (0, points, 2 * points, 2 * points + 1, 2 * points + 1 + 118)
    return tuple(slice(a, b) for a, b in pairwise(ends))


def _points() -> Array:
    return np.arange(STEP / 2, CUTOFF, STEP)


def _radial(crystal: Crystal) -> Array:
    """Return (2 · points,) pairs per atom at each distance, divided by the area 4πr² of their sphere, Å⁻³."""
    pairs = neighbour_list(crystal.lattice, crystal.frac, CUTOFF + 3 * WIDTH)
    species = crystal.species
    chi = element_properties()[np.maximum(species, 1) - 1, PROPERTIES.index("electronegativity")]
    bins = np.arange(0.0, CUTOFF + 3 * WIDTH + STEP / 10, STEP / 10)
    weights = np.stack([np.ones(len(pairs.distance)), np.abs(chi[pairs.src] - chi[pairs.dst])])
    area = 4 * np.pi * np.maximum(pairs.distance, STEP) ** 2 * len(crystal)
    counted = np.stack([np.histogram(pairs.distance, bins, weights=each / area)[0] for each in weights])
    centres = (bins[:-1] + bins[1:]) / 2
    kernel = np.exp(-0.5 * ((_points() - centres[:, None]) / WIDTH) ** 2) / (WIDTH * np.sqrt(2 * np.pi))
    return np.asarray((counted @ kernel).ravel())
