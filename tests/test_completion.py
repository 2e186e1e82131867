"""Partial CIFs are read as they are meant, and completed as the network says."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from pymatgen.core import DummySpecies, Structure
from pymatgen.io.cif import CifWriter

from crystalsweep.data import load_bundled, read
from crystalsweep.data.checks import Problem
from crystalsweep.data.partial_cif import MAX_CIF_BYTES, partial_from_cif
from crystalsweep.data.writing import cif_text
from crystalsweep.evaluation.protocol import restore
from crystalsweep.inference.completion import ALL_MASKED, NONE_MASKED, complete, refusal
from crystalsweep.inference.decoding.settings import ARGMAX
from crystalsweep.networks.architectures import size
from crystalsweep.networks.models import Generator
from crystalsweep.structures.batch import collate
from crystalsweep.structures.corruption import apply
from crystalsweep.structures.crystal import MASK, Crystal

HEAD = """data_test
_cell_length_a 5.64
_cell_length_b 5.64
_cell_length_c 5.64
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
"""
ROCK_SALT = f"{HEAD}_symmetry_space_group_name_H-M 'F m -3 m'\n"
SYMBOLS = """loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
"""
LABELS = SYMBOLS.replace("_atom_site_type_symbol\n", "")


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(7)
    return Generator(size("painn", "smoke")).eval()


@pytest.fixture(scope="module")
def crystals() -> list[Crystal]:
    return [crystal for crystal in load_bundled("test") if 3 <= len(crystal) <= 12][:20]


def readable(text: str) -> Crystal:
    outcome = partial_from_cif(text, "test")
    assert isinstance(outcome, Crystal), outcome
    return outcome


def refused(text: str) -> Problem:
    outcome = partial_from_cif(text, "test")
    assert isinstance(outcome, Problem), outcome
    return outcome


def masked(crystal: Crystal, *atoms: int) -> Crystal:
    species = crystal.species.copy()
    species[list(atoms)] = MASK
    return Crystal.of(crystal.id, species, crystal.lattice, crystal.frac)


# Reading


@pytest.mark.parametrize("symbol", ["X", "X0+", "X2-", "?", "'X'", '"?"'])
def test_masked_symbols(symbol: str) -> None:
    crystal = readable(f"{ROCK_SALT}{SYMBOLS}Na1 Na 0 0 0\nCl1 {symbol} 0.5 0.5 0.5\n")
    assert sorted(crystal.species.tolist()) == [MASK] * 4 + [11] * 4
    at = {tuple(frac) for frac in crystal.frac[crystal.species == MASK].round(6).tolist()}
    assert at == {(0.5, 0.5, 0.5), (0.5, 0.0, 0.0), (0.0, 0.5, 0.0), (0.0, 0.0, 0.5)}


@pytest.mark.parametrize(("label", "species"), [("X1", MASK), ("?", MASK), ("X", MASK), ("Xe1", 54)])
def test_labels_stand_in_where_there_are_no_symbols(label: str, species: int) -> None:
    crystal = readable(f"{HEAD}{LABELS}Na1 0 0 0\n{label} 0.5 0.5 0.5\n")
    assert sorted(crystal.species.tolist()) == sorted([11, species])


def test_symbols_decide_where_there_are_both() -> None:
    crystal = readable(f"{HEAD}{SYMBOLS}X1 Na 0 0 0\nCl1 X 0.5 0.5 0.5\n")
    assert sorted(crystal.species.tolist()) == [MASK, 11]


def test_remarks_and_other_values_are_no_sites() -> None:
    remarks = "_publ_section_title\n;\nloop_\n_atom_site_type_symbol\nX ? 'X'\n;\n_chemical_name_common ? # X\n"
    crystal = readable(f"{HEAD}{remarks}{SYMBOLS}Na1 Na 0 0 0 # X\nCl1 Cl 0.5 0.5 0.5\n")
    assert sorted(crystal.species.tolist()) == [11, 17]


def test_a_text_with_the_stand_in_gets_another() -> None:
    crystal = readable(f"{HEAD}_audit_author_name 'Og Ts'\n{SYMBOLS}A1 Lv 0 0 0\nB1 X 0.5 0.5 0.5\n")
    assert sorted(crystal.species.tolist()) == [MASK, 116]


def test_dummies_of_pymatgen_with_and_without_symmetry(crystals: list[Crystal]) -> None:
    for crystal in crystals:
        hidden = crystal.species == crystal.species.max()
        symbols = [DummySpecies("X") if hide else int(z) for z, hide in zip(crystal.species, hidden, strict=True)]
        structure = Structure(crystal.lattice, symbols, crystal.frac)
        whole = readable(str(CifWriter(structure)))
        by_symmetry = readable(str(CifWriter(structure, symprec=0.01)))
        expected = sorted(crystal.species[~hidden].tolist())
        assert sorted(whole.species[whole.species != MASK].tolist()) == expected
        assert (whole.species == MASK).sum() == hidden.sum()
        assert whole.min_edge == pytest.approx(crystal.min_edge, abs=1e-3)
        multiple, rest = divmod(len(by_symmetry), len(crystal))  # the conventional cell
        assert rest == 0
        assert (by_symmetry.species == MASK).sum() == multiple * hidden.sum()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "unparsable CIF"),
        ("this is no CIF, X", "unparsable CIF"),
        (f"{HEAD}{SYMBOLS}X1 X ? ? ?\n", "no position"),
        (f"{HEAD}{SYMBOLS}A Q 0 0 0\nX1 X 0.5 0.5 0.5\n", "unknown element"),
        (
            f"{HEAD}{SYMBOLS.rstrip()}\n_atom_site_occupancy\nNa1 Na 0 0 0 1\nX1 X 0.5 0.5 0.5 0.5\n",
            "partial occupancy",
        ),
        (f"{HEAD}{SYMBOLS}Na1 Na 0 0 0\nX1 X 0.5 0.5 0.5\n#{'x' * MAX_CIF_BYTES}", "CIF too long"),
    ],
)
def test_refusals(text: str, reason: str) -> None:
    assert reason in refused(text).reason or reason in refused(text).detail


def test_mutated_texts_are_read_or_refused() -> None:
    draw = random.Random(0)
    text = f"{HEAD}{SYMBOLS}Na1 Na 0 0 0\nCl1 X 0.5 0.5 0.5\n"
    alphabet = "X?'\";#_ \n.0123456789NaCl\x00é"
    outcomes = set()
    for _ in range(300):
        characters = list(text)
        for _ in range(draw.randint(1, 8)):
            at = draw.randrange(len(characters))
            characters[at : at + draw.randint(0, 3)] = draw.choices(alphabet, k=draw.randint(0, 3))
        outcomes.add(type(partial_from_cif("".join(characters), "mutated")))
    assert outcomes == {Crystal, Problem}


# Completing


def test_visible_elements_stay_and_masked_ones_are_the_likeliest(generator: Generator, crystals: list[Crystal]) -> None:
    partials = [masked(crystal, 0, len(crystal) - 1) for crystal in crystals]
    for partial, done in zip(partials, complete(generator, partials, decode=ARGMAX, top_k=118), strict=True):
        visible = partial.species != MASK
        assert (done.crystal.species[visible] == partial.species[visible]).all()
        assert done.masked.tolist() == [0, len(partial) - 1]
        for atom, odds in zip(done.masked, done.odds, strict=True):
            probabilities = [each.probability for each in odds]
            assert probabilities == sorted(probabilities, reverse=True)
            assert sum(probabilities) == pytest.approx(1)
            assert (
                Structure(np.eye(3), [int(done.crystal.species[atom])], [[0, 0, 0]])[0].specie.symbol == odds[0].element
            )


def test_top_k(generator: Generator, crystals: list[Crystal]) -> None:
    partial = masked(crystals[0], 1)
    all_of_them = complete(generator, [partial], top_k=118)[0].odds[0]
    assert complete(generator, [partial], top_k=3)[0].odds[0] == all_of_them[:3]
    for wrong in (0, 119):
        with pytest.raises(ValueError, match="top_k"):
            complete(generator, [partial], top_k=wrong)


def test_it_is_what_the_evaluation_scores(generator: Generator, crystals: list[Crystal]) -> None:
    batch = collate(crystals)
    hidden = torch.zeros(len(batch.species), dtype=torch.bool)
    hidden[::3] = True
    corrupted = apply(batch, hidden, torch.zeros(len(hidden), 3))
    scored = restore(generator, corrupted, [crystal.id for crystal in crystals]).completed
    parts = np.split(hidden.numpy(), np.cumsum(batch.counts.numpy())[:-1])
    partials = [masked(c, *np.flatnonzero(part)) for c, part in zip(crystals, parts, strict=True)]
    for expected, done in zip(scored, complete(generator, partials, decode=ARGMAX), strict=True):
        assert (done.crystal.species == expected.species).all()
        difference = done.crystal.frac - expected.frac
        assert np.abs(difference - difference.round()).max() < 1e-5


def test_the_same_every_time_and_whatever_is_beside_it(generator: Generator, crystals: list[Crystal]) -> None:
    partials = [masked(crystal, 0) for crystal in crystals]
    first, again = complete(generator, partials), complete(generator, partials)
    for one, other, partial in zip(first, again, partials, strict=True):
        assert one.odds == other.odds
        assert (one.crystal.frac == other.crystal.frac).all()
        alone = complete(generator, [partial])[0]
        assert alone.crystal.species.tolist() == one.crystal.species.tolist()
        assert alone.odds[0][0].probability == pytest.approx(one.odds[0][0].probability, abs=1e-5)


def test_atoms_move_by_the_perturbation_unless_positions_are_kept(
    generator: Generator, crystals: list[Crystal]
) -> None:
    partial = masked(next(c for c in crystals if len(c) > 4), 0)
    moved, kept = complete(generator, [partial])[0], complete(generator, [partial], keep_positions=True)[0]
    assert (kept.crystal.frac == partial.frac).all()
    assert (kept.crystal.species == moved.crystal.species).all()
    assert not kept.best.moved.any()
    shift = moved.crystal.frac - partial.frac
    lengths = np.linalg.norm((shift - shift.round()) @ partial.lattice, axis=1)
    assert lengths == pytest.approx(moved.best.moved, abs=1e-6)
    assert lengths.max() > 1e-4


def test_copies_by_symmetry_get_the_same_odds(generator: Generator) -> None:
    done = complete(generator, [readable(f"{ROCK_SALT}{SYMBOLS}Na1 Na 0 0 0\nCl1 X 0.5 0.5 0.5\n")])[0]
    assert len(done.odds) == 4
    for odds in done.odds:
        assert [each.probability for each in odds] == pytest.approx([e.probability for e in done.odds[0]], abs=1e-5)


def test_the_completed_cif_is_read_by_our_own_reader(
    generator: Generator, crystals: list[Crystal], tmp_path: Path
) -> None:
    done = complete(generator, [masked(crystal, 0) for crystal in crystals], keep_positions=True)
    for each in done:
        (tmp_path / f"{each.crystal.id}.cif").write_text(each.cif)
    back = {crystal.id: crystal for crystal in read(tmp_path).require_clean().crystals}
    for each in done:
        assert sorted(back[each.crystal.id].species) == sorted(each.crystal.species)
        assert back[each.crystal.id].min_edge == pytest.approx(each.crystal.min_edge, abs=1e-4)


def test_without_a_masked_site_positions_are_restored(generator: Generator, crystals: list[Crystal]) -> None:
    whole = crystals[0]
    done = complete(generator, [readable(cif_text(whole))])[0]
    assert sorted(done.crystal.species) == sorted(whole.species)
    assert done.odds == ()
    assert NONE_MASKED in done.warnings
    with pytest.raises(ValueError, match=r"nothing to do .*; set a site's symbol to X"):
        complete(generator, [whole], keep_positions=True)


def test_all_masked_is_done_with_a_warning(generator: Generator, crystals: list[Crystal]) -> None:
    done = complete(generator, [masked(crystals[0], *range(len(crystals[0])))])[0]
    assert ALL_MASKED in done.warnings
    assert (done.crystal.species > 0).all()


def test_atoms_that_end_close_together_are_warned_of(generator: Generator) -> None:
    close = Crystal.of("close", [MASK, 8, 11], np.eye(3) * 4, [[0, 0, 0], [0.1, 0, 0], [0.5, 0.5, 0.5]])
    done = complete(generator, [close], keep_positions=True)[0]
    assert [warning for warning in done.warnings if "0.40 Å apart" in warning] == [
        "two atoms of the input lie 0.40 Å apart; are its cell, and the origin of its space group, right?"
    ]


def test_too_many_atoms_are_refused_with_the_limit(generator: Generator, crystals: list[Crystal]) -> None:
    partial = masked(crystals[0], 0)
    problem = refusal(partial, max_atoms=2)
    assert problem is not None
    assert "at most 2" in problem.remedy
    with pytest.raises(ValueError, match="too many atoms"):
        complete(generator, [partial], max_atoms=2)


def test_damaged_weights_are_told_from_an_answer(crystals: list[Crystal]) -> None:
    broken = Generator(size("painn", "smoke")).eval()
    for parameter in broken.parameters():
        torch.nn.init.constant_(parameter, torch.nan)
    with pytest.raises(ValueError, match="no finite answer"):
        complete(broken, [masked(crystals[0], 0)])
