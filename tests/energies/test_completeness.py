"""Kind "denominator": a hull that lacks an element or phases withholds S.U.N., and says why."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from crystalsweep.data import load_bundled
from crystalsweep.energies.completeness import SPARSE, hull_doubts, hull_gap
from crystalsweep.energies.hull import LABEL, ReferenceHull

COMPLETE = pd.DataFrame({"energy_sampled": [True, True, False], "energy_failure": ["", "", ""]})


def test_the_gap_of_a_part_of_the_data_is_measured_on_labels() -> None:
    test = [crystal for crystal in load_bundled("test")[:200] if LABEL in crystal.labels]
    whole, n = hull_gap(ReferenceHull(load_bundled()), test)
    part, _ = hull_gap(ReferenceHull(load_bundled("train")), test)
    assert n > 100
    assert whole < SPARSE < part
    assert part == pytest.approx(0.6, abs=0.2), "what energies/hull.py says of the training split"


def test_a_sparse_hull_withholds_sun_with_its_number() -> None:
    hull = ReferenceHull(load_bundled("train"))
    (doubt,) = hull_doubts(hull, COMPLETE, load_bundled("test")[:200])
    assert "sparse" in doubt
    assert "eV/atom" in doubt


def test_a_hull_without_an_element_names_it_and_who_needs_it() -> None:
    hull = ReferenceHull(load_bundled())
    table = COMPLETE.assign(
        energy_failure=[
            "hull: no labelled reference crystal of Pu, Np; x",
            "",
            "hull: no labelled reference crystal of Ac",
        ]
    )
    (doubt,) = hull_doubts(hull, table, [])
    assert "lacks Np, Pu, which 1 of 2 sampled crystals need" in doubt


def test_a_complete_hull_withholds_nothing() -> None:
    assert hull_doubts(ReferenceHull(load_bundled()), COMPLETE, []) == []
    assert np.isnan(hull_gap(ReferenceHull(load_bundled()), [])[0])
    assert "no hull" in hull_doubts(None, COMPLETE, [])[0]
