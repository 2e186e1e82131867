"""Energies above the hull against cases computed by hand and against pymatgen's phase diagram."""

import numpy as np
import pytest
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
from pymatgen.core import Composition, Element

from crystalsweep.data import load_bundled
from crystalsweep.energies import ReferenceHull, hull_shares
from crystalsweep.structures.crystal import Crystal

CELL = 6 * np.eye(3)


def crystal(name: str, species: list[int], label: float | None = None) -> Crystal:
    frac = np.arange(3 * len(species)).reshape(-1, 3) / (3 * len(species))
    return Crystal.of(name, species, CELL, frac, formation_energy_per_atom=np.nan if label is None else label)


LI, OX = 3, 8
REFERENCE = [
    crystal("li", [LI], 0.0),
    crystal("li-high", [LI, LI], 0.3),
    crystal("o", [OX], 0.1),
    crystal("li2o", [LI, LI, OX], -2.0),
    crystal("li2o-high", [LI, OX, LI, LI, LI, OX], -1.5),
    crystal("lio", [LI, OX], -1.4),  # the tie line from Li2O to O passes through −1.5
    crystal("unlabelled", [LI, OX, OX]),
]


def test_a_composition_decomposes_into_the_lowest_mixture() -> None:
    found = ReferenceHull(REFERENCE).decompose([LI, OX])
    assert found.formation_energy == pytest.approx(-1.5)
    names = {phase.crystal.id: share for phase, share in zip(found.phases, found.shares, strict=True) if phase.crystal}
    assert names == pytest.approx({"li2o": 0.75, "o": 0.25})
    assert found.missing == ""


def test_the_energy_of_a_mixture_takes_off_what_a_polymorph_lies_above_its_element() -> None:
    found = ReferenceHull(REFERENCE).decompose([LI, OX])
    by_name = {"li2o": -5.0, "o": -4.0}
    energies = [by_name[phase.crystal.id] for phase in found.phases if phase.crystal]
    assert found.energy(energies) == pytest.approx(0.75 * -5.0 + 0.25 * (-4.0 - 0.1))


def test_the_own_ground_state_polymorph_is_the_competitor() -> None:
    found = ReferenceHull(REFERENCE).decompose([OX, LI, LI])
    assert [phase.crystal.id for phase in found.phases if phase.crystal] == ["li2o"]
    assert found.shares == pytest.approx((1.0,))


def test_an_element_without_crystal_is_an_end_member_that_is_reported_missing() -> None:
    hull = ReferenceHull(REFERENCE)
    assert hull.decompose([54]).missing == "no labelled reference crystal of Xe"
    found = hull.decompose([LI, LI, OX, 54, 2])
    assert found.formation_energy == pytest.approx(-2.0 * 3 / 5)
    assert found.missing == "no labelled reference crystal of He, Xe"


def test_a_compound_above_its_elements_is_on_no_hull() -> None:
    found = ReferenceHull([crystal("li", [LI], 0.0), crystal("o", [OX], 0.0), crystal("lio", [LI, OX], 0.2)])
    assert found.decompose([LI, OX]).formation_energy == 0


def test_order_of_the_reference_does_not_matter() -> None:
    forward, backward = ReferenceHull(REFERENCE), ReferenceHull(REFERENCE[::-1])
    assert forward.decompose([LI, OX, OX]) == backward.decompose([LI, OX, OX])


def test_a_reference_without_labels_is_refused() -> None:
    with pytest.raises(ValueError, match="formation_energy_per_atom"):
        ReferenceHull([crystal("li", [LI])])
    with pytest.raises(ValueError, match="no masked species"):
        ReferenceHull(REFERENCE).decompose([0, LI])


@pytest.mark.parametrize("elements", [2, 3, 5])
def test_shares_agree_with_pymatgen(elements: int) -> None:
    generator = np.random.default_rng(elements)
    counts = np.concatenate(
        [np.eye(elements, dtype=int), generator.integers(0, 5, (60, elements)) + np.eye(elements, dtype=int)[0]]
    )
    fractions = counts / counts.sum(axis=1, keepdims=True)
    energies = -3 * generator.random(len(counts)) * (1 - (fractions**2).sum(axis=1))
    symbols = [Element.from_Z(z) for z in range(3, 3 + elements)]
    compositions = [Composition(dict(zip(symbols, row, strict=True))) for row in counts.tolist()]
    entries = [PDEntry(c, e * c.num_atoms) for c, e in zip(compositions, energies, strict=True)]
    diagram = PhaseDiagram(entries)
    for i in range(elements, elements + 25):
        shares = hull_shares(fractions[i], fractions, energies)
        assert shares @ fractions == pytest.approx(fractions[i], abs=1e-6)
        assert shares @ energies == pytest.approx(diagram.get_hull_energy_per_atom(compositions[i]), abs=1e-6)


def test_bundled_crystals_lie_on_or_above_their_own_hull() -> None:
    crystals = load_bundled()
    hull = ReferenceHull(crystals)
    labelled = [c for c in crystals if "e_above_hull" in c.labels and "formation_energy_per_atom" in c.labels][::20]
    above = np.array(
        [c.labels["formation_energy_per_atom"] - hull.decompose(c.species).formation_energy for c in labelled]
    )
    label = np.array([c.labels["e_above_hull"] for c in labelled])
    assert len(labelled) > 150
    assert above.min() > -1e-5
    assert (above <= label + 1e-3).mean() > 0.97  # a part of the Materials Project has fewer competitors
    assert np.median(np.abs(above - label)) < 1e-3
