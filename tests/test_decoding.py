"""Species of masked sites are chosen together: the likeliest first, under constraints, each crystal once."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax

from crystalsweep.data import load_bundled
from crystalsweep.inference.completion import JOINTLY, complete
from crystalsweep.inference.decoding.constraints import Constraints, is_neutral
from crystalsweep.inference.decoding.filling import Filling, conditionals, fill
from crystalsweep.inference.decoding.network import ask
from crystalsweep.inference.decoding.positions import displaced, place
from crystalsweep.inference.decoding.search import likeliest
from crystalsweep.inference.decoding.settings import ARGMAX, DecodeConfig
from crystalsweep.inference.decoding.symmetry import symmetry_of, units_of
from crystalsweep.inference.decoding.views import ask_views, views_of
from crystalsweep.metrics.settings import DEFAULT_RULES
from crystalsweep.networks.architectures import size
from crystalsweep.networks.models import Generator
from crystalsweep.structures.crystal import MASK, N_ELEMENTS, Crystal

BARIUM, TITANIUM, OXYGEN, STRONTIUM, SODIUM = 56, 22, 8, 38, 11


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(3)
    generator = Generator(size("painn", "smoke"))
    with (
        torch.no_grad()
    ):  # untrained logits are nearly level: spread them, so that order and probability mean something
        list(generator.species_head.modules())[-1].weight.mul_(20)  # type: ignore[operator, union-attr]
    return generator.eval()


@pytest.fixture(scope="module")
def crystals() -> list[Crystal]:
    return [crystal for crystal in load_bundled("test") if 4 <= len(crystal) <= 12][:12]


def masked(crystal: Crystal, *atoms: int) -> Crystal:
    species = crystal.species.copy()
    species[list(atoms)] = MASK
    return Crystal.of(crystal.id, species, crystal.lattice, crystal.frac)


def perovskite(a: int, b: int, x: int) -> Crystal:
    sites = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return Crystal.of("perovskite", [a, b, x, x, x], np.eye(3) * 4.0, sites)


def chosen(fillings: list[Filling]) -> list[list[int]]:
    return [filling.species.tolist() for filling in fillings]


# The search


@pytest.mark.parametrize("seed", range(20))
def test_the_search_finds_what_trying_all_finds(seed: int) -> None:
    random = np.random.default_rng(seed)
    scores = np.round(random.normal(size=(3, 5)), 1)  # with ties
    scores[0, 1] = -np.inf

    def admits(columns: tuple[int, ...]) -> bool:
        return sum(columns) % 3 != 0

    tried = [c for c in product(range(5), repeat=3) if admits(c) and np.isfinite(scores[range(3), c]).all()]
    best = sorted((float(scores[range(3), c].sum()) for c in tried), reverse=True)
    found = likeliest(scores, 7, admits)
    assert [choice.score for choice in found] == pytest.approx(best[:7])
    assert all(choice.score == pytest.approx(scores[range(3), choice.columns].sum()) for choice in found)
    assert len({choice.columns for choice in found}) == 7
    assert len(likeliest(scores, 1000, admits)) == len(tried)


def test_the_search_gives_up_and_finds_nothing_where_there_is_nothing() -> None:
    assert likeliest(np.zeros((4, 50)), 1, lambda _: False, tries=100) == []
    assert likeliest(np.full((2, 3), -np.inf), 5, lambda _: True) == []


# Symmetry


def test_sites_that_symmetry_makes_equal_are_tied() -> None:
    partial = masked(perovskite(BARIUM, TITANIUM, OXYGEN), 0, 2, 3, 4)
    symmetry = symmetry_of(partial)
    assert len(symmetry.permutations) == 6  # the three axes in any order
    assert [unit.tolist() for unit in units_of(partial, "symmetry", symmetry.orbits)] == [[0], [2, 3, 4]]
    assert [unit.tolist() for unit in units_of(partial, "none", symmetry.orbits)] == [[0], [2], [3], [4]]
    assert [unit.tolist() for unit in units_of(partial, "all", symmetry.orbits)] == [[0, 2, 3, 4]]


def test_a_large_crystal_is_tied_too() -> None:
    corners = np.stack(np.meshgrid(*[np.arange(6)] * 3), axis=-1).reshape(-1, 3)
    frac = np.concatenate([corners, corners + 0.5]) / 6
    large = Crystal.of("large", [MASK] * 216 + [17] * 216, np.eye(3) * 24.6, frac)  # CsCl, 6 × 6 × 6 cells
    symmetry = symmetry_of(large)
    assert len(units_of(large, "symmetry", symmetry.orbits)) == 1
    assert symmetry.permutations.tolist() == [list(range(432))]


def test_noise_unties() -> None:
    partial = masked(perovskite(BARIUM, TITANIUM, OXYGEN), 2, 3, 4)
    noise = np.random.default_rng(0).normal(scale=0.02, size=(5, 3))
    moved = Crystal.of("moved", partial.species, partial.lattice, partial.frac + noise)
    assert len(units_of(moved, "symmetry", symmetry_of(moved).orbits)) == 3


def test_arrangements_that_are_one_crystal_come_once(generator: Generator) -> None:
    partial = masked(perovskite(BARIUM, TITANIUM, OXYGEN), 2, 3, 4)
    fillings = fill(generator, [partial], DecodeConfig(candidates=40), Constraints.of(allowed="O-F"))[0]
    kinds = [tuple(sorted(filling.species[2:].tolist())) for filling in fillings]
    assert sorted(kinds) == [(8, 8, 8), (8, 8, 9), (8, 9, 9), (9, 9, 9)]
    assert sum(np.exp(filling.log_probability) for filling in fillings) == pytest.approx(1, abs=1e-4)


# Decoders


def test_argmax_is_every_site_by_itself(generator: Generator, crystals: list[Crystal]) -> None:
    partials = [masked(crystal, 0, 1, 3) for crystal in crystals]
    alone = ask(generator, partials, [partial.species for partial in partials])
    for partial, answer, fillings in zip(partials, alone, fill(generator, partials, ARGMAX), strict=True):
        assert len(fillings) == 1
        hidden = partial.species == MASK
        assert (fillings[0].species[hidden] == answer.log_probabilities[hidden].argmax(axis=1) + 1).all()


def test_ordered_sees_what_was_filled(generator: Generator, crystals: list[Crystal]) -> None:
    partial = masked(crystals[0], 0, 1, 2)
    filling = fill(generator, [partial], DecodeConfig(method="ordered", passes=3))[0][0]
    species, total = partial.species.copy(), 0.0
    for _ in range(3):
        logs = ask(generator, [partial], [species])[0].log_probabilities
        open_sites = np.flatnonzero(species == MASK)
        site = open_sites[logs[open_sites].max(axis=1).argmax()]
        species[site] = logs[site].argmax() + 1
        total += float(logs[site].max())
    assert filling.species.tolist() == species.tolist()
    assert filling.log_probability == pytest.approx(total, abs=1e-4)


def test_views_are_the_positions_given_and_those_restored_of_them(
    generator: Generator, crystals: list[Crystal]
) -> None:
    """log p is the mean over them, normalised again; one view is the paper's."""
    partials = [masked(crystals[0], 0, 1), masked(crystals[1], 0)]
    first = ask(generator, partials, [partial.species for partial in partials])
    moved = [displaced(partial, -told.perturbation) for partial, told in zip(partials, first, strict=True)]
    second = ask(generator, moved, [partial.species for partial in partials])
    views = views_of(generator, partials, 2)
    assert [np.abs(a.frac - b.frac).max() for a, b in zip(views[1], moved, strict=True)] == [0, 0]
    told = ask_views(generator, views, [1, 0, 1], [partials[k].species for k in (1, 0, 1)])
    for answer, k in zip(told, (1, 0, 1), strict=True):
        mean = (first[k].log_probabilities + second[k].log_probabilities) / 2
        assert answer.log_probabilities == pytest.approx(log_softmax(mean, axis=1), abs=1e-4)
        assert np.exp(answer.log_probabilities).sum(axis=1) == pytest.approx(1.0)
        assert answer.perturbation == pytest.approx(first[k].perturbation, abs=1e-5)
    (alone,) = views_of(generator, partials, 1)
    assert alone is partials


def test_a_decoder_with_views_goes_by_their_mean(generator: Generator, crystals: list[Crystal]) -> None:
    partial = masked(crystals[0], 1)
    (told,) = ask_views(generator, views_of(generator, [partial], 3), [0], [partial.species])
    config = DecodeConfig(method="beam", candidates=118, views=3)
    (found,) = fill(generator, [partial], config)
    likeliest = np.argsort(-told.log_probabilities[1], kind="stable")
    assert [int(each.species[1]) for each in found] == (likeliest + 1).tolist()
    assert found[0].log_probability == pytest.approx(told.log_probabilities[1].max())
    of_chain = conditionals(generator, [partial], [crystals[0].species], config)
    assert of_chain.log_probabilities[0] == pytest.approx(told.log_probabilities[1])
    assert not DecodeConfig(method="argmax", views=2).per_site and DecodeConfig(method="argmax").per_site


def test_a_wide_beam_over_one_site_is_all_elements_in_order(generator: Generator, crystals: list[Crystal]) -> None:
    partial = masked(crystals[1], 2)
    fillings = fill(generator, [partial], DecodeConfig(candidates=N_ELEMENTS))[0]
    logs = ask(generator, [partial], [partial.species])[0].log_probabilities[2]
    assert [filling.species[2] for filling in fillings] == (np.argsort(-logs, kind="stable") + 1).tolist()
    assert sum(np.exp(filling.log_probability) for filling in fillings) == pytest.approx(1, abs=1e-4)


def test_the_beam_finds_no_worse_than_the_greedy_chain(generator: Generator, crystals: list[Crystal]) -> None:
    partials = [masked(crystal, 0, 1, 2) for crystal in crystals]
    greedy = fill(generator, partials, DecodeConfig(method="ordered"))
    beam = fill(generator, partials, DecodeConfig(candidates=20))
    for one, many in zip(greedy, beam, strict=True):
        assert many[0].log_probability >= one[0].log_probability - 1e-4
        assert [f.log_probability for f in many] == sorted((f.log_probability for f in many), reverse=True)


def test_sampled_is_the_same_for_the_same_seed(generator: Generator, crystals: list[Crystal]) -> None:
    partial = masked(crystals[2], 0, 1, 2)
    config = DecodeConfig(method="sampled", candidates=30, temperature=1.0)
    first = fill(generator, [partial], config)[0]
    beside_others = fill(generator, [masked(crystals[0], 1), partial], config)[1]
    assert chosen(first) == chosen(beside_others)
    assert chosen(first) != chosen(fill(generator, [partial], config.model_copy(update={"seed": 1}))[0])
    assert len({tuple(species) for species in chosen(first)}) == len(first) > 5


def test_sampling_draws_by_probability(generator: Generator, crystals: list[Crystal]) -> None:
    logs = ask(generator, [crystals[3]], [masked(crystals[3], 0).species])[0].log_probabilities[0]
    config = DecodeConfig(method="sampled", candidates=200, temperature=1.0)
    drawn: NDArray[np.float64] = np.zeros(N_ELEMENTS)
    for seed in range(10):
        found = fill(generator, [masked(crystals[3], 0)], config.model_copy(update={"seed": seed}))[0]
        drawn[[int(filling.species[0]) - 1 for filling in found]] += 1
    expected = 1 - (1 - np.exp(logs)) ** 199  # of 199 draws, the first chain being the likeliest
    expected[logs.argmax()] = 1
    assert np.abs(drawn / 10 - expected).max() < 0.5
    assert (drawn / 10).sum() == pytest.approx(expected.sum(), rel=0.1)


# Constraints


def test_only_allowed_elements_and_their_odds_sum_to_one(generator: Generator, crystals: list[Crystal]) -> None:
    partial = masked(crystals[4], 0)
    fillings = fill(generator, [partial], DecodeConfig(), Constraints.of(allowed="Li,Na,K", excluded="K"))[0]
    assert sorted(int(filling.species[0]) for filling in fillings) == [3, SODIUM]
    assert sum(np.exp(filling.log_probability) for filling in fillings) == pytest.approx(1)


def test_a_single_chain_is_drawn_and_at_a_low_temperature_the_likeliest(
    generator: Generator, crystals: list[Crystal]
) -> None:
    partials = [masked(crystal, 0, 1) for crystal in crystals]

    def species(**settings: object) -> list[tuple[int, ...]]:
        config = DecodeConfig.model_validate({"passes": 4, "candidates": 1, **settings})
        return [tuple(fillings[0].species.tolist()) for fillings in fill(generator, partials, config)]

    likeliest = species(method="ordered")
    assert species(method="sampled", temperature=1e-4) == likeliest
    drawn = [species(method="sampled", temperature=1.0, seed=seed) for seed in range(4)]
    assert any(each != likeliest for each in drawn)
    assert len(set(map(tuple, drawn))) > 1


@pytest.mark.parametrize("method", ["argmax", "ordered", "sampled", "beam"])
def test_a_formula_is_kept_by_every_decoder(generator: Generator, method: str) -> None:
    partial = masked(perovskite(BARIUM, TITANIUM, OXYGEN), 0, 2, 4)
    config = DecodeConfig.model_validate({"method": method})
    fillings = fill(generator, [partial], config, Constraints.of(formula="SrTiO3"))[0]
    assert fillings
    for filling in fillings:
        assert sorted(filling.species.tolist()) == sorted([STRONTIUM, TITANIUM, OXYGEN, OXYGEN, OXYGEN])


@pytest.mark.parametrize("method", ["argmax", "ordered", "sampled", "beam"])
def test_required_neutrality_is_found(generator: Generator, crystals: list[Crystal], method: str) -> None:
    partials = [masked(crystal, 0, 1, 2) for crystal in crystals]
    config = DecodeConfig.model_validate({"method": method, "charge": "require"})
    for fillings in fill(generator, partials, config):
        assert fillings
        for filling in fillings:
            numbers, counts = np.unique(filling.species, return_counts=True)
            assert filling.neutral
            assert is_neutral(dict(zip(numbers.tolist(), counts.tolist(), strict=True)), DEFAULT_RULES)


def test_preferred_neutrality_comes_first(generator: Generator, crystals: list[Crystal]) -> None:
    partials = [masked(crystal, 0, 1) for crystal in crystals]
    for fillings in fill(generator, partials, DecodeConfig(charge="prefer", candidates=20)):
        neutral = [filling.neutral for filling in fillings]
        assert neutral == sorted(neutral, reverse=True)
        assert neutral[0]


def test_required_elements_are_there(generator: Generator, crystals: list[Crystal]) -> None:
    partial = masked(crystals[5], 0, 1, 2)
    for filling in fill(generator, [partial], DecodeConfig(), Constraints.of(required="Xe-At"))[0]:
        assert {54, 85} <= set(filling.species.tolist())


def test_what_no_chain_finds_is_searched_for(generator: Generator) -> None:
    partial = masked(perovskite(BARIUM, TITANIUM, OXYGEN), 0, 1, 2, 3, 4)
    tied = DecodeConfig(tie="symmetry", passes=3, candidates=2, charge="require")
    constraints = Constraints.of(allowed="Na-Cl-Ba-Ti-O", required="Ti")
    fillings = fill(generator, [partial], tied, constraints)[0]
    assert fillings
    assert all(filling.neutral and TITANIUM in filling.species for filling in fillings)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"allowed": "Li", "excluded": "Li"}, "no element is left"),
        ({"allowed": "Li-Qq"}, "'Qq' is no element"),
        ({"formula": "Ba0.5TiO3"}, "parts of atoms"),
        ({"formula": "(("}, "no chemical formula"),
        ({"formula": "BaTiO3", "required": "Sr"}, "required, but not in the formula: Sr"),
        ({"formula": "SrTiO3"}, "1 visible Ba"),
        ({"formula": "BaTiO4"}, "5 atoms are no whole number of units"),
        ({"required": "Li-Na-K"}, "only 2 sites are masked"),
        ({"required": "Li", "excluded": "Li"}, "Li is required, but no masked site may become it"),
    ],
)
def test_constraints_that_cannot_be_fulfilled_say_why(
    generator: Generator, options: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        fill(generator, [masked(perovskite(BARIUM, TITANIUM, OXYGEN), 1, 2)], DecodeConfig(), Constraints.of(**options))


def test_nothing_found_is_said(generator: Generator) -> None:
    partial = masked(perovskite(SODIUM, SODIUM, SODIUM), 4)
    done = complete(
        generator,
        [partial],
        decode=DecodeConfig(charge="require"),
        constraints=Constraints.of(allowed="O"),  # Na4O is not neutral
        keep_positions=True,
    )[0]
    assert done.candidates == ()
    assert "only O on masked sites; charge-neutral" in done.warnings[0]
    with pytest.raises(ValueError, match="perovskite: no candidate was found"):
        _ = done.crystal


# Positions


def test_positions_are_restored_in_passes(generator: Generator, crystals: list[Crystal]) -> None:
    partial = masked(crystals[6], 0)
    plain = JOINTLY.model_copy(update={"position_tolerance": 0.0})
    once, twice = (
        complete(generator, [partial], decode=plain.model_copy(update={"position_passes": n}))[0].best for n in (1, 2)
    )
    again = complete(generator, [once.crystal], decode=plain.model_copy(update={"position_passes": 1}))[0].best
    apart = again.crystal.frac - twice.crystal.frac
    assert np.abs(apart - np.rint(apart)).max() < 1e-5
    assert twice.last_step == pytest.approx(again.last_step, abs=1e-6)
    assert once.last_step == pytest.approx(np.sqrt((once.moved**2).mean()))


def test_each_crystal_is_done_once_a_pass_moves_it_by_less_than_the_tolerance(
    generator: Generator, crystals: list[Crystal]
) -> None:
    few = crystals[4:8]
    steps = [[placed.last_step for placed in place(generator, few, passes=n)] for n in (1, 2, 3)]
    tolerance = float(np.median(steps[0]))
    told = place(generator, few, passes=3, tolerance=tolerance)
    needed = [next((n for n in (1, 2, 3) if steps[n - 1][i] < tolerance), 3) for i in range(len(few))]
    assert len(set(needed)) > 1
    for i, n in enumerate(needed):
        alone = place(generator, [few[i]], passes=n)[0]
        assert told[i].last_step == pytest.approx(alone.last_step, abs=1e-5)
        assert told[i].moved == pytest.approx(alone.moved, abs=1e-5)


def test_positions_that_are_not_settled_are_told(generator: Generator, crystals: list[Crystal]) -> None:
    partial = masked(crystals[6], 0)
    for tolerance, told in ((1e-9, True), (1e9, False)):
        decode = JOINTLY.model_copy(update={"position_tolerance": tolerance, "position_passes": 2})
        done = complete(generator, [partial], decode=decode)[0]
        kept = complete(generator, [partial], decode=decode, keep_positions=True)[0]
        assert any("in the last of 2 passes: its positions are not settled" in line for line in done.warnings) is told
        assert not any("not settled" in line for line in kept.warnings)


def test_argmax_goes_on_from_the_pass_in_which_it_named_species(generator: Generator, crystals: list[Crystal]) -> None:
    partial = masked(crystals[6], 0)
    once, twice = (
        complete(generator, [partial], decode=DecodeConfig(method="argmax", position_passes=n))[0].best for n in (1, 2)
    )
    again = place(generator, [once.crystal], passes=1)[0]
    assert twice.crystal.frac == pytest.approx(again.crystal.frac, abs=1e-5)
    assert (twice.moved != once.moved).any()
