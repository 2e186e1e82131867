"""What is asked of a generator, from whatever it is given: files, objects of other libraries, shared sites."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from pymatgen.core import DummySpecies, Lattice, Structure
from pymatgen.io.cif import CifWriter

from crystalsweep.data.reading import Reject
from crystalsweep.inference.completion import Completion, complete
from crystalsweep.inference.decoding.constraints import Constraints
from crystalsweep.inference.decoding.settings import DecodeConfig
from crystalsweep.inference.inputs import Partial, masking_of, partial_of, partials_of
from crystalsweep.inference.ordering import shape_of
from crystalsweep.networks.architectures import size
from crystalsweep.networks.models import Generator
from crystalsweep.structures.crystal import MASK, Crystal

CUBE = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
PEROVSKITE = Crystal.of("perovskite", [56, 22, 8, 8, 8], np.eye(3) * 4, CUBE)


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(7)
    return Generator(size("painn", "smoke")).eval()


def structure(*species: object, lattice: float = 4.0) -> Structure:
    return Structure(Lattice.cubic(lattice), list(species), CUBE[: len(species)])


def done(generator: Generator, partial: Partial, constraints: Constraints | None = None) -> Completion:
    decode = DecodeConfig(candidates=6, tie="symmetry")
    return complete(generator, [partial.crystal], decode=decode, constraints=partial.constrained(constraints))[0]


@pytest.mark.parametrize(
    "given",
    [
        PEROVSKITE,
        structure("Ba", "Ti", "O", "O", "O"),
        Atoms("BaTiO3", scaled_positions=CUBE, cell=np.eye(3) * 4, pbc=True),
        str(CifWriter(structure("Ba", "Ti", "O", "O", "O"))),
    ],
    ids=["Crystal", "Structure", "Atoms", "text"],
)
def test_objects_and_texts_are_one_crystal(given: object) -> None:
    partial = partial_of(given, masking_of("Ti"))
    assert sorted(partial.crystal.species.tolist()) == [MASK, 8, 8, 8, 56]
    assert partial.crystal.species[1] == MASK
    assert partial.crystal.min_edge == pytest.approx(2.0)


def test_dummies_are_masked(tmp_path: Path) -> None:
    dummy = structure("Ba", DummySpecies("X"), "O", "O", "O")
    atoms = Atoms("BaXO3", scaled_positions=CUBE, cell=np.eye(3) * 4, pbc=True)
    (tmp_path / "x.cif").write_text(str(CifWriter(dummy)))
    for given in (dummy, atoms, tmp_path / "x.cif", str(tmp_path / "x.cif")):
        assert partial_of(given).crystal.species.tolist() == [56, MASK, 8, 8, 8]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (3, "give a Crystal, a pymatgen Structure, ASE Atoms"),
        (Atoms("Na", cell=np.eye(3) * 4), "only crystals are completed"),
        (structure({"Ba": 0.5}, "Ti"), "let its occupancies add up to 1"),
        ("gone.cif", "no such file"),
        ("a\nb", "unparsable CIF"),
    ],
)
def test_what_is_none_says_so(given: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        partial_of(given)


def test_a_file_of_several_is_not_one(tmp_path: Path) -> None:
    frame = '1\nLattice="4 0 0 0 4 0 0 0 4" id={}\nX 0 0 0\n'
    (tmp_path / "two.extxyz").write_text(frame.format("a") + frame.format("b"))
    with pytest.raises(ValueError, match="2 crystals"):
        partial_of(tmp_path / "two.extxyz")


def test_symbols_and_numbers() -> None:
    masking = masking_of("Ti,O", "3, 5")
    assert (masking.elements, masking.sites) == (frozenset({22, 8}), (3, 5))
    assert masking_of(["Ti"], [3]) == masking_of("Ti", "3")
    assert not masking_of()
    for mask, sites in (("Qx", ""), ("", "3,-1"), ("", "\u0663"), ("", "x")):
        with pytest.raises(ValueError, match=r"no element|no number of a site"):
            masking_of(mask, sites)


def test_files_are_read_one_by_one_with_rejects_between_them(tmp_path: Path) -> None:
    (tmp_path / "a.cif").write_text(str(CifWriter(structure("Ba", "Ti", "O", "O", "O"))))
    (tmp_path / "b.cif").write_text("nonsense")
    (tmp_path / "c.cif").write_text(str(CifWriter(structure("Na", "Cl"))))
    first, second, third = partials_of([tmp_path], masking_of("Ti"))
    assert isinstance(first, Partial)
    assert isinstance(second, Reject)
    assert isinstance(third, Reject)
    assert "no Ti in it; it has Na, Cl" in str(third)
    assert isinstance(next(partials_of([tmp_path / "a.cif"], max_atoms=4)), Reject)
    assert isinstance(next(partials_of([tmp_path / "a.cif"], keep_positions=True)), Reject)


# Ordering


def test_shared_sites_are_ordered_in_the_smallest_cell(generator: Generator) -> None:
    partial = partial_of(structure({"Ba": 0.75, "Sr": 0.25}, "Ti", "O", "O", "O"))
    assert len(partial.crystal) == 20
    assert "2 × 2 × 1 cells: 3 Ba, 1 Sr" in partial.notes[-1]
    completion = done(generator, partial)
    assert len(completion.candidates) == 1  # all four places of strontium are one crystal
    species = completion.crystal.species
    assert np.bincount(species)[[8, 22, 38, 56]].tolist() == [12, 4, 1, 3]
    assert completion.best.probability == pytest.approx(1)


def test_every_sublattice_keeps_its_own_elements(generator: Generator) -> None:
    partial = partial_of(structure({"Ba": 0.5, "Sr": 0.5}, {"Ti": 0.5, "Zr": 0.5}, "O", "O", "O"))
    for candidate in done(generator, partial).candidates:
        a, b = ([candidate.crystal.species[atom] for atom in each.atoms] for each in partial.sublattices)
        assert sorted(a) == [38, 56]
        assert sorted(b) == [22, 40]
    assert sum(c.probability for c in done(generator, partial).candidates) == pytest.approx(1)


def test_distinct_orders_are_told_apart(generator: Generator) -> None:
    gold = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4), [{"Cu": 0.5, "Au": 0.5}], [[0, 0, 0]])
    partial = partial_of(gold.make_supercell((2, 1, 1)))
    candidates = done(generator, partial).candidates
    assert len(candidates) > 1
    assert all(np.bincount(c.crystal.species)[[29, 79]].tolist() == [4, 4] for c in candidates)
    logs = [candidate.log_probability for candidate in candidates]
    assert logs == sorted(logs, reverse=True)


def test_a_file_that_lists_equal_sites_one_by_one_is_the_same(tmp_path: Path) -> None:
    gold = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4), [{"Cu": 0.75, "Au": 0.25}], [[0, 0, 0]])
    (tmp_path / "p1.cif").write_text(str(CifWriter(gold)))
    (tmp_path / "symmetric.cif").write_text(str(CifWriter(gold, symprec=0.01)))
    for name in ("p1.cif", "symmetric.cif"):
        partial = partial_of(tmp_path / name)
        assert len(partial.crystal) == 4
        assert [dict(each.counts) for each in partial.sublattices] == [{29: 3, 79: 1}]


def test_masked_and_shared_sites_together(generator: Generator) -> None:
    partial = partial_of(structure({"Ba": 0.5, "Sr": 0.5}, "Ti", "O", "O", "O"), masking_of("Ti"))
    completion = done(generator, partial, Constraints.of(allowed="Ti-Zr-Hf"))
    assert completion.candidates
    for candidate in completion.candidates:
        assert np.bincount(candidate.crystal.species, minlength=119)[[38, 56]].tolist() == [1, 1]
        filled = candidate.crystal.species[[1, 6]]
        assert filled[0] == filled[1]
        assert filled[0] in (22, 40, 72)


def test_amounts_that_no_small_cell_holds_are_refused() -> None:
    with pytest.raises(ValueError, match=r"no cell of at most 200 atoms holds .*; round the occupancies"):
        partial_of(structure({"Ba": 0.993, "Sr": 0.007}, "Ti", "O", "O", "O"))


@pytest.mark.parametrize(("share", "counts"), [(0.01, (99, 1)), (0.02, (98, 2)), (0.14, (24, 4))])
def test_small_shares_are_kept(share: float, counts: tuple[int, int]) -> None:
    """Of 1 % the nearest 0.7 % are any whole number: 1 of 60 is none of them."""
    alloy = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4), [{"Cu": 1 - share, "Au": share}], [[0, 0, 0]])
    partial = partial_of(alloy)
    assert [dict(each.counts) for each in partial.sublattices] == [{29: counts[0], 79: counts[1]}]
    assert "where the file has" not in partial.notes[-1]


def test_a_compact_cell_that_keeps_a_small_share_is_taken_before_a_smaller_one() -> None:
    """23 cells in a row hold 22 Ba and 1 La, within 0.7 % of the amounts and 17 % more La than the file has."""
    partial = partial_of(structure({"Ba": 0.963, "La": 0.037}, "Ti", "O", "O", "O"))
    assert partial.notes[-1].endswith("in 3 × 3 × 3 cells: 26 Ba, 1 La")


@pytest.mark.parametrize(("share", "counts"), [(0.49, (31, 29)), (0.485, (25, 23)), (0.35, (13, 7))])
def test_large_shares_are_kept_as_near_as_small_ones(share: float, counts: tuple[int, int]) -> None:
    """Of 49 % a fiftieth is a whole percent: 2 of 4 is no rounding of it."""
    alloy = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4), [{"Cu": 1 - share, "Au": share}], [[0, 0, 0]])
    assert [dict(each.counts) for each in partial_of(alloy).sublattices] == [{29: counts[0], 79: counts[1]}]


def test_amounts_near_a_half_are_no_halves() -> None:
    with pytest.raises(ValueError, match=r"Ba 0\.51, La 0\.49: no cell of at most 200 atoms holds whole numbers"):
        partial_of(structure({"Ba": 0.51, "La": 0.49}, "Ti", "O", "O", "O"))


def test_a_cell_that_is_merely_near_is_told() -> None:
    near = partial_of(structure({"Ba": 0.965, "Sr": 0.035}, "Ti", "O", "O", "O"), supercell=(5, 5, 1))
    assert near.notes[-1].endswith("24 Ba, 1 Sr (Sr 0.04 where the file has 0.035)")


def spinel() -> Structure:
    sites = [[0.125] * 3, [0.5] * 3, [0.2624] * 3]
    shared = [{"Fe": 0.9, "Mg": 0.1}, {"Fe": 0.55, "Mg": 0.45}, "O"]
    return Structure.from_spacegroup("Fd-3m", Lattice.cubic(8.4), shared, sites)


def test_a_centred_cell_is_made_primitive_where_that_alone_can_be_ordered() -> None:
    """A spinel in its cubic cell of 56 atoms, as the ICSD lists it: ten primitive cells hold 20 of one site, 40 of the
    other, and 140 atoms; five cubic ones would hold 280."""
    partial = partial_of(spinel())
    assert len(partial.crystal) == 140
    assert [dict(each.counts) for each in partial.sublattices] == [{12: 4, 26: 36}, {12: 9, 26: 11}]
    assert "in the primitive cell" in partial.notes[-1]
    assert partial.crystal.volume / len(partial.crystal) == pytest.approx(8.4**3 / 56)


def test_masked_sites_stay_masked_in_the_primitive_cell() -> None:
    partial = partial_of(str(CifWriter(spinel(), symprec=0.01)), masking_of("O"))
    assert "in the primitive cell" in partial.notes[-1]
    assert (len(partial.crystal), set(partial.crystal.species.tolist())) == (140, {MASK})
    assert sum(len(each.atoms) for each in partial.sublattices) == 60  # the 80 others may become anything


@pytest.mark.filterwarnings("error")
def test_a_primitive_cell_is_found_without_a_warning() -> None:
    assert len(partial_of(spinel()).crystal) == 140


def test_a_supercell_may_be_asked_for(generator: Generator) -> None:
    mixed = structure({"Ba": 0.5, "Sr": 0.5}, "Ti", "O", "O", "O")
    partial = partial_of(mixed, supercell=(2, 2, 1))
    assert len(partial.crystal) == 20
    assert [dict(each.counts) for each in partial.sublattices] == [{56: 2, 38: 2}]
    candidates = done(generator, partial).candidates
    assert len(candidates) == 2  # neighbours or diagonal
    assert sum(candidate.probability for candidate in candidates) == pytest.approx(1)
    for shape, says in (((1, 1, 1), "do not hold whole"), ((3, 1, 1), "do not hold whole"), ((4, 4, 4), "too many")):
        with pytest.raises(ValueError, match=says):
            partial_of(mixed, supercell=shape)
    assert shape_of("2x2×1") == (2, 2, 1)
    for wrong in ("2x2", "0x1x1", "2x2xa", "99x1x1", "-1x1x1"):
        with pytest.raises(ValueError, match="is no supercell"):
            shape_of(wrong)


def test_two_digits_of_a_third_are_a_third() -> None:
    hexagonal = Structure(Lattice.hexagonal(4, 6), [{"Ni": 0.33, "Mn": 0.33, "Co": 0.34}], [[0, 0, 0]])
    partial = partial_of(hexagonal)
    assert [dict(each.counts) for each in partial.sublattices] == [{25: 1, 27: 1, 28: 1}]


def test_all_decoders_order(generator: Generator) -> None:
    partial = partial_of(structure({"Ba": 0.5, "Sr": 0.5}, "Ti", "O", "O", "O"))
    for method in ("argmax", "ordered", "sampled", "beam"):
        decode = DecodeConfig.model_validate({"method": method, "candidates": 3})
        (completion,) = complete(generator, [partial.crystal], decode=decode, constraints=partial.constrained(None))
        assert np.bincount(completion.crystal.species)[[38, 56]].tolist() == [1, 1], method
