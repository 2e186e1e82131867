"""Replacement statistics of tables written by hand, and the tests against chance on matrices of known kinship."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from crystalsweep.metrics.bootstrap import clustered_mean
from crystalsweep.metrics.families import FAMILIES, by_family, family
from crystalsweep.metrics.kinship import kin_share, mined_correlation
from crystalsweep.metrics.replacement import (
    Replacement,
    novel_rows,
    replacement_matrix,
    replacement_rates,
    replacements,
)
from crystalsweep.metrics.substitution import mined_matrix
from crystalsweep.structures.elements import atomic_number, element_symbol

Case = tuple[str, str, Sequence[int], Sequence[int], Sequence[int]]


def table(cases: Sequence[Case], **columns: float) -> pd.DataFrame:
    """Rows of (parent, mask type, species before, corrupted, after), all novel unless said otherwise."""
    names = ["parent", "mask_type", "species_before", "species_corrupted", "species_after"]
    return pd.DataFrame(cases, columns=names).assign(novel_vs_input=1.0, **columns)


NA, CL, K, F, BR = 11, 17, 19, 9, 35
CASES: list[Case] = [
    ("a", "species", [NA, CL], [0, CL], [K, CL]),
    ("a", "species", [NA, NA, CL], [0, 0, CL], [K, F, CL]),
    ("b", "species", [NA, CL], [NA, 0], [NA, BR]),
    ("b", "random15", [NA, NA, CL], [0, 0, 0], [K, K, CL]),
]


def test_matrix_averages_the_shares_of_each_crystal() -> None:
    found = replacement_matrix(table(CASES))
    assert found.n_novel == 4
    assert found.n_row.to_dict() == {"Na": 3, "Cl": 1}
    assert found.probability.loc["Na"].to_dict() == pytest.approx({"K": 2.5 / 3, "F": 0.5 / 3, "Br": 0})
    assert found.probability.loc["Cl", "Br"] == 1
    assert found.n.loc["Na"].to_dict() == {"K": 3, "F": 1, "Br": 0}


def test_a_crystal_counts_once_per_pair() -> None:
    assert replacement_matrix(table(CASES)).n.loc["Na", "K"] == 3


def test_visible_and_restored_sites_replace_nothing() -> None:
    cases: list[Case] = [("a", "species", [NA, CL, CL], [0, CL, 0], [NA, BR, F])]
    pairs = replacements(table(cases))
    assert pairs[["replaced", "replacing", "share"]].to_numpy().tolist() == [[CL, F, 1]]


def test_only_novel_crystals_count() -> None:
    rows = table(CASES)
    rows.loc[0, "novel_vs_input"] = 0.0
    rows.loc[1, "novel_vs_input"] = np.nan
    assert replacement_matrix(rows).n_row.to_dict() == {"Na": 1, "Cl": 1}


def test_novelty_follows_from_the_scores_where_its_column_is_absent() -> None:
    scores = {"structural_validity": True, "compositional_validity": True, "compositional_similarity_permuted": False}
    rows = table(CASES).drop(columns="novel_vs_input").assign(**scores)
    rows.loc[0, "structural_validity"] = False
    rows.loc[1, "compositional_validity"] = False
    rows.loc[2, "compositional_similarity_permuted"] = True
    assert novel_rows(rows)["mask_type"].tolist() == ["random15"]


def test_nothing_novel_gives_empty_statistics() -> None:
    rows = table(CASES).assign(novel_vs_input=0.0)
    assert replacement_matrix(rows).probability.empty
    assert replacement_matrix(rows).n.empty
    assert replacement_rates(rows).empty
    with pytest.raises(ValueError, match="No element"):
        mined_correlation(replacement_matrix(rows))
    with pytest.raises(ValueError, match="No element"):
        kin_share(replacement_matrix(rows))


def test_rates_divide_by_the_novel_crystals_of_a_mask_type() -> None:
    rates = replacement_rates(table(CASES)).set_index(["mask_type", "role", "element"])
    assert rates.loc[("species", "replaced", "Na"), "mean"] == pytest.approx(2 / 3)
    assert rates.loc[("species", "replaced", "Cl"), "mean"] == pytest.approx(1 / 3)
    assert rates.loc[("species", "replacing", "K"), "count"] == 2
    assert rates.loc[("random15", "replacing", "K"), "mean"] == 1
    assert ("random15", "replaced", "Cl") not in rates.index
    assert rates["n"].groupby("mask_type").first().to_dict() == {"random15": 1, "species": 3}
    assert rates.loc["random15", "low"].isna().all()  # one parent


def test_intervals_of_rates_are_those_of_the_clustered_bootstrap() -> None:
    generator = np.random.default_rng(0)
    swaps, parents = generator.random(400) < 0.3, [str(p) for p in generator.integers(60, size=400)]
    cases: list[Case] = [
        (p, "species", [NA, CL], [0, 0], [K if s else F, BR]) for s, p in zip(swaps, parents, strict=True)
    ]
    rates = replacement_rates(table(cases), n_resamples=4000).set_index(["role", "element"])
    expected = clustered_mean(swaps, parents, n_resamples=4000)
    found = rates.loc[("replacing", "K")]
    assert found["mean"] == pytest.approx(expected.mean)
    assert [found["low"], found["high"]] == pytest.approx([expected.low, expected.high], abs=0.004)
    assert found["clusters"] == expected.clusters


def of_matrix(matrix: pd.DataFrame, crystals: int = 200, seed: int = 0) -> Replacement:
    """What a model would show that draws its replacements from `matrix`."""
    generator = np.random.default_rng(seed)
    n = pd.DataFrame(generator.multinomial(crystals, matrix.to_numpy()), matrix.index, matrix.columns)
    return Replacement(n / crystals, n, n.sum(axis=1), int(n.to_numpy().sum()))


def relabelled(seed: int) -> pd.DataFrame:
    mined = mined_matrix()
    order = np.random.default_rng(seed).permutation(len(mined))
    return pd.DataFrame(mined.to_numpy()[np.ix_(order, order)], mined.index, mined.columns)


def test_replacements_drawn_from_the_mined_matrix_correlate_with_it() -> None:
    found = mined_correlation(of_matrix(mined_matrix()), permutations=49)
    assert found.rho > 0.5
    assert found.p == found.p_specific == pytest.approx(1 / 50)
    assert len(found.cells) == 90 * 89


def test_relabelled_replacements_do_not_correlate() -> None:
    found = [mined_correlation(of_matrix(relabelled(seed)), permutations=49) for seed in range(4)]
    assert sorted(result.p for result in found)[1] > 0.05
    assert max(abs(result.rho_specific) for result in found) < 0.1


def test_popular_substitutes_alone_are_not_specific() -> None:
    """Every row alike: B as popular as in the mined table, whatever A is."""
    popular = mined_matrix().sum(axis=0).to_numpy()
    rows = np.repeat(popular[None], 90, axis=0) * (1 - np.eye(90))
    matrix = pd.DataFrame(rows / rows.sum(axis=1, keepdims=True), mined_matrix().index, mined_matrix().columns)
    found = mined_correlation(of_matrix(matrix, crystals=500), permutations=9)
    assert found.rho > 0.2
    assert abs(found.rho_specific) < 0.05


def test_rho_is_scipys_over_the_rows_with_enough_crystals() -> None:
    replacement = of_matrix(mined_matrix().iloc[10:40], crystals=30)
    replacement.n_row.iloc[:5] = 9
    found = mined_correlation(replacement, permutations=9)
    assert found.cells["replaced"].nunique() == 25
    expected = spearmanr(found.cells["probability"], found.cells["mined"])
    assert found.rho == pytest.approx(expected.statistic)
    ranks = found.cells[["probability", "mined"]].rank()
    centred = ranks - ranks.groupby(found.cells["replacing"]).transform("mean")
    assert found.rho_specific == pytest.approx(np.corrcoef(centred.to_numpy().T)[0, 1])


def test_correlation_is_the_same_each_time() -> None:
    replacement = of_matrix(relabelled(1))
    first, second = (mined_correlation(replacement, permutations=19) for _ in range(2))
    assert (first.rho, first.p, first.p_specific) == (second.rho, second.p, second.p_specific)


def test_replacements_within_groups_are_told_from_chance() -> None:
    metals = [element_symbol(z) for z in (*range(21, 31), *range(39, 49), *range(72, 81))]
    below = dict(zip(metals[:10], metals[10:20], strict=True))
    kin = pd.DataFrame(0, metals, metals)
    mixed = kin.copy()
    for i, (a, b) in enumerate(below.items()):
        kin.loc[a, b] = 5
        mixed.loc[a, metals[10 + (i + 3) % 10]] = 5
    shares = [kin_share(Replacement(n / 5, n, n.sum(axis=1), 50)) for n in (kin, mixed)]
    assert (shares[0].share, shares[0].n) == (1, 50)
    assert shares[0].p == pytest.approx(0.001)
    assert shares[0].expected < 0.2
    assert (shares[1].share, shares[1].p) == (0, 1)
    assert kin_share(Replacement(mixed / 5, mixed, mixed.sum(axis=1), 50), by="family").share == 1


def test_families_hold_every_element_and_order_them() -> None:
    assert {family(z) for z in range(1, 119)} == set(FAMILIES)
    expected = {"La": "lanthanides", "Ac": "actinides", "Te": "metalloids", "H": "nonmetals", "Hg": "transition metals"}
    assert {name: family(atomic_number(name)) for name in expected} == expected
    assert [element_symbol(z) for z in by_family([22, 8, 72, 23, 40, 3, 57])] == [
        "Li",
        "La",
        "Ti",
        "Zr",
        "Hf",
        "V",
        "O",
    ]
