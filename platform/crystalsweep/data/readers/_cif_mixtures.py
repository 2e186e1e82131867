"""Sites of a CIF that several elements share: rows at one place whose occupancies add up to one atom."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from crystalsweep.data.readers._cif_block import RefusedError, refuse
from crystalsweep.structures.crystal import MASK

Mixtures = Mapping[int, Mapping[int, float]]
"""By number of a row, from 1: the share of each element, by atomic number."""

ROUNDED = 0.006
"""By how much each occupancy may be rounded: two digits."""

_PLACE = 4
"""Digits of fractional coordinates that say whether two rows are at one place."""


def mixtures_of(
    species: NDArray[np.int64],
    frac: NDArray[np.float64],
    occupancies: Sequence[float],
    labels: Sequence[str],
    whole: float,
) -> tuple[NDArray[np.int64], Mixtures]:
    """Return the rows that are sites of their own, and what shares those that are shared.

    Args:
        species: (n,) atomic numbers of the rows; `MASK` where one is masked.
        frac: (n, 3) fractional coordinates.
        occupancies: Of each row.
        labels: Of each row.
        whole: By how much the occupancy of a whole atom may differ from 1.

    Raises:
        RefusedError: A place is not filled, or filled more than once.
    """
    full = [abs(each - 1) <= whole for each in occupancies]
    if all(full):
        return np.arange(len(full)), {}
    places: dict[tuple[float, ...], list[int]] = {}
    for row, place in enumerate((np.round(frac, _PLACE) % 1.0).tolist()):
        places.setdefault(tuple(place), []).append(row)
    first, mixtures = [], {}
    for rows in places.values():
        if all(full[row] for row in rows):
            first += rows
            continue
        first.append(rows[0])
        shares = _shares(species[rows].tolist(), [occupancies[row] for row in rows], labels[rows[0]])
        if len(shares) > 1:  # one element in several oxidation states is an atom like others
            mixtures[rows[0] + 1] = shares
    return np.array(sorted(first), dtype=np.int64), mixtures


def _shares(species: Sequence[int], occupancies: Sequence[float], label: str) -> Mapping[int, float]:
    """Return the share of each element of a place, which add up to 1."""
    total = sum(occupancies)
    if min(occupancies) <= 0 or MASK in species:
        detail = f"{label} is masked" if MASK in species else f"{label} has an occupancy of {min(occupancies):g}"
        raise refuse("partial occupancy", detail, "mask whole sites, and leave out rows without an atom")
    if abs(total - 1) > ROUNDED * len(species):
        raise _unfilled(label, total)
    shares: Counter[int] = Counter()
    for z, share in zip(species, occupancies, strict=True):
        shares[z] += share / total  # type: ignore[assignment]
    return dict(shares)


def _unfilled(label: str, total: float) -> RefusedError:
    if total > 1:
        return refuse("partial occupancy", f"{label}: {total:g} atoms at one place", "let them add up to 1")
    detail = f"{label}: {total:g} of an atom at its place, the rest is vacant or its row at other coordinates"
    remedy = (
        "the model puts an atom on every site: give rows that share a site the same coordinates, fill the site, remove "
        "it, or give an ordered approximant"
    )
    return refuse("partial occupancy", detail, remedy)
