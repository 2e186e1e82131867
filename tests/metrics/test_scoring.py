"""Rows of scores by hand, under symmetry, and for outputs no model should give."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.typing import ArrayLike

from crystalsweep.metrics.baselines import ground_truth, identity, most_common_species
from crystalsweep.metrics.scoring import SCORE_COLUMNS, ScoreRow, score, score_table
from crystalsweep.metrics.settings import CompositionRules, MetricConfig, StructureRules
from crystalsweep.metrics.summary import METRICS, SECONDARY, headline
from crystalsweep.structures.crystal import MASK, Crystal

NA, CL = 11, 17
SALT = Crystal.of("salt", [NA, CL], 4.0 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]])


def moved(crystal: Crystal, shift: ArrayLike, species: ArrayLike | None = None) -> Crystal:
    """The crystal with atoms shifted by (N, 3) Å."""
    frac = crystal.frac + np.asarray(shift) @ np.linalg.inv(crystal.lattice)
    return Crystal.of(crystal.id, crystal.species if species is None else species, crystal.lattice, frac)


CORRUPTED = moved(SALT, [[0.4, 0, 0], [-0.4, 0, 0]], [NA, MASK])


def random_case(n: int = 6, seed: int = 0) -> tuple[Crystal, Crystal, Crystal]:
    """An original, its corruption (centred noise), and an imperfect answer with the composition restored."""
    generator = np.random.default_rng(seed)
    lattice = 7.0 * np.eye(3) + generator.normal(size=(3, 3))
    original = Crystal.of("r", generator.choice([NA, CL, 8], n), lattice, generator.random((n, 3)))
    noise = generator.normal(scale=0.3, size=(n, 3))
    noise -= noise.mean(axis=0)
    masked = np.where(np.arange(n) % 3 == 0, MASK, original.species)
    answer = moved(original, 0.4 * noise + generator.normal(scale=0.05, size=(n, 3)))
    return original, moved(original, noise, masked), answer


def same(a: ScoreRow, b: ScoreRow, but: tuple[str, ...] = ()) -> None:
    assert a.keys() == b.keys()
    for name in a.keys() - set(but):
        assert a[name] == pytest.approx(b[name], nan_ok=True, abs=1e-9) if name != "failure" else a[name] == b[name], (
            name
        )


def test_two_atoms_by_hand() -> None:
    # Put in: ±0.4 Å. Left: 0.3 and 0.1 Å, which is a rigid 0.2 Å and ±0.1 Å.
    row = score(SALT, CORRUPTED, moved(SALT, [[0.3, 0, 0], [0.1, 0, 0]]))
    assert (row["n_atoms"], row["n_masked"]) == (2, 1)
    assert row["noise"] == pytest.approx(0.4)
    assert row["noise_aligned"] == pytest.approx(0.4)
    assert row["distance"] == pytest.approx(0.2)
    assert row["distance_aligned"] == pytest.approx(0.1)
    assert row["structural_similarity"] == pytest.approx(0.75)
    assert row["structural_similarity_unaligned"] == pytest.approx(0.5)
    assert row["paper_eq5_term"] == pytest.approx(0.5)
    assert row["structural_validity"] is True
    assert row["compositional_validity"] is True
    assert (row["masked_correct"], row["visible_correct"]) == (1, 1)


def test_rows_have_the_columns_of_a_table() -> None:
    assert set(score(SALT, CORRUPTED, SALT)) == set(SCORE_COLUMNS)


def test_perfect_output_scores_one() -> None:
    row = score(SALT, CORRUPTED, ground_truth(SALT, CORRUPTED))
    assert row["structural_similarity"] == row["structural_similarity_unaligned"] == 1
    assert row["compositional_similarity"] is True
    assert row["paper_eq5_term"] == 0


def test_identity_scores_exactly_zero_on_positions() -> None:
    for seed in range(20):
        original, corrupted, _ = random_case(seed=seed)
        row = score(original, corrupted, identity(original, corrupted), given_composition=True)
        assert row["structural_similarity"] == 0
        assert row["structural_similarity_unaligned"] == 0
        assert row["given_composition"] is True
        assert not row["compositional_similarity"]
        assert not row["compositional_validity"]
        assert row["masked_correct"] == 0


def test_identity_without_the_flag_has_no_similarity() -> None:
    assert np.isnan(score(SALT, CORRUPTED, CORRUPTED)["structural_similarity"])


def test_rigid_translation_is_free_when_aligned() -> None:
    original, corrupted, _ = random_case()
    row = score(original, corrupted, moved(original, np.full((6, 3), 0.1)))
    assert row["structural_similarity"] == pytest.approx(1)
    assert row["structural_similarity_unaligned"] < 0.9


def test_rotation_invariance() -> None:
    case = random_case()
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    turned = [replace(crystal, lattice=crystal.lattice @ rotation) for crystal in case]
    same(score(*case), score(*turned))


def test_supercell_invariance() -> None:
    case = random_case()
    offsets = np.array([[i, j, 0] for i in range(2) for j in range(2)])

    def grow(crystal: Crystal) -> Crystal:
        frac = (crystal.frac[None] + offsets[:, None]).reshape(-1, 3) / [2, 2, 1]
        return Crystal.of("s", np.tile(crystal.species, 4), crystal.lattice * [[2], [2], [1]], frac)

    counts = ("n_atoms", "n_masked", "masked_correct", "visible_correct")
    small, large = score(*case), score(*(grow(crystal) for crystal in case))
    same(small, large, but=counts)
    assert all(large[name] == 4 * small[name] for name in counts)


def test_swapped_species_miss_strictly_but_keep_the_composition() -> None:
    row = score(SALT, replace(CORRUPTED, species=np.array([MASK, MASK])), replace(SALT, species=np.array([CL, NA])))
    assert row["compositional_similarity"] is False
    assert row["compositional_similarity_permuted"] is True
    assert row["masked_correct"] == 0
    assert np.isnan(row["structural_similarity"])


def test_one_atom_cell_is_undefined_when_aligned_and_counted() -> None:
    one = Crystal.of("po", [84], 3.3 * np.eye(3), [0, 0, 0])
    row = score(one, moved(one, [[0.3, 0, 0]], [MASK]), one)
    assert row["noise_aligned"] == row["distance_aligned"] == 0
    assert np.isnan(row["structural_similarity"])
    assert row["similarity_undefined"] is True
    assert row["structural_similarity_unaligned"] == 1


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (replace(SALT, frac=np.full((2, 3), np.nan)), "non-finite coordinates"),
        (replace(SALT, lattice=np.full((3, 3), np.inf)), "non-finite lattice"),
        (Crystal.of("x", [NA], 4.0 * np.eye(3), [0, 0, 0]), "1 atoms instead of 2"),
    ],
)
def test_bad_output_gives_a_failure_row(bad: Crystal, reason: str) -> None:
    row = score(SALT, CORRUPTED, bad)
    assert set(row) == set(SCORE_COLUMNS)
    assert row["failure"] == reason
    assert not any(row[name] for name in ("structural_validity", "compositional_validity", "compositional_similarity"))
    assert np.isnan(row["structural_similarity"])
    assert row["noise"] == pytest.approx(0.4)


def test_singular_cell_is_invalid_but_no_failure() -> None:
    flat = replace(SALT, lattice=np.diag([4.0, 4.0, 0.0]))
    assert score(SALT, CORRUPTED, flat)["structural_validity"] is False


def test_corruption_with_other_sites_is_an_error() -> None:
    with pytest.raises(ValueError, match="same sites"):
        score(SALT, Crystal.of("x", [NA], 4.0 * np.eye(3), [0, 0, 0]), SALT)


def table_of(generated: Crystal, n: int = 8) -> pd.DataFrame:
    keys = pd.DataFrame(
        {"parent": [f"p{k // 2}" for k in range(n)], "mask_type": "species", "sigma_noise": 0.1, "draw": range(n)}
    )
    return score_table([SALT] * n, [CORRUPTED] * n, [generated] * n, keys)


def test_table_keeps_keys_and_order() -> None:
    table = table_of(SALT)
    assert list(table.columns) == ["parent", "mask_type", "sigma_noise", "draw", *SCORE_COLUMNS]
    assert len(table) == 8
    assert table["structural_validity"].dtype == bool


def test_table_refuses_other_lengths() -> None:
    keys = pd.DataFrame({"parent": ["a"]})
    with pytest.raises(ValueError, match="1 rows of keys for 2 crystals"):
        score_table([SALT] * 2, [CORRUPTED] * 2, [SALT] * 2, keys)
    with pytest.raises(ValueError, match="shorter"):
        score_table([SALT] * 2, [CORRUPTED] * 2, [SALT], keys)


def test_paper_eq5_rewards_a_model_that_never_restores() -> None:
    never = replace(CORRUPTED, species=np.array([NA, 9]))  # and moves nothing
    result = headline(table_of(never), metrics=METRICS + SECONDARY)
    assert result["paper_eq5"].mean == 1
    assert result["structural_similarity"].n == 0
    assert np.isnan(result["structural_similarity"].mean)
    assert result["compositional_similarity"].mean == 0


def test_most_common_species_fills_masks_only() -> None:
    fill = most_common_species({8: 10, CL: 10, NA: 3, MASK: 99})
    filled = fill(SALT, CORRUPTED)
    assert filled.species.tolist() == [NA, 8]
    assert np.array_equal(filled.frac, CORRUPTED.frac)
    with pytest.raises(ValueError, match="no element"):
        most_common_species({MASK: 3})


def odd_cases() -> list[tuple[Crystal, Crystal, Crystal]]:
    """Random cases among impossible outputs, no atoms, one atom, a sheared cell and 300 atoms."""
    sheared = np.array([[1, 0, 0], [7, 1, 0], [-5, 3, 1]])
    original, corrupted, answer = random_case(seed=5)
    steps = np.linalg.inv(sheared)
    skewed = [replace(c, lattice=sheared @ c.lattice, frac=c.frac @ steps) for c in (original, corrupted, answer)]
    empty = Crystal.of("empty", [], 4.0 * np.eye(3), np.zeros((0, 3)))
    one = Crystal.of("po", [84], 3.3 * np.eye(3), [0, 0, 0])
    return [
        *(random_case(n, seed=n) for n in range(1, 9)),
        (SALT, CORRUPTED, replace(SALT, frac=np.full((2, 3), np.nan))),
        (SALT, CORRUPTED, replace(SALT, lattice=np.full((3, 3), np.inf))),
        (SALT, CORRUPTED, empty),
        (SALT, CORRUPTED, replace(SALT, species=np.array([2, 118]))),
        (empty, empty, empty),
        (one, moved(one, [[0.3, 0, 0]], [MASK]), one),
        (skewed[0], skewed[1], skewed[2]),
        random_case(300, seed=9),
    ]


@pytest.mark.parametrize("given_composition", [False, True])
def test_rows_of_a_table_are_those_scored_one_by_one(given_composition: bool) -> None:
    cases = odd_cases()
    keys = pd.DataFrame({"parent": [case[0].id for case in cases]})
    table = score_table(*zip(*cases, strict=True), keys, given_composition=given_composition)
    for case, (_, values) in zip(cases, table.iterrows(), strict=True):
        same(score(*case, given_composition=given_composition), values[list(SCORE_COLUMNS)].to_dict())
    assert table["failure"].astype(bool).sum() == 3


def test_shear_changes_no_score() -> None:
    same(score(*random_case(seed=5)), score(*odd_cases()[-2]))


def test_no_atoms_have_no_distances() -> None:
    empty = Crystal.of("empty", [], 4.0 * np.eye(3), np.zeros((0, 3)))
    row = score(empty, empty, empty)
    assert row["failure"] == ""
    assert row["structural_validity"] is row["compositional_validity"] is False
    assert np.isnan(row["distance"])
    assert np.isnan(row["noise_aligned"])


def test_settings_are_honoured() -> None:
    needle = replace(SALT, lattice=np.diag([4.0, 4.0, 0.45]))
    alloy = replace(SALT, species=np.array([29, 30]))
    settings = MetricConfig(
        structure=StructureRules(own_images=False), composition=CompositionRules(alloys=False, pauling=False)
    )
    assert score(SALT, CORRUPTED, needle)["structural_validity"] is False
    assert score(SALT, CORRUPTED, needle, settings=settings)["structural_validity"] is True
    assert score(SALT, CORRUPTED, alloy)["compositional_validity"] is True
    assert score(SALT, CORRUPTED, alloy, settings=settings)["compositional_validity"] is False


def test_a_table_of_nothing_keeps_its_columns() -> None:
    table = score_table([], [], [], pd.DataFrame({"parent": []}))
    assert list(table.columns) == ["parent", *SCORE_COLUMNS]
    assert len(table) == 0
    assert table["structural_validity"].dtype == bool
