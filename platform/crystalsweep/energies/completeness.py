"""Whether a hull is complete enough for shares of stable crystals to mean something.

A hull that lacks phases lies too high, and what it calls stable need not be. How much too high is known where crystals
carry their energy above the whole hull (`e_above_hull`, DFT): the whole bundled set comes out 0.03 eV/atom too high on
its test part and lacks an element for 18 % of it, its training part alone 0.61; Materials Project's labelled training
part 0.11 on its validation part, all of it 0.0003.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from crystalsweep.energies.hull import LABEL, ReferenceHull
from crystalsweep.structures.crystal import Crystal

ABOVE_LABEL = "e_above_hull"

_LACKING = r"hull: no labelled reference crystal of ([A-Za-z, ]+)"
"""Of `Decomposition.missing`."""

SPARSE = 0.05
"""eV/atom by which a hull may lie too high on average: half of what counts as stable."""


def hull_gap(hull: ReferenceHull, crystals: Iterable[Crystal]) -> tuple[float, int]:
    """Return by how much a hull lies too high, eV/atom, on average over the crystals with both labels, and how many.

    Labels alone are compared; no calculator is asked. NaN where no crystal has both.
    """
    labels = [(c, c.labels) for c in crystals if LABEL in c.labels and ABOVE_LABEL in c.labels]
    gaps = [each[ABOVE_LABEL] - each[LABEL] + hull.decompose(c.species).formation_energy for c, each in labels]
    return (float(np.mean(gaps)), len(gaps)) if gaps else (np.nan, 0)


def hull_doubts(hull: ReferenceHull | None, table: pd.DataFrame, crystals: Iterable[Crystal]) -> list[str]:
    """Return why S.U.N. is withheld, a sentence each; none where the hull is complete as far as can be told.

    Args:
        hull: None where no crystal has a formation energy.
        table: Rows with `energy_failure` and `energy_sampled`.
        crystals: True crystals, whose labels tell how far the hull lies too high.
    """
    if hull is None:
        return [f"S.U.N. is withheld: no crystal has the label {LABEL}, so there is no hull."]
    doubts = []
    sampled = table["energy_sampled"].astype(bool)
    reasons = table.loc[sampled, "energy_failure"].fillna("")
    lacking_in = reasons.str.extract(_LACKING)[0].dropna()
    if len(lacking_in):
        lacking = sorted({symbol for each in lacking_in for symbol in each.split(", ")})
        needed = f"{len(lacking_in):,} of {int(sampled.sum()):,}"
        doubts.append(
            f"S.U.N. is withheld: the hull lacks {', '.join(lacking)}, which {needed} "
            "sampled crystals need; its mean would be over the others. Add labelled crystals of these elements."
        )
    gap, n = hull_gap(hull, crystals)
    if gap > SPARSE:
        doubts.append(
            f"S.U.N. is withheld: the hull is sparse. On {n:,} true crystals it lies {gap:.2f} eV/atom above the one "
            f"that their {ABOVE_LABEL} is from, so energies above it are too low by as much, and too many crystals "
            "count as stable. Give a larger labelled reference."
        )
    return doubts
