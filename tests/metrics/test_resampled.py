"""Medians, shares and areas against numbers computed by hand and against a plain loop over resamples."""

import numpy as np
import pandas as pd
import pytest

from crystalsweep.metrics.bootstrap import clustered_mean
from crystalsweep.metrics.resampled import area_over_sigma, clustered_median, clustered_shares
from crystalsweep.metrics.summary import METRICS, SECONDARY

VALIDITY, SIMILARITY = METRICS[0], METRICS[3]


def test_the_median_is_numpys_and_its_interval_that_of_a_loop() -> None:
    generator = np.random.default_rng(0)
    clusters = np.repeat(np.arange(15), 4)
    values = generator.normal(size=15)[clusters] + 0.1 * generator.normal(size=60)
    interval = clustered_median(np.append(values, np.nan), np.append(clusters, 99))
    assert interval.mean == np.median(values)
    assert (interval.n, interval.clusters) == (60, 15)
    drawn = [np.median(values.reshape(15, 4)[generator.integers(15, size=15)]) for _ in range(4000)]
    assert [interval.low, interval.high] == pytest.approx(list(np.quantile(drawn, [0.025, 0.975])), abs=0.15)


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


def table(levels: dict[float, float], parents: int = 6) -> pd.DataFrame:
    rows = [
        {"parent": f"p{i}", "sigma_noise": sigma, "structural_validity": level, "structural_similarity": level}
        for sigma, level in levels.items()
        for i in range(parents)
    ]
    return pd.DataFrame(rows)


def test_the_area_is_the_trapezoids_over_the_range() -> None:
    area = area_over_sigma(VALIDITY, table({0.1: 1.0, 0.2: 0.5, 0.4: 0.1}))
    expected = (0.1 * 0.75 + 0.2 * 0.3) / 0.3
    assert [area.mean, area.low, area.high] == pytest.approx([expected] * 3)


def test_the_area_of_a_ratio_weighs_crystals_by_their_atoms() -> None:
    accuracy = next(metric for metric in SECONDARY if metric.name == "masked_accuracy")
    rows = [("a", 0.1, 1, 1), ("b", 0.1, 0, 3), ("a", 0.2, 1, 1), ("b", 0.2, 3, 3)]
    frame = pd.DataFrame(rows, columns=["parent", "sigma_noise", "masked_correct", "n_masked"])
    assert area_over_sigma(accuracy, frame).mean == pytest.approx((0.25 + 1.0) / 2)


def test_there_is_no_area_with_one_noise_level_or_a_gap() -> None:
    assert np.isnan(area_over_sigma(VALIDITY, table({0.2: 0.5})).mean)
    assert np.isnan(area_over_sigma(VALIDITY, table({0.1: 0.5, 0.2: np.nan, 0.4: 0.5})).mean)


def test_an_area_that_most_resamples_leave_undefined_has_no_interval() -> None:
    frame = table({0.1: 0.5, 0.2: 0.4})
    rare = (frame["sigma_noise"] == 0.2) & (frame["parent"] != "p0")
    frame.loc[rare, "structural_similarity"] = np.nan
    area = area_over_sigma(SIMILARITY, frame)
    assert area.mean == pytest.approx(0.45)
    assert np.isnan(area.low) and np.isnan(area.high)
