"""Do the charges that bond lengths ask for balance? Bond-valence sums, as pymatgen's `BVAnalyzer` reads them.

A bond of length d between elements of unlike electronegativity carries s = exp((R − d) / b) valence units, R from
O'Keeffe and Brese (J. Am. Chem. Soc. 113, 3226 (1991), doi:10.1021/ja00009a002). What an atom's bonds add up to says
which oxidation states are likely: those that atoms with such a sum have in the ICSD, by the statistics that come with
pymatgen (Ong et al., Comput. Mater. Sci. 68, 314 (2013), doi:10.1016/j.commatsci.2012.10.028). `BVAnalyzer` searches
their combinations for the likeliest neutral one and gives up after 100,000; here it is found exactly. The sites of one
element take a state or the next, so that of k sites in the higher one the best are those that gain most by it, and the
elements add up over their total charge.

SMACT asks the same question of a formula; this one asks the bonds too. Nothing here takes part in training or decoding.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalsweep.metrics.validity import structurally_valid
from crystalsweep.structures.crystal import MASK, Crystal
from crystalsweep.structures.elements import element_symbol
from crystalsweep.structures.neighbours import NeighboursError, neighbour_list

CUTOFF = 4.0
"""Å; bonds up to this length count. `BVAnalyzer`'s."""

STRETCH = 1.015
"""Lengths are multiplied by it: PBE, by which crystals of the Materials Project are relaxed, makes bonds too long or
too short by about so much. `BVAnalyzer`'s, as is `SOFTNESS`."""

SOFTNESS = 0.31
"""b, Å."""

UNLIKELY = 0.01
"""A site's states below this share of its likeliest one's probability are not considered. `BVAnalyzer`'s."""

BOND_VALENCE_COLUMNS = ("charges_balance", "bond_instability", "bond_valence_failure")
"""Of `bond_valence_columns`."""

Array = NDArray[np.float64]


class BondValence(NamedTuple):
    """What bond lengths say of the charges in a crystal."""

    balanced: bool | None
    """Whether likely oxidation states add up to zero; None where that is no question, for `reason`."""
    instability: float
    """Root mean square over the atoms of the bond-valence sum less the mean one of atoms in that oxidation state,
    valence units: the global instability index; NaN where charges do not balance."""
    states: tuple[int, ...]
    """(N,) of the likeliest neutral assignment, empty where there is none."""
    reason: str
    """Why nothing can be told; empty where something is."""


def bond_valence(crystal: Crystal) -> BondValence:
    """Return the likeliest charge-neutral oxidation states of a crystal's sites by its bond lengths.

    Charges do not balance in crystals that are none: no atoms, masked ones, atoms on each other. Elements, metals
    alone, and elements without parameters are not a question of bond valences.
    """
    if not len(crystal) or crystal.species.min() <= MASK:
        return _unbalanced()
    numbers = sorted(set(crystal.species.tolist()))
    if len(numbers) == 1:
        return _no_question("an element alone")
    if lacking := [element_symbol(z) for z in numbers if _element(z) is None]:
        return _no_question(f"no bond-valence parameters of {', '.join(lacking)}")
    if not any(_known(z).electronegative for z in numbers):
        return _no_question("metals alone")
    if not structurally_valid(crystal):
        return _unbalanced()
    try:
        sums = bond_valence_sums(crystal)
    except NeighboursError as error:
        return _no_question(str(error))
    options = [_options(_known(z), sums[crystal.species == z]) for z in numbers]
    chosen = _neutral(options)
    if chosen is None:
        return _unbalanced()
    states, ideal = np.zeros(len(crystal), dtype=np.int64), np.zeros(len(crystal))
    for z, option in zip(numbers, chosen, strict=True):
        sites = np.flatnonzero(crystal.species == z)
        states[sites] = option.states
        ideal[sites] = [_known(z).mean[state] for state in option.states.tolist()]
    instability = float(np.sqrt(np.mean((sums - ideal) ** 2)))
    return BondValence(True, instability, tuple(states.tolist()), "")


def bond_valence_columns(crystals: Iterable[Crystal]) -> pd.DataFrame:
    """Return `BOND_VALENCE_COLUMNS` of crystals, a row each: 1, 0 or NaN; valence units or NaN; why nothing is told.

    A crystal that is there several times, as a parent is, is judged once.
    """
    asked = list(crystals)
    judged = {crystal: bond_valence(crystal) for crystal in dict.fromkeys(asked)}
    found = [judged[crystal] for crystal in asked]
    rows = [(np.nan if each.balanced is None else each.balanced, each.instability, each.reason) for each in found]
    dtypes = dict(zip(BOND_VALENCE_COLUMNS, (float, float, object), strict=True))
    return pd.DataFrame(rows, columns=list(BOND_VALENCE_COLUMNS)).astype(dtypes)


def bond_valence_sums(crystal: Crystal) -> Array:
    """Return (N,) sums of an atom's bond valences, positive of cations.

    Bonds are those of an electronegative element with any other; both ends count, with opposite signs. Raises
    `NeighboursError` where there are too many neighbours.
    """
    pairs = neighbour_list(crystal.lattice, crystal.frac, CUTOFF)
    numbers, index = np.unique(crystal.species, return_inverse=True)
    lengths, signs = _pair_tables(tuple(numbers.tolist()))
    first, second = index[pairs.dst], index[pairs.src]
    valences = signs[first, second] * np.exp((lengths[first, second] - STRETCH * pairs.distance) / SOFTNESS)
    return np.asarray(np.bincount(pairs.dst, weights=valences, minlength=len(crystal)), dtype=np.float64)


class _Element(NamedTuple):
    radius: float
    """r of O'Keeffe and Brese, Å."""
    softness: float
    """Their c."""
    scale: float
    """Pauling's electronegativity."""
    electronegative: bool
    """Whether it is among those that they call so."""
    mean: Mapping[int, float]
    """Mean bond-valence sum in the ICSD by oxidation state, valence units."""
    spread: Mapping[int, float]
    """Standard deviation of it."""
    often: Mapping[int, int]
    """How many such atoms there are."""


class _Option(NamedTuple):
    """The best assignment of the sites of one element that has this total charge."""

    charge: int
    score: float
    """Sum of log probabilities."""
    states: NDArray[np.int64]
    """(n,)."""


def _unbalanced() -> BondValence:
    return BondValence(False, np.nan, (), "")


def _no_question(reason: str) -> BondValence:
    return BondValence(None, np.nan, (), reason)


def _known(number: int) -> _Element:
    element = _element(number)
    assert element is not None
    return element


@cache
def _element(number: int) -> _Element | None:
    """Return pymatgen's data on an element; None where they lack."""
    from pymatgen.core import Element
    from pymatgen.core.bond_valence import BV_PARAMS, ELECTRONEG

    element = Element.from_Z(number)
    statistics = _statistics().get(element.symbol)
    if element not in BV_PARAMS or not statistics:
        return None
    mean, spread, often = ({q: each[k] for q, each in statistics.items()} for k in range(3))
    parameters = BV_PARAMS[element]
    return _Element(
        radius=parameters["r"],
        softness=parameters["c"],
        scale=float(element.X),
        electronegative=element in ELECTRONEG,
        mean=mean,
        spread=spread,
        often={q: int(n) for q, n in often.items()},
    )


@cache
def _statistics() -> Mapping[str, Mapping[int, tuple[float, float, float]]]:
    """Return mean, standard deviation and number of bond-valence sums in the ICSD, by symbol and oxidation state."""
    from pymatgen.core.bond_valence import ICSD_BV_DATA, PRIOR_PROB

    found: dict[str, dict[int, tuple[float, float, float]]] = {}
    for species, data in ICSD_BV_DATA.items():
        if species.oxi_state and data["std"] > 0:
            told = (data["mean"], data["std"], PRIOR_PROB[species])
            found.setdefault(species.symbol, {})[int(species.oxi_state)] = told
    return found


@cache
def _pair_tables(numbers: tuple[int, ...]) -> tuple[Array, Array]:
    """Return R (K, K), Å, and the sign of a bond at its first atom (K, K); 0 where the two make none."""
    elements = [_known(z) for z in numbers]
    r, c, scale = (np.array([getattr(each, name) for each in elements]) for name in ("radius", "softness", "scale"))
    bonds = np.array([each.electronegative for each in elements])
    roots = (np.sqrt(c)[:, None] - np.sqrt(c)) ** 2
    lengths = r[:, None] + r - r[:, None] * r * roots / ((c * r)[:, None] + c * r)
    signs = np.where(scale[:, None] < scale, 1.0, -1.0) * (bonds[:, None] | bonds)
    np.fill_diagonal(signs, 0.0)
    return lengths, signs


def _options(element: _Element, sums: Array) -> list[_Option]:
    """Return, for each total charge that sites with these bond-valence sums (n,) can have, the likeliest way.

    As in `BVAnalyzer`, the sites' states differ by one at most.
    """
    states = np.array(sorted(element.mean))
    mean, spread, often = (
        np.array([d[q] for q in states.tolist()]) for d in (element.mean, element.spread, element.often)
    )
    with np.errstate(divide="ignore"):
        scores = -((sums[:, None] - mean) ** 2) / (2 * spread**2) - np.log(spread) + np.log(often)
    best = scores.max(axis=1, keepdims=True)
    scores = np.where(scores > best + np.log(UNLIKELY), scores, -np.inf)
    found: dict[int, _Option] = {}
    for k, low in enumerate(states.tolist()):
        after = scores[:, k + 1] if low + 1 in element.mean else np.full(len(sums), -np.inf)
        for option in _between(low, scores[:, k], after):
            if option.charge not in found or option.score > found[option.charge].score:
                found[option.charge] = option
    return list(found.values())


def _between(low: int, scores: Array, after: Array) -> Iterable[_Option]:
    """Yield the best choice of the sites, one for each number of them, that take `low` + 1 instead of `low`.

    Args:
        low: An oxidation state.
        scores: (n,) log probability of it; −inf where it is not considered.
        after: (n,) of the next.
    """
    must, may = np.isneginf(scores), ~np.isneginf(after)
    if (must & ~may).any():
        return
    both = np.flatnonzero(~must & may)
    both = both[np.argsort(scores[both] - after[both], kind="stable")]
    states = np.where(must, low + 1, low)
    total = float(np.where(must, after, scores).sum())
    yield _Option(int(states.sum()), total, states)
    for site in both.tolist():
        states = states.copy()
        states[site] += 1
        total += float(after[site] - scores[site])
        yield _Option(int(states.sum()), total, states)


def _neutral(options: Sequence[Sequence[_Option]]) -> list[_Option] | None:
    """Return one option per element, of the greatest score among those whose charges add up to zero; None if none."""
    reached: dict[int, tuple[float, tuple[_Option, ...]]] = {0: (0.0, ())}
    for k, own in enumerate(options):
        left = options[k + 1 :]
        least, most = (sum(end(each.charge for each in later) for later in left if later) for end in (min, max))
        extended: dict[int, tuple[float, tuple[_Option, ...]]] = {}
        for charge, (score, chosen) in reached.items():
            for option in own:
                total, sum_ = charge + option.charge, score + option.score
                if -most <= total <= -least and (total not in extended or sum_ > extended[total][0]):
                    extended[total] = (sum_, (*chosen, option))
        reached = extended
    return list(reached[0][1]) if 0 in reached else None
