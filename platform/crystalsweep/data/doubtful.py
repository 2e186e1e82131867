"""What is read as it stands, and is probably not what was meant: cells as thin as air, numbers in place of gaps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crystalsweep.data.classes import label_names
from crystalsweep.data.packed import atom_counts, ids_of, label_values, sums_over_atoms, volumes_of
from crystalsweep.data.spectra import column_names
from crystalsweep.structures.crystal import MASK, N_ELEMENTS, Crystal
from crystalsweep.structures.elements import GRAMS_PER_CM3

THINNEST = 0.3
"""g/cm³; lithium, the lightest metal, has 0.53, ice of methane 0.5, and of the most open frameworks a few have less.
Asked where there is more than hydrogen and helium, which are thinner by nature (0.09 and 0.2)."""

WIDEST = 150.0
"""Å³ per atom; caesium, the widest of the elements, has 117, xenon 60, and what is open is of small atoms."""

STAND_INS = frozenset(sign * size for size in (999, 9999, 99999, 999999, 1e9, 1e10, 1e20, 1e30) for sign in (-1, 1))
"""Numbers that tables hold where a value is missing."""

FAR = 100
"""Widths of what most values lie in; an extreme so far outside of it is in another unit, or no value."""

_MOST = (0.01, 0.99)
"""Quantiles between which most values lie."""

_ENOUGH = 20
"""Values from which on it is known where most lie."""


def doubts_of(crystals: Sequence[Crystal]) -> list[str]:
    """Return a line on crystals that are thinner than matter, and one for each label whose extreme is no value; none
    where all is well."""
    names = set(label_names(crystals))
    numbers = [name for name in column_names(names) if name in names]  # a spectrum is in as many columns as points
    return [*_thin(crystals), *(line for name in numbers for line in _stand_ins(crystals, name))]


def _thin(crystals: Sequence[Crystal]) -> list[str]:
    if not len(crystals):
        return []
    per_atom = volumes_of(crystals) / atom_counts(crystals)
    density = _densities(crystals)
    thin = np.flatnonzero((density < THINNEST) | (per_atom > WIDEST))
    if not len(thin):
        return []
    are, first = "crystal is" if len(thin) == 1 else "crystals are", thin[0]
    told = f"{ids_of(crystals)[first]} ({per_atom[first]:.3g} Å³ per atom)"
    line = (
        f"{len(thin):,} {are} thinner than solids are (below {THINNEST:g} g/cm³, or above {WIDEST:g} Å³ per atom), the "
        f"first {told}; is the cell in Å, and are all atoms in it?"
    )
    return [line]


def _densities(crystals: Sequence[Crystal]) -> NDArray[np.float64]:
    """Return (M,) g/cm³; NaN where an atom is masked, or none is heavier than helium."""
    from ase.data import atomic_masses

    masses = np.array(atomic_masses[: N_ELEMENTS + 1], dtype=np.float64)
    masses[MASK] = np.nan
    heavy = sums_over_atoms(crystals, np.arange(N_ELEMENTS + 1) > 2) > 0
    return np.where(heavy, sums_over_atoms(crystals, masses) / volumes_of(crystals) * GRAMS_PER_CM3, np.nan)


def _stand_ins(crystals: Sequence[Crystal], name: str) -> list[str]:
    """Return a line on the least of a label's values and one on the greatest, where they seem to be none."""
    values = label_values(crystals, name)
    known = values[~np.isnan(values)]
    if not len(known):
        return []
    ends = {"least": known.min(), "greatest": known.max()}
    lines = []
    for which, end in ends.items():
        rest, rows = known[known != end], int((known == end).sum())
        if end in STAND_INS and rows > 1:
            beside, remedy = "", ""
        elif (most := _far_from(rest, end)) is not None:
            beside = f", where most of the others are {most[0]:.4g} to {most[1]:.4g}"
            remedy = "; else look at its unit"
        else:
            continue
        have, first = "row has" if rows == 1 else "rows have", ids_of(crystals)[int(np.argmax(values == end))]
        lines.append(
            f"{name}: {rows:,} {have} {end:g}, the {which} there is{beside}, the first {first}; if it stands for a "
            f"missing value, leave the cell empty{remedy}"
        )
    return lines


def _far_from(rest: NDArray[np.float64], end: float) -> tuple[float, float] | None:
    """Return between what most other values lie, where an extreme is `FAR` outside of that; else None."""
    if len(rest) < _ENOUGH:
        return None
    low, high = np.quantile(rest, _MOST)
    beyond = max(low - end, end - high)
    return (float(low), float(high)) if high > low and beyond > FAR * (high - low) else None
