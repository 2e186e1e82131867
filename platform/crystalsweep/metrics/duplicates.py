"""Whether two crystals are the same one: what uniqueness, novelty and the leakage gate rest on.

pymatgen's `StructureMatcher.fit` (Ong et al., Comput. Mater. Sci. 68, 314 (2013), doi:10.1016/j.commatsci.2012.10.028):
a mapping that moves no site by more than stol (V/N)^(1/3). There are three answers: the same, different, and undecided,
where no test could tell; what is undecided is never taken for different.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from crystalsweep.metrics.bounded_matcher import matcher
from crystalsweep.metrics.cell_matcher import fits
from crystalsweep.metrics.overlap import FEWEST, by_shape, may_overlap
from crystalsweep.metrics.reduced_cell import MATCHER_ERRORS, Comparable, ReducedCell
from crystalsweep.metrics.settings import MatcherTolerances, StructureRules
from crystalsweep.metrics.similarity import minimum_image
from crystalsweep.metrics.validity import all_structurally_valid
from crystalsweep.structures.crystal import MASK, N_ELEMENTS, Crystal

APART = StructureRules(min_distance=0.1, min_volume=0.1)
"""Atoms within 0.1 Å (own images included) are one atom, and a cell below 0.1 Å³ is flat."""

_SLACK = 1.01
"""On lengths of reduced cells, which are the shortest possible up to rounding."""

_asked: WeakKeyDictionary[Crystal, str] = WeakKeyDictionary()


@dataclass(frozen=True)
class Found:
    """Which of a list of known crystals a new one is."""

    position: int | None
    """In the list; None if none is known to be the same."""
    undecided: Mapping[int, str] = field(default_factory=dict)
    """Why nothing could tell, by position in the list; only where none is the same."""


def unscorable(crystal: Crystal) -> str:
    """Return why a crystal cannot be compared with any other; empty if it can.

    Found out once per crystal object: matching, novelty and uniqueness all ask.
    """
    return all_unscorable([crystal])[0]


def all_unscorable(crystals: Sequence[Crystal]) -> list[str]:
    """Return `unscorable` of each; asked of many at once, it takes a tenth of the time."""
    if new := [crystal for crystal in crystals if crystal not in _asked]:
        reasons = [_malformed(crystal) for crystal in new]
        formed = [crystal for crystal, why in zip(new, reasons, strict=True) if not why]
        apart = iter(all_structurally_valid(formed, APART).tolist())
        for crystal, why in zip(new, reasons, strict=True):
            _asked[crystal] = why or ("" if next(apart) else f"atoms within {APART.min_distance} Å of each other")
    return [_asked[crystal] for crystal in crystals]


def _malformed(crystal: Crystal) -> str:
    """Return what is wrong with a crystal before any distance is looked at; empty for nothing."""
    n = len(crystal)
    if not n:
        return "no atoms"
    if crystal.frac.shape != (n, 3):
        return f"{n} species and coordinates of shape {crystal.frac.shape}"
    if (crystal.species == MASK).any():
        return "masked species"
    if crystal.species.min() < MASK or crystal.species.max() > N_ELEMENTS:
        return "species outside 1…118"
    if not np.isfinite(crystal.frac).all() or not np.isfinite(crystal.lattice).all():
        return "non-finite coordinates or lattice"
    if not APART.min_volume <= crystal.volume < np.inf:
        return f"volume of {crystal.volume:.3g} Å³"
    return ""


def free_length(crystal: Crystal) -> float:
    """Return (V/N)^(1/3), Å: the unit of `stol` and of the RMSD."""
    return float((crystal.volume / len(crystal)) ** (1 / 3))


def same_lattice(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return whether lattices (..., 3, 3), Å, agree to what single precision and text files keep."""
    return np.asarray(np.isclose(a, b, rtol=1e-5, atol=1e-4).all(axis=(-2, -1)))


def find(known: Sequence[Comparable], new: Comparable, tolerances: MatcherTolerances) -> Found:
    """Return which of the known crystals the new one is: the nearest on the same sites, else the first that matches.

    All must be scorable and of the new one's reduced composition. Every known crystal is asked, the nearest first;
    reduced cells of another number of sites are different crystals, and so are those whose shape does not fit.
    """
    if not known:
        return Found(None)
    gaps = largest_gaps(known, new.crystal)
    nearest = int(gaps.argmin())
    if gaps[nearest] < tolerances.stol:
        return Found(nearest)
    undecided, possible = {}, _possible(known, new, tolerances)
    for i in (int(i) for i in np.argsort(gaps, kind="stable") if possible[i]):
        same, why = _fits(known[i], new, tolerances)
        if same:
            return Found(i)
        if why:
            undecided[i] = why
    return Found(None, undecided)


def largest_gaps(known: Sequence[Comparable], crystal: Crystal) -> NDArray[np.float64]:
    """Return (R,): the largest displacement, in (V/N)^(1/3), between `crystal` and each known one, paired site by site.

    The mean displacement is removed. Infinite where the two do not have the same lattice and species, site by site.
    Any mapping bounds the best one from above, so a gap below stol settles that the two are the same.
    """
    gaps = np.full(len(known), np.inf)
    n = len(crystal)
    alike = [i for i, other in enumerate(known) if np.array_equal(other.crystal.species, crystal.species)]
    if not alike:
        return gaps
    rows = np.array(alike)[same_lattice(np.stack([known[i].crystal.lattice for i in alike]), crystal.lattice)]
    if not len(rows):
        return gaps
    frac = np.concatenate([known[i].crystal.frac for i in rows]).reshape(len(rows), n, 3)
    moved = minimum_image((frac - crystal.frac) @ crystal.lattice, crystal.lattice)
    moved -= moved.mean(axis=1, keepdims=True)
    gaps[rows] = np.linalg.norm(moved, axis=2).max(axis=1) / free_length(crystal)
    return gaps


def _possible(known: Sequence[Comparable], new: Comparable, tolerances: MatcherTolerances) -> NDArray[np.bool_]:
    """Return (R,) False where the two are surely different, by their reduced cells.

    A mapping takes vectors of the known lattice to the new cell's edges, each at most 1 + ltol times as long, and the
    edges of the known reduced cell are the shortest independent vectors there are. Where many cells have one shape,
    `overlap` looks at their atoms.
    """
    if new.obstacle:
        return np.ones(len(known), dtype=bool)
    assert new.reduced is not None
    sites = np.array([len(new.reduced) if other.reduced is None else len(other.reduced) for other in known])
    longest = (1 + tolerances.ltol) * _SLACK * new.lengths
    too_long = (np.stack([other.lengths for other in known]) > longest).any(axis=1)  # NaN is not: it is not known
    possible = (sites == len(new.reduced)) & ~too_long
    rest = [i for i in np.flatnonzero(possible).tolist() if known[i].reduced is not None]
    cells = [cell for i in rest if (cell := known[i].reduced) is not None]
    for group in by_shape(cells) if len(rest) >= FEWEST else []:
        if len(group) >= FEWEST:
            possible[np.array(rest)[group]] = may_overlap([cells[i] for i in group], new.reduced, tolerances)
    return possible


def _fits(known: Comparable, new: Comparable, tolerances: MatcherTolerances) -> tuple[bool, str]:
    """Return `StructureMatcher.fit(known, new)`, and why it could not tell.

    Its answer may depend on which of the two comes first; here it is always the one known before.
    """

    return _answer(lambda a, b: fits(a, b, tolerances), known, new)


def repeats(known: Comparable, new: Comparable, tolerances: MatcherTolerances) -> tuple[bool, str]:
    """Return whether one reduced cell, repeated, is the other, and why that could not be told.

    A distorted supercell does not reduce to its primitive cell.
    """

    def repeated(a: ReducedCell, b: ReducedCell) -> bool:
        small, large = sorted((a, b), key=len)
        multiple = len(small) < len(large) and len(large) % len(small) == 0
        return multiple and matcher(tolerances, supercells=True).fit(small.structure, large.structure)

    return _answer(repeated, known, new)


def _answer(ask: Callable[[ReducedCell, ReducedCell], bool], known: Comparable, new: Comparable) -> tuple[bool, str]:
    """Return what a test says of two reduced cells, and why it could not tell."""
    if obstacle := new.obstacle or known.obstacle:
        return False, obstacle
    assert known.reduced is not None
    assert new.reduced is not None
    try:
        return bool(ask(known.reduced, new.reduced)), ""
    except MATCHER_ERRORS as error:
        return False, f"matcher: {type(error).__name__}: {error}"
