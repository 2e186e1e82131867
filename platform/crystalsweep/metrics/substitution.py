"""Data-mined substitution of elements, as a probability P(A→B) and as a baseline that is told what was masked.

The probabilities are those of Hautier et al., Inorg. Chem. 50, 656 (2011), doi:10.1021/ic102031h, from pymatgen's
table. Liu et al., iScience 27, 110672 (2024) hold their model's replacements against them (Fig. S16).
doi:10.1016/j.isci.2024.110672
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalsweep.metrics.baselines import Baseline
from crystalsweep.metrics.oxidation import known_states, oxidation_states
from crystalsweep.structures.crystal import MASK, N_ELEMENTS, N_SPECIES, Crystal
from crystalsweep.structures.elements import element_symbol

Rule = Literal["mined", "charge", "any charge", "similar"]

_NEVER = -5.0
"""λ of a pair of ions that was never observed to substitute; pymatgen's α."""

_HEAVIEST_KNOWN = 103
"""Lr, the last element with a Mendeleev number; a heavier one stands where its lighter neighbour in the group does."""

_PERIOD = 32
"""Elements in the seventh period: Rf (104) lies below Hf (72)."""


@dataclass(frozen=True, eq=False)
class _Ions:
    """The mined table: n ions and how often one takes another's place."""

    numbers: NDArray[np.int64]
    """(n,) atomic numbers."""
    charges: NDArray[np.int64]
    """(n,) oxidation states."""
    weights: NDArray[np.float64]
    """(n, n) exp(λ), symmetric: the joint probability up to a factor."""
    observed: NDArray[np.bool_]
    """(n, n) whether λ was mined; it is `_NEVER` otherwise."""


class Substitute(NamedTuple):
    """What takes an element's place, and how it was found."""

    number: int
    """Atomic number."""
    rule: Rule
    """`mined`: likeliest of the same charge. `charge`: most similar element of that charge, where the table has none.
    `any charge`: likeliest over all oxidation states. `similar`: most similar element of the table."""


@cache
def _ions() -> _Ions:
    # Read from the table: pymatgen's class takes 2 s to sum over all pairs of ions.
    from pymatgen.core import Species
    from pymatgen.core.structure_prediction.substitution_probability import SubstitutionProbability

    source = sys.modules[SubstitutionProbability.__module__].__file__
    rows = json.loads((Path(str(source)).parent / "data" / "lambda.json").read_text(encoding="utf-8"))
    pairs = [row for row in rows if "D1+" not in row]
    names = sorted({name for row in pairs for name in row[:2]})
    place = {name: i for i, name in enumerate(names)}
    species = [Species.from_str(name) for name in names]
    exponents = np.full((len(names), len(names)), np.nan)
    for a, b, value in pairs:
        exponents[place[a], place[b]] = exponents[place[b], place[a]] = value
    return _Ions(
        numbers=np.array([ion.Z for ion in species]),
        charges=np.array([int(ion.oxi_state) for ion in species]),
        weights=np.exp(np.where(np.isnan(exponents), _NEVER, exponents)),
        observed=~np.isnan(exponents),
    )


@cache
def mined_matrix() -> pd.DataFrame:
    """Return P(A→B | A is replaced): symbols of the 90 mined elements by atomic number, rows A; rows sum to 1,
    diagonal 0.

    Ions become elements by summing the joint probability p(a, b) over the oxidation states of both, which is then
    divided by its sum over B ≠ A. Pairs of ions never observed count with pymatgen's small p (λ = −5), so that no
    probability off the diagonal is 0.
    """
    ions = _ions()
    numbers = np.unique(ions.numbers)
    member = (ions.numbers == numbers[:, None]).astype(float)
    joint = member @ ions.weights @ member.T
    np.fill_diagonal(joint, 0)
    symbols = [element_symbol(z) for z in numbers.tolist()]
    return pd.DataFrame(joint / joint.sum(axis=1, keepdims=True), index=symbols, columns=symbols)


def substitution() -> Baseline:
    """Return a baseline: each masked element becomes its likeliest mined substitute of the same charge.

    Positions stay as corrupted. It is told the true element, and its oxidation state as guessed from the original's
    composition. As the substitute is always another element, it restores no masked atom; it shows what validity and
    novelty cost without a model. Two masked elements may take each other's place, which keeps the composition.
    """

    def substitute(original: Crystal, corrupted: Crystal) -> Crystal:
        masked = corrupted.species == MASK
        species, states = corrupted.species.copy(), oxidation_states(original.species)
        for z in np.unique(original.species[masked]).tolist():
            if MASK < z <= N_ELEMENTS:
                species[masked & (original.species == z)] = likeliest_substitute(z, states.get(z)).number
        return replace(corrupted, species=species)

    return substitute


@lru_cache(maxsize=1 << 12)
def likeliest_substitute(number: int, charge: float | None = None) -> Substitute:
    """Return the element other than `number` (1…118) to put in its place at this oxidation state; never raises within
    them.

    A fractional state such as Fe(8/3)+ asks for an element with both integers beside it, their probabilities weighted
    by how near they are. None, or a state that no other element has, drops the charge. Ties go to the lighter element.
    """
    if charge is not None:
        likely = _likely(number, charge)
        if likely.any():
            return Substitute(int(likely.argmax()), "mined")
        similar = [z for z in range(1, _HEAVIEST_KNOWN + 1) if z != number and _whole(charge) <= known_states(z)]
        if similar:
            return Substitute(_most_similar(number, similar), "charge")
    likely = _likely(number, None)
    if likely.any():
        return Substitute(int(likely.argmax()), "any charge")
    others = [z for z in np.unique(_ions().numbers).tolist() if z != number]
    return Substitute(_most_similar(number, others), "similar")


def _likely(number: int, charge: float | None) -> NDArray[np.float64]:
    """Return (119,) what speaks for each element in the place of `number`; 0 for itself and where nothing was
    observed."""
    ions = _ions()
    observed = np.where(ions.observed, ions.weights, 0)
    total: NDArray[np.float64] = np.zeros(N_SPECIES)
    if charge is None:
        total += np.bincount(ions.numbers, observed[ions.numbers == number].sum(axis=0), minlength=N_SPECIES)
    else:
        possible = np.ones(N_SPECIES, dtype=bool)
        for state in _whole(charge):
            at = ions.charges == state
            rows = (ions.numbers == number) & at
            given = observed[rows].sum(axis=0) / max(ions.weights[rows].sum(), np.finfo(float).tiny)
            share = np.bincount(ions.numbers[at], given[at], minlength=N_SPECIES)
            total, possible = total + (1 - abs(charge - state)) * share, possible & (share > 0)
        total[~possible] = 0
    total[number] = 0
    return total


def _whole(charge: float) -> set[int]:
    """Return the integer(s) beside a charge; one for an integer."""
    return {int(np.floor(charge + 1e-6)), int(np.ceil(charge - 1e-6))}


def _most_similar(number: int, others: list[int]) -> int:
    """Return a substitute: one of the same group if there is one, then the nearest in Mendeleev number (Pettifor's
    order of likeness)."""
    from pymatgen.core import Element

    def place(z: int) -> Element:
        return Element.from_Z(z if z <= _HEAVIEST_KNOWN else z - _PERIOD)

    def distance(z: int) -> tuple[bool, float, int]:
        a, b = place(number), place(z)
        return a.group != b.group, abs(a.mendeleev_no - b.mendeleev_no), z

    return min(others, key=distance)
