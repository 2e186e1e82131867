"""Verdicts between arms of several trainings, on simulated tables whose truth is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from crystalsweep.metrics.seed_verdicts import SEED_COLUMNS, crossed_mean, crossed_resamples, seed_verdicts
from crystalsweep.metrics.summary import Metric
from crystalsweep.metrics.verdicts import verdict_table

Array = NDArray[np.float64]

X = Metric(name="x", title="x", definition="", values=lambda table: table["x"])


def table(values: Array, per_parent: int = 4) -> pd.DataFrame:
    n = len(values)
    parents = [f"mp-{i // per_parent}" for i in range(n)]
    keys = {"parent": parents, "mask_type": "random15", "sigma_noise": 0.1, "draw": np.arange(n) % per_parent}
    return pd.DataFrame(keys).assign(x=values)


def simulated(
    random: np.random.Generator, effect: float, seed_spread: float, seeds: int = 3, parents: int = 60
) -> dict[str, list[pd.DataFrame]]:
    """Two arms of as many trainings: crystals are easy or hard, the effect varies over crystals and over seeds."""
    hard = np.repeat(random.normal(size=parents), 4)
    varies = np.repeat(random.normal(scale=0.2, size=parents), 4)
    control, treated = [], []
    for _ in range(seeds):
        noise = random.normal(scale=0.3, size=(2, 4 * parents))
        control.append(table(hard + noise[0]))
        treated.append(table(hard + effect + varies + random.normal(scale=seed_spread) + noise[1]))
    return {"control": control, "treated": treated}


def differences(random: np.random.Generator, effect: float, seed_spread: float, seeds: int = 3) -> Array:
    """(seeds, 60) differences per parent: of each its own, of each seed its own, and what is neither's."""
    of_parents, of_seeds = random.normal(scale=0.2, size=60), random.normal(scale=seed_spread, size=(seeds, 1))
    return np.asarray(effect + of_parents + of_seeds + random.normal(scale=0.2, size=(seeds, 60)))


@pytest.mark.parametrize("seed_spread", [0.0, 0.05, 0.3])
def test_intervals_cover_the_truth_as_often_as_they_say(seed_spread: float) -> None:
    """Where seeds differ, an interval over the crystals of one training misses the truth far more often than that."""
    random, covered, alone = np.random.default_rng(0), [], []
    for _ in range(4000):
        found = differences(random, 0.3, seed_spread)
        both = crossed_mean(found, np.ones_like(found))
        covered.append(both.low <= 0.3 <= both.high)
        one = found[0]
        alone.append(abs(one.mean() - 0.3) <= 2.0 * one.std(ddof=1) / np.sqrt(len(one)))
    assert np.mean(covered) > 0.92
    if seed_spread:
        assert np.mean(alone) < 0.85


def test_of_equal_arms_one_in_twenty_is_told_apart_at_most() -> None:
    random, p = np.random.default_rng(1), []
    for _ in range(4000):
        found = differences(random, 0.0, 0.05)
        p.append(crossed_mean(found, np.ones_like(found)).p)
    assert np.mean(np.array(p) < 0.05) < 0.06


def test_a_great_effect_is_resolved_in_both_directions() -> None:
    arms = simulated(np.random.default_rng(2), 1.0, 0.05)
    frame = seed_verdicts(arms, [X])
    assert tuple(frame.columns) == SEED_COLUMNS
    row = frame.iloc[0]
    assert (row["a"], row["b"], row["verdict"]) == ("treated", "control", "better")
    assert (row["seeds"], row["clusters"], row["n"]) == (3, 60, 720)
    back = seed_verdicts(dict(reversed(arms.items())), [X]).iloc[0]
    assert (back["verdict"], back["difference"]) == ("worse", pytest.approx(-row["difference"]))
    assert "training seeds" in verdict_table(frame)


def test_the_same_seeds_without_noise_give_the_variance_over_parents() -> None:
    values = np.random.default_rng(3).normal(size=50)
    found = crossed_mean(np.tile(values, (3, 1)), np.ones((3, 50)))
    error = values.std(ddof=1) / np.sqrt(50)
    assert found.mean == pytest.approx(values.mean())
    assert found.high - found.mean == pytest.approx(2.0096 * error, rel=1e-3)  # Student's t of 49 degrees
    assert found.deviation == pytest.approx(0, abs=1e-12)


def test_the_same_crystal_throughout_gives_the_variance_over_seeds() -> None:
    of_seeds = np.array([0.1, 0.2, 0.6])
    found = crossed_mean(np.tile(of_seeds[:, None], (1, 40)), np.ones((3, 40)))
    assert found.high - found.mean == pytest.approx(4.3027 * of_seeds.std(ddof=1) / np.sqrt(3), rel=1e-3)
    assert found.deviation == pytest.approx(of_seeds.std(ddof=1))


def test_resamples_of_a_mean_give_its_interval() -> None:
    random = np.random.default_rng(5)
    gaps = differences(random, 0.3, 0.1)
    times = random.multinomial(60, np.full(60, 1 / 60), size=4000)
    drawn = np.concatenate([gaps.mean(axis=1)[:, None], gaps @ times.T / 60], axis=1)
    exact, found = crossed_mean(gaps, np.ones_like(gaps)), crossed_resamples(drawn, 60)
    assert found.mean == pytest.approx(exact.mean)
    assert found.deviation == pytest.approx(exact.deviation)
    assert found.high - found.low == pytest.approx(exact.high - exact.low, rel=0.05)
    assert found.p == pytest.approx(exact.p, rel=0.2)


def test_resamples_without_a_value_or_a_second_seed_give_no_interval() -> None:
    drawn = np.random.default_rng(6).normal(size=(3, 100))
    assert np.isnan(crossed_resamples(drawn[:1], 60).p)
    drawn[1, 7] = np.nan
    assert np.isnan(crossed_resamples(drawn, 60).low)


def test_one_training_without_seeds_is_held_against_all_of_an_arm() -> None:
    arms = simulated(np.random.default_rng(4), 1.0, 0.05)
    row = seed_verdicts({"start": arms["control"][:1], "treated": arms["treated"]}, [X]).iloc[0]
    assert (row["seeds"], row["verdict"]) == (3, "better")


def test_arms_that_do_not_match_are_refused() -> None:
    arms = simulated(np.random.default_rng(5), 1.0, 0.05)
    with pytest.raises(ValueError, match="'treated' has 3 trainings and 'control' 2"):
        seed_verdicts(arms | {"control": arms["control"][:2]}, [X])
    with pytest.raises(ValueError, match="one training each"):
        seed_verdicts({name: tables[:1] for name, tables in arms.items()}, [X])


def test_few_parents_prove_nothing_however_alike_they_are() -> None:
    """Two crystals that all seeds agree on could have come out so by chance, one time in two."""
    arms = {name: [table(np.full(8, value))] * 3 for name, value in (("control", 0.0), ("treated", 1.0))}
    row = seed_verdicts(arms, [X]).iloc[0]
    assert (row["clusters"], row["difference"], row["p"], row["verdict"]) == (2, 1.0, 0.5, "not resolved")
    assert "only 2 of 2 parents differ, of which p is at least 0.5" in row["note"]
