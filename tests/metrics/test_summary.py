"""Summaries of small tables."""

import numpy as np
import pandas as pd
import pytest

from crystalsweep.metrics.scoring import SCORE_COLUMNS
from crystalsweep.metrics.summary import (
    EXTENDED,
    METRICS,
    ROW_SCORE,
    SECONDARY,
    WITHOUT_EXEMPT,
    available,
    energetic,
    flat,
    headline,
    metric_difference,
    ranking_score,
    score_terms,
    summarise,
)
from crystalsweep.metrics.verdicts import verdicts

NAMED = {metric.name: metric for metric in METRICS + SECONDARY}


def table(n_parents: int = 12, similarity: float = 0.5, masked_correct: int = 1) -> pd.DataFrame:
    rows = [
        {
            "parent": f"p{parent}",
            "mask_type": mask,
            "sigma_noise": sigma,
            "draw": 0,
            "n_atoms": 4,
            "n_masked": 2,
            "structural_validity": True,
            "compositional_validity": parent % 2 == 0,
            "exempt_composition": parent % 4 == 0,
            "compositional_similarity": parent % 3 == 0,
            "compositional_similarity_permuted": True,
            "masked_correct": masked_correct,
            "visible_correct": 2,
            "distance": 0.1,
            "distance_aligned": 0.1,
            "structural_similarity": similarity if parent % 3 == 0 else np.nan,
            "structural_similarity_unaligned": 0.4 if parent % 3 == 0 else np.nan,
            "similarity_undefined": False,
            "paper_eq5_term": 0.6 if parent % 3 == 0 else 0.0,
            "noise": 0.2,
            "noise_aligned": 0.2,
            "given_composition": False,
            "failure": "",
        }
        for parent in range(n_parents)
        for mask in ("species", "random15")
        for sigma in (0.1, 0.2)
    ]
    return pd.DataFrame(rows)


def test_validity_without_elements_and_alloys_rests_on_the_others() -> None:
    """Of 12 parents 6 are valid, 3 of these by exemption."""
    every, earned = NAMED["compositional_validity"].over(table()), WITHOUT_EXEMPT.over(table())
    assert every.mean == pytest.approx(6 / 12)
    assert earned.mean == pytest.approx(3 / 9)
    assert (every.n, earned.n) == (48, 36)
    assert available([WITHOUT_EXEMPT], table().drop(columns="exempt_composition")) == ()


def test_this_table_has_the_columns_of_a_real_one() -> None:
    assert set(SCORE_COLUMNS) <= set(table().columns)


def test_headline_metrics_in_order() -> None:
    assert [metric.name for metric in METRICS] == [
        "structural_validity",
        "compositional_validity",
        "compositional_similarity",
        "structural_similarity",
    ]


def test_long_form() -> None:
    summary = summarise(table())
    assert list(summary.columns) == ["metric", "mask_type", "sigma_noise", "mean", "low", "high", "n", "clusters"]
    assert len(summary) == 4 * len(NAMED)
    validity = summary[(summary["metric"] == "compositional_validity") & (summary["mask_type"] == "species")]
    assert validity["mean"].tolist() == [0.5, 0.5]
    assert validity["n"].tolist() == validity["clusters"].tolist() == [12, 12]
    matched = summary[summary["metric"] == "structural_similarity"]
    assert (matched["n"] == 4).all()


def test_groups_may_be_any_columns() -> None:
    assert len(summarise(table(), by=("sigma_noise",), metrics=METRICS)) == 8
    assert len(summarise(table(), by=(), metrics=METRICS)) == 4


def test_values_by_hand() -> None:
    values = {name: interval.mean for name, interval in headline(table(), metrics=NAMED.values()).items()}
    assert values == pytest.approx(
        {
            "structural_validity": 1,
            "compositional_validity": 0.5,
            "compositional_similarity": 1 / 3,
            "structural_similarity": 0.5,
            "masked_accuracy": 0.5,
            "visible_accuracy": 1,
            "compositional_similarity_permuted": 1,
            "structural_similarity_unaligned": 0.4,
            "paper_eq5": 0.8,
            "similarity_undefined": 0,
            "failed": 0,
        }
    )


def test_compare_pairs_rows_by_key() -> None:
    better, worse = table(similarity=0.6), table(similarity=0.5).sample(frac=1, random_state=0)
    difference = metric_difference(better, worse, NAMED["structural_similarity"])
    assert difference.mean == pytest.approx(0.1)
    assert difference.n == 16
    assert difference.low > 0
    assert metric_difference(better, better, NAMED["compositional_validity"]).mean == 0


def test_compare_of_a_ratio() -> None:
    difference = metric_difference(table(masked_correct=2), table(masked_correct=1), NAMED["masked_accuracy"])
    assert difference.mean == pytest.approx(0.5)


def test_compare_refuses_repeated_keys() -> None:
    with pytest.raises(ValueError, match="unique"):
        metric_difference(pd.concat([table(), table()]), table(), METRICS[0])


def test_flat_names() -> None:
    named = flat(headline(table()), "val")
    assert named["val/structural_similarity"] == pytest.approx(0.5)
    assert named["val/structural_similarity/n"] == 16
    assert set(named) == {f"val/{metric.name}{end}" for metric in METRICS for end in ("", "/low", "/high", "/n")}
    assert all(isinstance(value, float) for value in named.values())


def evaluated() -> pd.DataFrame:
    """The same with what an evaluation adds; only a half has energies."""
    half = np.arange(48) < 24
    return table().assign(
        matched=half,
        rmsd=np.where(half, 0.1, np.nan),
        unique=True,
        novel_vs_input=0.0,
        novel_vs_reference=np.nan,
        delta_energy=np.where(half, -0.2, np.nan),
        e_above_hull=np.where(half, np.arange(48) / 100, np.nan),
        sun=np.where(half, 0.0, np.nan),
    )


def test_a_light_table_has_none_of_the_extended_metrics() -> None:
    assert available(EXTENDED, table()) == ()
    assert available(METRICS + SECONDARY, table()) == METRICS + SECONDARY


def test_extended_metrics_are_those_that_hold_any_value() -> None:
    found = headline(evaluated(), metrics=available(EXTENDED, evaluated()))
    assert {name: interval.mean for name, interval in found.items()} == pytest.approx(
        {
            "match_rate": 0.5,
            "rmsd": 0.1,
            "uniqueness": 1,
            "novel_vs_input": 0,
            "delta_energy": -0.2,
            "e_above_hull": 0.115,
            "stable": 11 / 24,  # 0.00 … 0.10 of 0.00 … 0.23; rows without energy do not count as unstable
            "sun": 0,
        }
    )
    assert found["stable"].n == 24


def test_lower_is_better_for_distances_and_energies() -> None:
    lower = {metric.name for metric in EXTENDED if metric.direction == "lower"}
    energies = {"delta_energy", "delta_energy_relaxed", "delta_energy_dft", "e_above_hull", "e_above_hull_relaxed"}
    assert lower == {"rmsd", "bond_instability", *energies}


def test_the_threshold_of_stability_can_be_another() -> None:
    stable = next(metric for metric in energetic(0.0) if metric.name == "stable")
    assert stable.over(evaluated()).mean == pytest.approx(1 / 24)
    assert "at most 0 eV/atom" in stable.definition


def test_ranking_score_is_the_mean_of_four_shares_of_all_crystals() -> None:
    score = ranking_score(table())
    assert score.mean == pytest.approx((1 + 0.5 + 1 / 3 + 0.5 / 3) / 4)
    assert score.low < score.mean < score.high
    assert (score.n, score.clusters) == (48, 12)
    assert ranking_score(table()) == score


def test_restoring_next_to_nothing_gains_next_to_nothing() -> None:
    never = table().assign(compositional_similarity=False, structural_similarity=np.nan)
    assert ranking_score(never).mean == pytest.approx(1.5 / 4)
    first = np.arange(48) < 4
    once = never.assign(compositional_similarity=first, structural_similarity=np.where(first, 1.0, np.nan))
    assert ranking_score(once).mean == pytest.approx((1.5 + 2 / 12) / 4)
    assert headline(once)["structural_similarity"].mean == 1


def test_leaving_atoms_farther_off_than_they_were_is_no_worse_than_not_restoring() -> None:
    assert ranking_score(table(similarity=-5.0)).mean == pytest.approx((1 + 0.5 + 1 / 3) / 4)


def test_one_atom_cells_whose_similarity_is_undefined_do_not_count_in_it() -> None:
    lone = np.arange(48) % 2 == 0
    mixed = table().assign(noise_aligned=np.where(lone, 0.0, 0.1))
    mixed["structural_similarity"] = mixed["structural_similarity"].where(~lone)
    rows = score_terms(mixed)
    assert rows["structural_similarity"].isna().tolist() == lone.tolist()
    assert ranking_score(mixed).mean == pytest.approx(rows.mean(axis=1).mean())
    assert ranking_score(mixed[lone]).mean == pytest.approx(score_terms(mixed[lone]).iloc[:, :3].mean(axis=1).mean())
    never = mixed.assign(compositional_similarity=False, structural_similarity=np.nan)
    assert (score_terms(never)["structural_similarity"][~lone] == 0).all()  # displaced and not restored


def test_a_row_without_an_original_has_no_score() -> None:
    unknown = np.arange(48) < 24
    mixed = table().assign(compositional_similarity=np.where(unknown, np.nan, 0.0), structural_similarity=np.nan)
    assert ranking_score(mixed).n == 24
    assert ranking_score(mixed).mean == pytest.approx(ranking_score(mixed[~unknown]).mean)


def test_the_score_of_a_table_is_the_mean_of_what_its_rows_are_compared_by() -> None:
    mixed = table().assign(noise_aligned=np.where(np.arange(48) < 8, 0.0, 0.1))
    compared = verdicts({"a": mixed, "b": mixed.assign(structural_validity=False)}, [ROW_SCORE]).iloc[0]
    lost = ranking_score(mixed).mean - ranking_score(mixed.assign(structural_validity=False)).mean
    assert abs(compared["difference"]) == pytest.approx(lost)


def test_validity_of_a_crystal_that_dropped_what_was_given_counts_as_zero_in_the_score() -> None:
    kept = table()
    visible = kept["n_atoms"] - kept["n_masked"]
    assert (visible > 0).all()
    changed = kept.assign(visible_correct=visible - 1)
    lost = ranking_score(kept.assign(visible_correct=visible)).mean - ranking_score(changed).mean
    assert lost == pytest.approx((1 + 0.5) / 4)
    assert headline(changed)["structural_validity"].mean == 1
    assert ranking_score(kept.assign(visible_correct=np.nan)).mean == pytest.approx(ranking_score(kept).mean)


def test_ranking_score_of_nothing_and_of_one_parent() -> None:
    nothing, one = ranking_score(table()[:0]), ranking_score(table(n_parents=1))
    assert np.isnan([nothing.mean, nothing.low, nothing.high, one.low, one.high]).all()
    assert one.mean == pytest.approx((1 + 1 + 1 + 0.5) / 4)
