"""Whether a generated crystal is its parent again: match rate and RMSD, as the field reports them.

pymatgen's `StructureMatcher.get_rms_dist` (Ong et al., Comput. Mater. Sci. 68, 314 (2013),
doi:10.1016/j.commatsci.2012.10.028) with CDVAE's tolerances (doi:10.48550/arXiv.2110.06197); the RMSD is in units of
(V/N)^(1/3). The matcher's search is not complete: it reduces cells with a tolerance of 0.25 Å, now and then only one
of the two, and pairs sites under the offset of one anchor. It found nothing where the sites as they stand are within
its tolerance for 1 % of 200 real crystals at sigma_noise <= 0.15, and for 2 % and 8 % of 150 others at 0.2 and 0.4. A
mapping within the tolerances is a match, so the sites as they stand are tried too, and the smaller RMSD counts. They
cannot replace the matcher: another mapping was closer in 4 % of the crystals at sigma_noise <= 0.15, 40 % at 0.4.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd

from crystalsweep.metrics.cell_matcher import rms_distance
from crystalsweep.metrics.duplicates import all_unscorable, free_length, same_lattice, unscorable
from crystalsweep.metrics.novelty import Reference
from crystalsweep.metrics.reduced_cell import MATCHER_ERRORS, Comparable
from crystalsweep.metrics.settings import MatcherTolerances, MetricConfig
from crystalsweep.metrics.similarity import aligned, displacements
from crystalsweep.structures.crystal import Crystal

IDENTICAL = 1e-4
"""Å; what single precision leaves of a coordinate. Sites this close to their parent's are its sites."""

MATCH_COLUMNS = (
    *("matched", "rmsd", "match_failure", "match_undecided"),
    *("novel_vs_reference", "reference_match", "novel_undecided"),
)
"""Of `match_columns`."""


class Match(NamedTuple):
    """What the comparison of two crystals gives."""

    matched: bool | None
    """None where nothing could tell."""
    rmsd: float
    """In units of (V/N)^(1/3); NaN where not matched."""
    reason: str
    """Why the generated crystal can be compared with none (it is not matched), or why nothing could tell."""


def match(original: Crystal, generated: Crystal, tolerances: MatcherTolerances) -> Match:
    """Return whether the two are one crystal within the tolerances, and how far apart.

    A generated crystal that no matcher can read is not matched, with the reason. What the matcher cannot tell, and no
    mapping of the sites as they stand does, is undecided.
    """
    if failure := unscorable(generated):
        return Match(False, np.nan, failure)
    if failure := unscorable(original):
        return Match(None, np.nan, f"parent: {failure}")
    if original.reduced_formula != generated.reduced_formula:
        return Match(False, np.nan, "")
    as_they_stand = _site_by_site(original, generated, tolerances.stol)
    if as_they_stand == 0:
        return Match(True, 0.0, "")
    searched, why = _searched(original, generated, tolerances)
    rmsd = float(np.fmin(as_they_stand, searched))
    if not np.isnan(rmsd):
        return Match(True, rmsd, "")
    return Match(None if why else False, np.nan, why)


def _searched(original: Crystal, generated: Crystal, tolerances: MatcherTolerances) -> tuple[float, str]:
    """Return the RMSD that the matcher finds, NaN for none, and why it could not tell."""
    cells = [Comparable(crystal) for crystal in (original, generated)]
    for whose, cell in zip(("parent: ", ""), cells, strict=True):
        if cell.reduced is None:
            return np.nan, whose + cell.obstacle
    known, new = (cell.reduced for cell in cells)
    assert known is not None
    assert new is not None
    try:
        found = rms_distance(known, new, tolerances)
    except MATCHER_ERRORS as error:
        return np.nan, f"matcher: {type(error).__name__}: {error}"
    return (np.nan if found is None else found), ""


def match_columns(
    originals: Iterable[Crystal], generated: Iterable[Crystal], settings: MetricConfig, reference: Reference | None
) -> pd.DataFrame:
    """Return `MATCH_COLUMNS` for pairs of crystals, row by row.

    `matched` is 1.0, 0.0, or NaN where nothing could tell, for which `match_undecided` says why; `match_failure` says
    why a generated crystal can be compared with none, which is not matched. `novel_vs_reference` is 1.0 where the
    reference does not hold the crystal, 0.0 where it does or the crystal is unscorable, NaN without a reference and
    where nothing could tell (`novel_undecided`); `reference_match` is the id found there.

    Raises:
        ValueError: The two differ in length.
    """
    pairs = list(zip(originals, generated, strict=True))
    all_unscorable([crystal for pair in pairs for crystal in pair])  # in one go, which is remembered
    rows = [
        (*_matching(match(before, after, settings.match)), *_novelty(after, settings.duplicate, reference))
        for before, after in pairs
    ]
    dtypes = dict(zip(MATCH_COLUMNS, (float, float, object, object, float, object, object), strict=True))
    return pd.DataFrame(rows, columns=list(MATCH_COLUMNS)).astype(dtypes)


def _matching(found: Match) -> tuple[float, float, str, str]:
    if found.matched is None:
        return np.nan, np.nan, "", found.reason
    return float(found.matched), found.rmsd, found.reason, ""


def _novelty(crystal: Crystal, tolerances: MatcherTolerances, reference: Reference | None) -> tuple[float, str, str]:
    if reference is None:
        return np.nan, "", ""
    looked = reference.look_up(crystal, tolerances)
    if looked.undecided:
        return np.nan, "", looked.undecided
    return float(not looked.name and not unscorable(crystal)), looked.name, ""


def _site_by_site(original: Crystal, generated: Crystal, stol: float) -> float:
    """Return RMSD of the sites as they stand, without their mean displacement; NaN if that is no match.

    Asked for are one lattice, the species site by site, an RMSD below stol, which is what `get_rms_dist` accepts, and
    no site beyond 2 stol, its limit between a site and its anchor: the RMSD alone would let one atom in twenty go
    anywhere.
    """
    if not np.array_equal(original.species, generated.species):
        return np.nan
    if not same_lattice(original.lattice, generated.lattice):
        return np.nan
    moved = np.linalg.norm(aligned(displacements(original, generated), original.lattice), axis=1)
    if moved.max() < IDENTICAL:
        return 0.0
    gaps = moved / free_length(original)
    rmsd = float(np.sqrt(np.mean(gaps**2)))
    return rmsd if rmsd < stol and gaps.max() < 2 * stol else np.nan
