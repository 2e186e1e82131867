"""What is drawn of a crystal: its atoms where the eye expects them, with colours, sizes and words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crystalsweep.gallery.specimens import Specimen
from crystalsweep.pages.spheres import colour_of, radius_of
from crystalsweep.structures.crystal import MASK, Crystal
from crystalsweep.structures.elements import element_symbol

MASKED = "?"

EDGES = tuple((a, b) for a in range(8) for b in range(8) if a < b and (a ^ b) in (1, 2, 4))
"""Of a cell, between corners whose numbers' bits are their fractional coordinates."""


@dataclass(frozen=True, kw_only=True)
class Atom:
    """An atom to draw."""

    symbol: str
    """`?` where the species is masked."""
    colour: str
    """As `#rrggbb`."""
    radius: float
    """Covalent, Å."""
    cart: tuple[float, float, float]
    """Å."""
    verdict: str
    """`right` or `wrong` where a masked species was predicted, `named` where its symbol is shown; else empty."""


def columns(specimen: Specimen) -> dict[str, list[Atom]]:
    """Return the atoms of the three crystals. Atoms that left the cell on their way stay beside where they began."""
    origin = specimen.before
    masked = specimen.corrupted.species == MASK
    kept = specimen.after.species == origin.species
    verdicts = [("right" if right else "wrong") if hidden else "" for right, hidden in zip(kept, masked, strict=True)]
    nothing = [""] * len(origin)
    return {
        "before": _atoms(origin, origin, nothing),
        "corrupted": _atoms(specimen.corrupted, origin, nothing),
        "after": _atoms(specimen.after, origin, verdicts),
    }


def atoms_beside(crystal: Crystal, origin: Crystal, named: Sequence[int]) -> list[Atom]:
    """Return the atoms of a crystal with the sites of `origin`, beside whose they stay; a verdict marks those that are
    named on the picture."""
    verdicts = ["named" if atom in set(named) else "" for atom in range(len(origin))]
    return _atoms(crystal, origin, verdicts)


def corners(crystal: Crystal) -> NDArray[np.float64]:
    """Return (8, 3) corners of the cell, Å, in the order of `EDGES`."""
    return np.array([[(k >> axis) & 1 for axis in range(3)] for k in range(8)], dtype=float) @ crystal.lattice


def _atoms(crystal: Crystal, origin: Crystal, verdicts: list[str]) -> list[Atom]:
    moved = (crystal.frac - origin.frac + 0.5) % 1.0 - 0.5
    cart = (origin.frac + moved) @ origin.lattice
    return [
        _atom(int(z), (float(x), float(y), float(w)), verdict)
        for z, (x, y, w), verdict in zip(crystal.species, cart, verdicts, strict=True)
    ]


def _atom(z: int, cart: tuple[float, float, float], verdict: str) -> Atom:
    symbol = MASKED if z == MASK else element_symbol(z)
    return Atom(symbol=symbol, colour=colour_of(z), radius=radius_of(z), cart=cart, verdict=verdict)
