"""Corruptions are exactly what they say: counts, distributions, means and the randomness behind them."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from crystalsweep.data import load_bundled
from crystalsweep.evaluation.protocol import evaluation_chunks
from crystalsweep.hyperparameters import CorruptionConfig, EvaluationConfig, Range, mask_fraction
from crystalsweep.structures.batch import CrystalBatch, collate, to_fractional
from crystalsweep.structures.corruption import (
    Corrupted,
    corrupt,
    draw_mask,
    draw_noise,
    draw_sigma_noise,
    mask_of_type,
    random_mask,
    species_mask,
)
from crystalsweep.structures.crystal import MASK, Crystal


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def crystal_of(species: list[int], edge: float = 6.0) -> Crystal:
    """Atoms on a spiral in a slightly skewed cell; none coincide."""
    k = np.arange(len(species))
    frac = np.stack([k / len(species), (0.37 * k) % 1, (0.61 * k) % 1], axis=1)
    return Crystal.of("x", species, edge * np.array([[1, 0, 0], [0.2, 1, 0], [-0.1, 0.3, 1]]), frac)


def per_crystal(values: Tensor, batch: CrystalBatch) -> list[Tensor]:
    return list(values.split(batch.counts.tolist()))


def within(count: int, draws: int, probability: float, sigmas: float = 5.0) -> bool:
    """Whether a binomial count lies within so many standard deviations."""
    return abs(count - draws * probability) <= sigmas * math.sqrt(draws * probability * (1 - probability))


@pytest.fixture(scope="module")
def real() -> CrystalBatch:
    return collate(load_bundled("val")[:150])


# Masks


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=8),
    percent=st.integers(0, 100),
    seed=st.integers(0, 2**32 - 1),
)
def test_random_mask_hides_exactly_the_ceiling_of_its_share(sizes: list[int], percent: int, seed: int) -> None:
    batch = collate([crystal_of([1] * n) for n in sizes])
    masked = mask_of_type(batch, f"random{percent}", seeded(seed))
    expected = [-(-percent * n // 100) for n in sizes]  # integer arithmetic: 15 % of 20 is 3
    assert [int(part.sum()) for part in per_crystal(masked, batch)] == expected


def test_random_mask_counts_of_real_crystals(real: CrystalBatch) -> None:
    for mask_type, percent in (("random15", 15), ("random30", 30)):
        masked = mask_of_type(real, mask_type, seeded())
        counts = [int(part.sum()) for part in per_crystal(masked, real)]
        assert counts == [-(-percent * n // 100) for n in real.counts.tolist()]


def test_random_mask_is_uniform_over_atoms_the_last_included() -> None:
    """N = 4: the released code never masks the last atom."""
    draws = 20_000
    batch = collate([crystal_of([1, 1, 1, 1])] * draws)
    hidden = random_mask(batch, 0.25, seeded()).view(draws, 4).sum(dim=0)
    assert hidden.sum() == draws
    assert all(within(count, draws, 0.25) for count in hidden.tolist()), hidden


def test_random_mask_is_uniform_over_pairs_of_atoms() -> None:
    """Drawing without replacement: each of the six pairs of four atoms is as likely."""
    draws = 12_000
    batch = collate([crystal_of([1, 1, 1, 1])] * draws)
    masks = random_mask(batch, 0.5, seeded()).view(draws, 4).long() @ torch.tensor([1, 2, 4, 8])
    pairs, counts = torch.unique(masks, return_counts=True)
    assert pairs.tolist() == [3, 5, 6, 9, 10, 12]
    assert all(within(count, draws, 1 / 6) for count in counts.tolist()), counts


def test_crystals_of_a_batch_are_masked_independently() -> None:
    draws = 8_000
    batch = collate([crystal_of([1, 1]), crystal_of([1, 1])] * draws)
    first = random_mask(batch, 0.5, seeded()).view(draws, 4)[:, [0, 2]]
    assert within(int((first[:, 0] & first[:, 1]).sum()), draws, 0.25)


def test_species_mask_hides_all_atoms_of_exactly_one_species(real: CrystalBatch) -> None:
    for seed in range(5):
        masked = species_mask(real, seeded(seed))
        for species, part in zip(per_crystal(real.species, real), per_crystal(masked, real), strict=True):
            hidden = torch.unique(species[part])
            assert len(hidden) == 1
            assert torch.equal(part, species == hidden[0])


def test_species_mask_is_uniform_over_species_not_atoms() -> None:
    """One Cs beside eight O: each is hidden half of the time."""
    draws = 10_000
    batch = collate([crystal_of([55] + [8] * 8)] * draws)
    masked = species_mask(batch, seeded()).view(draws, 9)
    assert within(int(masked[:, 0].sum()), draws, 0.5)


def test_species_mask_is_uniform_over_three_species() -> None:
    draws = 10_000
    batch = collate([crystal_of([3, 15, 8, 8, 8])] * draws)
    masked = species_mask(batch, seeded()).view(draws, 5)[:, :3].sum(dim=0)
    assert all(within(count, draws, 1 / 3) for count in masked.tolist()), masked


@pytest.mark.parametrize("mask_type", ["species", "random15", "random30", "random100"])
def test_one_atom_cell_is_masked_whole(mask_type: str) -> None:
    assert mask_of_type(collate([crystal_of([29])]), mask_type, seeded()).tolist() == [True]


def test_random0_hides_nothing() -> None:
    assert not mask_of_type(collate([crystal_of([29, 8])]), "random0", seeded()).any()


@pytest.mark.parametrize("mask_type", ["random", "random101", "random1000", "random-5", "alpha", "Species", ""])
def test_unknown_mask_types_are_refused(mask_type: str) -> None:
    with pytest.raises(ValueError, match="mask type"):
        mask_fraction(mask_type)


def test_mixture_follows_its_weights() -> None:
    """random0 hides nothing and random100 all, so that the drawn type shows."""
    draws = 10_000
    batch = collate([crystal_of([1, 1, 1])] * draws)
    whole = draw_mask(batch, {"random0": 3.0, "random100": 1.0}, seeded()).view(draws, 3)
    assert torch.equal(whole.any(dim=1), whole.all(dim=1))
    assert within(int(whole.all(dim=1).sum()), draws, 0.25)


def test_mask_type_is_drawn_per_crystal_not_per_batch() -> None:
    batch = collate([crystal_of([1, 1, 1])] * 64)
    whole = draw_mask(batch, {"random0": 0.5, "random100": 0.5}, seeded()).view(64, 3)[:, 0]
    assert 0 < int(whole.sum()) < 64


def test_default_mixture_is_half_species_half_random15() -> None:
    """Eight O beside one Cs: nine atoms hide as O (8 atoms), as Cs (1) or at random (2)."""
    draws = 8_000
    batch = collate([crystal_of([55] + [8] * 8)] * draws)
    counts = draw_mask(batch, CorruptionConfig().mask_types, seeded()).view(draws, 9).sum(dim=1)
    assert set(counts.tolist()) == {1, 2, 8}
    assert within(int((counts == 2).sum()), draws, 0.5)


def test_the_order_in_which_mask_types_are_given_changes_no_draw() -> None:
    """A checkpoint's JSON sorts them, a preset does not; both are the same config."""
    batch = collate([crystal_of([55] + [8] * 8)] * 64)
    weights = {"species": 0.5, "random15": 0.3, "random30": 0.2}
    backwards = dict(reversed(weights.items()))
    assert torch.equal(draw_mask(batch, weights, seeded()), draw_mask(batch, backwards, seeded()))


# Noise


def test_noise_has_the_configured_spread_per_component() -> None:
    batch = collate([crystal_of([1, 1, 1, 1])] * 5_000)
    noise = draw_noise(batch, torch.full((5_000,), 0.2), False, seeded())
    ratio = noise.std(dim=0) / (0.2 * batch.min_edge[0])
    assert ratio.tolist() == pytest.approx([1.0] * 3, abs=5 / math.sqrt(2 * 20_000))
    assert noise.mean(dim=0).abs().max() < 5 * 0.2 * float(batch.min_edge[0]) / math.sqrt(20_000)


def test_noise_follows_each_crystals_own_min_edge_and_sigma() -> None:
    batch = collate([crystal_of([1] * 4, edge=4.0), crystal_of([1] * 4, edge=12.0)] * 2_000)
    sigma_noise = torch.tensor([0.1, 0.4]).repeat(2_000)
    noise = draw_noise(batch, sigma_noise, False, seeded()).view(2_000, 2, 12)
    spread = noise.std(dim=(0, 2)) / (torch.tensor([0.1, 0.4]) * batch.min_edge[:2])
    assert spread.tolist() == pytest.approx([1.0, 1.0], abs=0.03)
    assert float(batch.min_edge[1] / batch.min_edge[0]) == pytest.approx(3.0)


@pytest.mark.parametrize("n", [1, 2, 4, 9])
def test_centred_noise_loses_one_part_in_n_of_its_variance(n: int) -> None:
    draws = 24_000 // n
    batch = collate([crystal_of([1] * n)] * draws)
    noise = draw_noise(batch, torch.full((draws,), 0.1), True, seeded())
    variance = noise.square().mean() / (0.1 * float(batch.min_edge[0])) ** 2
    assert float(variance) == pytest.approx(1 - 1 / n, abs=0.03)


def test_centred_noise_moves_no_crystal_as_a_whole(real: CrystalBatch) -> None:
    noise = draw_noise(real, torch.full((len(real),), 0.4), True, seeded())
    drift = torch.stack([part.mean(dim=0) for part in per_crystal(noise, real)])
    assert drift.abs().max() < 1e-6
    free = draw_noise(real, torch.full((len(real),), 0.4), False, seeded())
    assert torch.stack([part.mean(dim=0) for part in per_crystal(free, real)]).abs().max() > 0.01


def test_one_atom_cell_is_not_displaced_when_centred() -> None:
    batch = collate([crystal_of([29])])
    assert not draw_noise(batch, torch.tensor([0.4]), True, seeded()).any()
    assert draw_noise(batch, torch.tensor([0.4]), False, seeded()).all()


@settings(max_examples=30, deadline=None, derandomize=True)
@given(low=st.floats(0, 1), width=st.floats(0, 1), seed=st.integers(0, 2**32 - 1))
def test_sigma_from_a_range_stays_in_it(low: float, width: float, seed: int) -> None:
    drawn = draw_sigma_noise(Range(low=low, high=low + width), 200, seeded(seed))
    assert drawn.shape == (200,)
    assert float(drawn.min()) >= low - 1e-6
    assert float(drawn.max()) <= low + width + 1e-6


def test_sigma_fills_its_range_evenly() -> None:
    drawn = draw_sigma_noise(Range(low=0.1, high=0.5), 10_000, seeded())
    counts = torch.histc(drawn, bins=4, min=0.1, max=0.5)
    assert all(within(int(count), 10_000, 0.25) for count in counts)


def test_sigma_from_a_list_takes_each_as_often() -> None:
    drawn = draw_sigma_noise((0.1, 0.2, 0.4), 9_000, seeded())
    values, counts = torch.unique(drawn, return_counts=True)
    assert values.tolist() == pytest.approx([0.1, 0.2, 0.4])
    assert all(within(count, 9_000, 1 / 3) for count in counts.tolist())


def test_single_sigma_is_used_for_all() -> None:
    assert torch.equal(draw_sigma_noise(0.3, 5, seeded()), torch.full((5,), 0.3))


# The whole corruption


@pytest.mark.parametrize("center", [True, False])
def test_corrupted_positions_are_the_originals_plus_noise_modulo_the_lattice(real: CrystalBatch, center: bool) -> None:
    corrupted = corrupt(real, CorruptionConfig(sigma_noise=0.4, center_noise=center), seeded())
    difference = to_fractional(corrupted.cart - real.cart - corrupted.noise, real.lattice, real.crystal)
    assert (difference - difference.round()).abs().max() < 2e-6
    assert difference.round().any(), "no atom crossed a face, so nothing was tested"


def test_corrupted_positions_are_in_the_cell(real: CrystalBatch) -> None:
    corrupted = corrupt(real, CorruptionConfig(sigma_noise=0.4), seeded())
    frac = to_fractional(corrupted.cart, real.lattice, real.crystal)
    assert float(frac.min()) > -2e-6
    assert float(frac.max()) < 1 + 2e-6


def test_exactly_the_masked_species_are_hidden(real: CrystalBatch) -> None:
    corrupted = corrupt(real, CorruptionConfig(), seeded())
    assert torch.equal(corrupted.species == MASK, corrupted.masked)
    assert torch.equal(corrupted.species[~corrupted.masked], real.species[~corrupted.masked])
    assert corrupted.pristine is real


def fields_of(corrupted: Corrupted) -> list[Tensor]:
    return [corrupted.species, corrupted.cart, corrupted.masked, corrupted.noise]


def test_same_seed_gives_the_same_corruption_and_another_seed_another(real: CrystalBatch) -> None:
    config = CorruptionConfig(sigma_noise=Range(low=0.1, high=0.4))
    first, again, other = (corrupt(real, config, seeded(seed)) for seed in (7, 7, 8))
    assert all(torch.equal(a, b) for a, b in zip(fields_of(first), fields_of(again), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(fields_of(first), fields_of(other), strict=True))


def test_corruption_leaves_global_random_state_alone(real: CrystalBatch) -> None:
    before = torch.get_rng_state()
    corrupt(real, CorruptionConfig(), seeded())
    assert torch.equal(torch.get_rng_state(), before)


def test_corruption_does_not_change_the_original(real: CrystalBatch) -> None:
    species, cart = real.species.clone(), real.cart.clone()
    corrupt(real, CorruptionConfig(sigma_noise=0.4), seeded())
    assert torch.equal(real.species, species)
    assert torch.equal(real.cart, cart)


# The evaluation protocol's corruptions (Fig. 4)


def protocol(crystals: list[Crystal], config: EvaluationConfig) -> tuple[pd.DataFrame, list[Crystal]]:
    """Every case's key and corrupted crystal."""
    chunks = list(evaluation_chunks(crystals, config))
    keys = pd.concat([chunk.keys for chunk in chunks], ignore_index=True)
    return keys, [crystal for chunk in chunks for crystal in chunk.corrupted_crystals()]


@pytest.fixture(scope="module")
def parents() -> list[Crystal]:
    return load_bundled("val")[:12]


def test_protocol_masks_each_species_once_and_draws_random_masks_five_times(parents: list[Crystal]) -> None:
    config = EvaluationConfig(sigma_noise=(0.1, 0.4))
    keys, corrupted = protocol(parents, config)
    for parent in parents:
        for sigma in (0.1, 0.4):
            mine = keys[(keys.parent == parent.id) & (keys.sigma_noise == sigma)]
            counts = mine.groupby("mask_type").size().to_dict()
            assert counts == {"species": len(np.unique(parent.species)), "random15": 5, "random30": 5}
            hidden = [
                set(parent.species[corrupted[i].species == MASK]) for i in mine.index[mine.mask_type == "species"]
            ]
            assert sorted(hidden, key=min) == [{z} for z in np.unique(parent.species)]
    for row, crystal in zip(keys.itertuples(), corrupted, strict=True):
        if row.mask_type == "random30":
            assert (crystal.species == MASK).sum() == -(-30 * len(crystal) // 100)


def test_protocol_gives_every_model_the_same_inputs(parents: list[Crystal]) -> None:
    config = EvaluationConfig(draws=1)
    torch.manual_seed(1)
    first = protocol(parents, config)[1]
    torch.manual_seed(2)
    again = protocol(parents, config)[1]
    other = protocol(parents, config.model_copy(update={"seed": 1}))[1]
    assert all(
        np.array_equal(a.frac, b.frac) and np.array_equal(a.species, b.species)
        for a, b in zip(first, again, strict=True)
    )
    assert not any(np.array_equal(a.frac, b.frac) for a, b in zip(first, other, strict=True) if len(a) > 1)


def test_protocol_samples_parents_by_its_seed(parents: list[Crystal]) -> None:
    chosen = [
        set(protocol(parents, EvaluationConfig(draws=1, max_crystals=5, seed=seed))[0].parent) for seed in (0, 0, 1)
    ]
    assert len(chosen[0]) == 5
    assert chosen[0] == chosen[1] != chosen[2]
