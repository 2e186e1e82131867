"""Intervals on simulated data whose mean is known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from crystalsweep.metrics.bootstrap import Interval, clustered_mean, clustered_ratio, paired_difference, resampled_sums


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
    assert np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975]) == pytest.approx([interval.low, interval.high])
    monkeypatch.setattr("crystalsweep.metrics.bootstrap._BLOCK", 6000)
    assert resampled_sums(sums, 1000) == pytest.approx(drawn)
    assert resampled_sums(sums, 0).shape == (0, 2)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="alike"):
        clustered_mean([1.0, 2.0], ["a"])


def test_reads_as_in_a_report() -> None:
    assert str(Interval(0.8123, 0.79, 0.8336, 10, 5)) == "0.812 [0.790, 0.834]"
