"""Intervals on simulated data whose mean is known; medians, shares and areas against a plain loop and by hand."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from numpy.typing import NDArray

from crystalsweep.metrics.bootstrap import (
    Interval,
    clustered_mean,
    clustered_median,
    clustered_ratio,
    clustered_shares,
    paired_difference,
    resampled_sums,
    tails,
)
from crystalsweep.metrics.summary import METRICS, SECONDARY

VALIDITY, SIMILARITY = METRICS[0], METRICS[3]


def clustered(
    generator: np.random.Generator, n_clusters: int = 60, size: int = 8, between: float = 1.0, within: float = 0.5
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Values around zero that share a random level within each cluster."""
    level = generator.normal(scale=between, size=n_clusters)
    values = level[:, None] + generator.normal(scale=within, size=(n_clusters, size))
    return values.ravel(), np.repeat(np.arange(n_clusters), size)


def test_coverage_of_a_known_mean() -> None:
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        interval = clustered_mean(*clustered(generator), n_resamples=400)
        hits += interval.low <= 0 <= interval.high
    assert 0.88 <= hits / 200 <= 0.99


def test_clusters_widen_the_interval() -> None:
    values, clusters = clustered(np.random.default_rng(1), within=0.1)
    honest, naive = clustered_mean(values, clusters), clustered_mean(values, np.arange(len(values)))
    assert honest.mean == pytest.approx(naive.mean)
    assert honest.high - honest.low > 2 * (naive.high - naive.low)


def test_same_input_same_interval() -> None:
    values, clusters = clustered(np.random.default_rng(2))
    assert clustered_mean(values, clusters) == clustered_mean(values, clusters)
    assert clustered_mean(values, clusters) != clustered_mean(values, clusters, seed=1)


def test_row_order_does_not_matter() -> None:
    values, clusters = clustered(np.random.default_rng(2))
    order = np.random.default_rng(3).permutation(len(values))
    a, b = clustered_mean(values, clusters), clustered_mean(values[order], clusters[order])
    assert (a.low, a.high) == pytest.approx((b.low, b.high))


def test_nan_values_are_left_out() -> None:
    interval = clustered_mean([1.0, np.nan, 3.0, np.nan], ["a", "a", "b", "c"])
    assert (interval.mean, interval.n, interval.clusters) == (2.0, 2, 2)


def test_nothing_and_one_cluster() -> None:
    nothing = clustered_mean([np.nan, np.nan], ["a", "b"])
    assert nothing.n == nothing.clusters == 0
    assert np.isnan([nothing.mean, nothing.low, nothing.high]).all()
    one = clustered_mean([1.0, 2.0], ["a", "a"])
    assert (one.mean, one.n, one.clusters) == (1.5, 2, 1)
    assert np.isnan([one.low, one.high]).all()


def test_ratio_of_sums_is_no_mean_of_ratios() -> None:
    interval = clustered_ratio([1, 9, 0], [1, 99, 0], ["a", "b", "c"])
    assert interval.mean == 0.1
    assert (interval.n, interval.clusters) == (2, 2)  # nothing masked, nothing counted


def test_paired_difference_of_identical_inputs_is_exactly_zero() -> None:
    values, clusters = clustered(np.random.default_rng(4))
    interval = paired_difference(values, values, clusters)
    assert (interval.mean, interval.low, interval.high) == (0, 0, 0)


def test_pairing_resolves_what_the_means_do_not() -> None:
    values, clusters = clustered(np.random.default_rng(5))
    interval = paired_difference(values + 0.05, values, clusters)
    assert interval.low > 0
    assert paired_difference(values, values + 0.05, clusters).high < 0
    assert clustered_mean(values + 0.05, clusters).low < clustered_mean(values, clusters).high


def test_long_inputs_are_drawn_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    values, clusters = clustered(np.random.default_rng(6))
    whole = clustered_mean(values, clusters)
    monkeypatch.setattr("crystalsweep.metrics.bootstrap._BLOCK", 6000)
    assert clustered_mean(values, clusters) == whole


def test_resampled_sums_share_the_draws_of_the_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    values, clusters = clustered(np.random.default_rng(7))
    sums = np.stack([np.bincount(clusters, values), np.bincount(clusters)], axis=1)
    drawn = resampled_sums(sums, 1000)
    interval = clustered_mean(values, clusters, n_resamples=1000)
    assert np.quantile(drawn[:, 0] / drawn[:, 1], tails(interval.clusters)) == pytest.approx(
        [interval.low, interval.high]
    )
    monkeypatch.setattr("crystalsweep.metrics.bootstrap._BLOCK", 6000)
    assert resampled_sums(sums, 1000) == pytest.approx(drawn)
    assert resampled_sums(sums, 0).shape == (0, 2)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="alike"):
        clustered_mean([1.0, 2.0], ["a"])


def test_reads_as_in_a_report() -> None:
    assert str(Interval(0.8123, 0.79, 0.8336, 10, 5)) == "0.812 [0.790, 0.834]"


def test_the_median_is_numpys_and_its_interval_that_of_a_loop() -> None:
    generator = np.random.default_rng(0)
    clusters = np.repeat(np.arange(15), 4)
    values = generator.normal(size=15)[clusters] + 0.1 * generator.normal(size=60)
    interval = clustered_median(np.append(values, np.nan), np.append(clusters, 99))
    assert interval.mean == np.median(values)
    assert (interval.n, interval.clusters) == (60, 15)
    drawn = [np.median(values.reshape(15, 4)[generator.integers(15, size=15)]) for _ in range(4000)]
    assert [interval.low, interval.high] == pytest.approx(list(np.quantile(drawn, tails(15))), abs=0.15)


@pytest.mark.parametrize("size", [6, 10, 20])
def test_intervals_of_few_parents_hold_the_truth_about_as_often_as_they_say(size: int) -> None:
    generator = np.random.default_rng(11)
    drawn = generator.normal(size=(1000, size))
    held = np.mean([(found := clustered_mean(values, range(size))).low <= 0 <= found.high for values in drawn])
    means = [values[generator.integers(size, size=(1000, size))].mean(axis=1) for values in drawn]
    unwidened = np.mean([low <= 0 <= high for low, high in (np.quantile(each, [0.025, 0.975]) for each in means)])
    assert held > max(0.92, unwidened + 0.01)


def test_tails_are_students_for_few_and_nearly_the_usual_for_many() -> None:
    for clusters in (2, 10, 200):
        low, high = tails(clusters)
        assert scipy.stats.norm.ppf(low) == pytest.approx(
            scipy.stats.t.ppf(0.025, clusters - 1) * np.sqrt(clusters / (clusters - 1))
        )
        assert low + high == 1
    assert tails(1e6)[0] == pytest.approx(0.025, abs=1e-6)


def test_the_median_of_an_even_number_lies_between_the_middle_two() -> None:
    assert clustered_median([1.0, 2.0, 4.0, 9.0], ["a", "b", "c", "d"]).mean == 3.0


def test_one_cluster_has_a_median_but_no_interval_and_nothing_has_neither() -> None:
    one = clustered_median([1.0, 2.0, 6.0], ["a", "a", "a"])
    assert one.mean == 2.0
    assert np.isnan(one.low) and np.isnan(one.high) and one.clusters == 1
    assert clustered_median([np.nan, np.inf], ["a", "b"]).n == 0


def test_shares_have_the_intervals_of_the_clustered_mean() -> None:
    generator = np.random.default_rng(1)
    flags = generator.random((80, 3)) < [0.1, 0.5, 0.9]
    clusters = [f"p{i % 11}" for i in range(80)]
    shares = clustered_shares(flags, np.ones(80), clusters)
    for column, row in enumerate(shares.itertuples()):
        interval = clustered_mean(flags[:, column], clusters)
        assert [row.mean, row.low, row.high] == pytest.approx([interval.mean, interval.low, interval.high])
        assert row.n == 80


def scored(levels: dict[float, float], parents: int = 6) -> pd.DataFrame:
    rows = [
        {"parent": f"p{i}", "sigma_noise": sigma, "structural_validity": level, "structural_similarity": level}
        for sigma, level in levels.items()
        for i in range(parents)
    ]
    return pd.DataFrame(rows)


def test_the_area_is_the_trapezoids_over_the_range() -> None:
    area = VALIDITY.area_over_sigma(scored({0.1: 1.0, 0.2: 0.5, 0.4: 0.1}))
    expected = (0.1 * 0.75 + 0.2 * 0.3) / 0.3
    assert [area.mean, area.low, area.high] == pytest.approx([expected] * 3)


def test_the_area_of_a_ratio_weighs_crystals_by_their_atoms() -> None:
    accuracy = next(metric for metric in SECONDARY if metric.name == "masked_accuracy")
    rows = [("a", 0.1, 1, 1), ("b", 0.1, 0, 3), ("a", 0.2, 1, 1), ("b", 0.2, 3, 3)]
    frame = pd.DataFrame(rows, columns=["parent", "sigma_noise", "masked_correct", "n_masked"])
    assert accuracy.area_over_sigma(frame).mean == pytest.approx((0.25 + 1.0) / 2)


def test_there_is_no_area_with_one_noise_level_or_a_gap() -> None:
    assert np.isnan(VALIDITY.area_over_sigma(scored({0.2: 0.5})).mean)
    assert np.isnan(VALIDITY.area_over_sigma(scored({0.1: 0.5, 0.2: np.nan, 0.4: 0.5})).mean)


def test_an_area_that_most_resamples_leave_undefined_has_no_interval() -> None:
    frame = scored({0.1: 0.5, 0.2: 0.4})
    rare = (frame["sigma_noise"] == 0.2) & (frame["parent"] != "p0")
    frame.loc[rare, "structural_similarity"] = np.nan
    area = SIMILARITY.area_over_sigma(frame)
    assert area.mean == pytest.approx(0.45)
    assert np.isnan(area.low) and np.isnan(area.high)
