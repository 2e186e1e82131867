"""Every crystal is in the bin it belongs to, and the means of a bin are those of its rows."""

import numpy as np
import pandas as pd
import pytest

from crystalsweep.metrics.distributions import CRYSTAL_SYSTEMS
from crystalsweep.metrics.strata import STRATA, binned, strata_table
from crystalsweep.metrics.summary import METRICS, SECONDARY


def scores(n: int = 60) -> pd.DataFrame:
    generator = np.random.default_rng(3)
    restored = generator.random(n) < 0.6
    n_masked = generator.integers(1, 4, n)
    return pd.DataFrame(
        {
            "parent": [f"p{i % 12}" for i in range(n)],
            "n_atoms": generator.integers(1, 60, n),
            "n_masked": n_masked,
            "masked_correct": np.where(restored, n_masked, 0),
            "structural_validity": generator.random(n) < 0.9,
            "compositional_validity": generator.random(n) < 0.8,
            "compositional_similarity": restored,
            "structural_similarity": np.where(restored, generator.normal(0.5, 0.2, n), np.nan),
            "crystal_system": generator.choice(CRYSTAL_SYSTEMS, n),
            "masked_element": generator.choice(["O", "Fe", "Ac", ""], n),
        }
    ).assign(masked_frequency=lambda table: table["masked_element"].map({"O": 0.3, "Fe": 0.02, "Ac": 5e-5}))


@pytest.mark.parametrize(
    ("n_atoms", "label"), [(1, "1–4"), (4, "1–4"), (5, "5–8"), (20, "13–20"), (21, "21–40"), (41, "41+"), (300, "41+")]
)
def test_sizes_fall_into_their_bins(n_atoms: int, label: str) -> None:
    assert binned(pd.DataFrame({"n_atoms": [n_atoms]}), "n_atoms").tolist() == [label]


@pytest.mark.parametrize(
    ("share", "label"),
    [(0.0, "< 0.01"), (1e-4, "0.01–0.03"), (0.0031, "0.3–1"), (0.02, "1–3"), (0.1, "> 10"), (1, "> 10")],
)
def test_frequencies_fall_into_their_bins(share: float, label: str) -> None:
    assert binned(pd.DataFrame({"masked_frequency": [share]}), "masked_frequency").tolist() == [label]


def test_elements_come_from_the_most_to_the_least_frequent_in_training() -> None:
    bins = binned(scores(), "masked_element")
    assert bins.cat.categories.tolist() == ["O", "Fe", "Ac"]
    assert bins.isna().sum() == (scores()["masked_element"] == "").sum()


def test_rows_without_a_bin_are_in_none() -> None:
    table = pd.DataFrame({"n_atoms": [0], "crystal_system": [""], "masked_frequency": [np.nan], "masked_element": [""]})
    assert all(binned(table, by).isna().all() for by in STRATA)


@pytest.mark.parametrize("by", list(STRATA))
def test_means_of_a_bin_are_those_of_its_rows(by: str) -> None:
    table = scores()
    strata, bins = strata_table(table, by), binned(table, by)
    accuracy = next(metric for metric in SECONDARY if metric.name == "masked_accuracy")
    for metric in (*METRICS, accuracy):
        rows = strata[strata["metric"] == metric.name]
        assert rows["bin"].tolist() == [name for name in bins.cat.categories if (bins == name).any()]
        for row in rows.itertuples():
            interval = metric.over(table[bins == row.bin])
            assert (row.n, row.clusters) == (interval.n, interval.clusters)
            assert [row.mean, row.low, row.high] == pytest.approx(
                [interval.mean, interval.low, interval.high], nan_ok=True
            )


def test_an_unknown_stratum_and_a_missing_column_are_named() -> None:
    with pytest.raises(ValueError, match="no stratum 'colour': choose one of n_atoms, masked_element"):
        strata_table(scores(), "colour")
    with pytest.raises(ValueError, match="no column masked_frequency"):
        strata_table(scores().drop(columns="masked_frequency"), "masked_element")
