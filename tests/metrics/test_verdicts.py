"""Verdicts on simulated tables whose truth is known."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from crystalsweep.metrics.bootstrap import paired_difference
from crystalsweep.metrics.pairing import other_inputs, same_inputs
from crystalsweep.metrics.summary import METRICS, Metric
from crystalsweep.metrics.verdicts import VERDICT_COLUMNS, holm, hopeless, n_comparisons, verdict_table, verdicts

Array = NDArray[np.float64]


def metric(name: str, **more: str) -> Metric:
    return Metric(name=name, title=name, definition="", values=lambda table: table[name], **more)  # type: ignore[arg-type]


X, Y = metric("x"), metric("y")
RMSD = metric("x", direction="lower")


def table(values: Array | list[float], per_parent: int = 4) -> pd.DataFrame:
    """Rows with the keys of a scored table, `per_parent` draws per parent."""
    n = len(values)
    parents = [f"mp-{i // per_parent}" for i in range(n)]
    keys = {"parent": parents, "mask_type": "random15", "sigma_noise": 0.1, "draw": np.arange(n) % per_parent}
    return pd.DataFrame(keys).assign(x=np.asarray(values, dtype=float), y=0.5)


def noise(seed: int, n: int = 200, scale: float = 1.0) -> Array:
    return np.random.default_rng(seed).normal(scale=scale, size=n)


# Verdicts


def test_a_difference_is_better_or_worse_by_the_direction_of_its_metric() -> None:
    low, high = table(noise(0)), table(noise(0) + 0.2 + noise(1, scale=0.1))
    for each, expected in ((X, "better"), (RMSD, "worse")):
        row = verdicts({"base": low, "model": high}, [each]).iloc[0]
        assert (row["a"], row["b"], row["verdict"], row["better_is"]) == ("model", "base", expected, each.direction)
        assert row["low"] < 0.2 < row["high"]
        assert (row["n"], row["clusters"]) == (200, 50)
    back = verdicts({"base": high, "model": low}, [X]).iloc[0]
    assert (back["verdict"], back["difference"]) == ("worse", pytest.approx(-row["difference"]))


def test_identical_tables_have_p_one() -> None:
    frame = verdicts({"a": table(noise(0)), "b": table(noise(0) + 1e-12)}, [X, Y])
    assert frame["p"].tolist() == frame["p_adjusted"].tolist() == [1, 1]
    assert frame[["difference", "low", "high"]].to_numpy() == pytest.approx(0)
    assert set(frame["verdict"]) == {"not resolved"}


def test_many_parents_give_the_percentile_interval_of_the_paired_difference() -> None:
    a, b = table(noise(0, 2000)), table(noise(1, 2000))
    row = verdicts({"b": b, "a": a}, [X]).iloc[0]
    interval = paired_difference(a["x"], b["x"], a["parent"], n_resamples=10_000)
    assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high), abs=0.002)
    assert row["difference"] == pytest.approx(interval.mean)


def test_a_difference_resolved_alone_is_not_among_many() -> None:
    a, b = table(noise(0)), table(noise(0) + 0.18 + noise(1) - noise(1).mean())
    alone = verdicts({"a": a, "b": b}, [X]).iloc[0]
    assert alone["verdict"] == "better"
    assert 0.005 < alone["p"] == alone["p_adjusted"]
    more = {f"x{i}": noise(i + 2) for i in range(20)}
    others = [metric(name) for name in more]
    among = verdicts({"a": a.assign(**dict.fromkeys(more, 0.0)), "b": b.assign(**more)}, [X, *others]).iloc[0]
    assert among["p"] == alone["p"]
    assert among["verdict"] == "not resolved"


def test_a_plain_difference_is_resolved_among_hundreds() -> None:
    """Resamples grow with the comparisons: 10,000 of them bound a corrected p of 500 at 0.1."""
    tables = {"base": table(noise(0)), **{f"m{i}": table(noise(0) + 1.0 + noise(i + 1, scale=0.1)) for i in range(500)}}
    frame = verdicts(tables, [X])
    assert set(frame["verdict"]) == {"better"}
    few = verdicts(tables, [X], n_resamples=10_000)
    assert set(few["verdict"]) == {"not resolved"}
    says = few["note"].str.contains("Of 500 comparisons over at most 50 parents no corrected p can be below 0.05")
    assert says.tolist() == [True, *[False] * 499]
    assert not frame["note"].str.contains("no corrected p").any()
    assert (hopeless(500, 50, 10_000), hopeless(500, 50), hopeless(4, 6), hopeless(1, 3)) == (True, False, True, True)


def test_two_agreeing_parents_resolve_nothing() -> None:
    frame = verdicts({"a": table(np.zeros(400)), "b": table(np.r_[np.ones(8), np.zeros(392)])}, [X])
    assert frame["p"].item() >= 0.25
    assert verdicts({"a": table(np.zeros(8)), "b": table(np.ones(8))}, [X])["p"].item() >= 0.5


def test_conditional_metrics_pair_where_both_are_defined() -> None:
    a, b = noise(0), noise(1)
    a[:100], b[50:150] = np.nan, np.nan
    row = verdicts({"b": table(b), "a": table(a)}, [X]).iloc[0]
    assert (row["n"], row["clusters"]) == (50, 13)  # rows 150…199; one parent has half of its rows there
    assert row["difference"] == pytest.approx((a - b)[150:].mean())


def test_a_metric_that_is_never_defined_for_both_is_no_comparison() -> None:
    frame = verdicts({"a": table(noise(0)), "b": table(np.full(200, np.nan))}, [X, Y])
    assert frame["n"].tolist() == [0, 200]
    assert np.isnan(frame.loc[0, ["difference", "low", "high", "p", "p_adjusted"]].astype(float)).all()
    assert frame["verdict"].tolist() == ["not resolved"] * 2
    assert n_comparisons(frame) == 1
    assert "n = 0" in verdict_table(frame)


def test_ratio_metrics_are_ratios_of_sums() -> None:
    ratio = Metric(name="r", title="r", definition="", values=lambda t: t["x"], weights=lambda t: t["w"])
    weights = np.random.default_rng(0).integers(0, 5, 200)
    a, b = table(np.minimum(weights, 2)).assign(w=weights), table(np.minimum(weights, 1)).assign(w=weights)
    row = verdicts({"b": b, "a": a}, [ratio]).iloc[0]
    assert row["difference"] == pytest.approx((np.minimum(weights, 2) - np.minimum(weights, 1)).sum() / weights.sum())
    assert row["n"] == (weights > 0).sum()


# Which pairs


def test_pairs_are_against_the_first_all_or_named() -> None:
    tables = {name: table(noise(i)) for i, name in enumerate("pqr")}
    for pairs, expected in (
        ("first", ["qp", "rp"]),
        ("all", ["qp", "rp", "rq"]),
        ([("p", "r")], ["pr"]),
    ):
        frame = verdicts(tables, [X], pairs=pairs)  # type: ignore[arg-type]
        assert (frame["a"] + frame["b"]).tolist() == expected
    with pytest.raises(ValueError, match="No table is named 'z'; there are p, q, r"):
        verdicts(tables, [X], pairs=[("p", "z")])
    with pytest.raises(ValueError, match="two tables or more, not 1"):
        verdicts({"p": tables["p"]}, [X])


def test_rows_pair_by_key_in_any_order() -> None:
    a, b = table(noise(0)), table(noise(0) + 0.1)
    straight = verdicts({"a": a, "b": b}, [X])
    mixed = verdicts({"a": a.sample(frac=1, random_state=1), "b": b.sample(frac=1, random_state=2)}, [X])
    pd.testing.assert_frame_equal(straight, mixed)


def test_tables_without_mask_keys_pair_by_parent() -> None:
    files = [table(noise(i), per_parent=1)[["parent", "x"]] for i in range(2)]
    assert verdicts({"a": files[0], "b": files[1]}, [X])["n"].item() == 200
    masked = table(noise(2), per_parent=1)
    assert verdicts({"a": files[0], "b": masked}, [X])["n"].item() == 200
    with pytest.raises(ValueError, match="'b' has 150 rows whose keys are not unique, the first parent mp-0"):
        verdicts({"a": files[0], "b": table(noise(2))}, [X])


def test_tables_that_cannot_be_paired_are_refused() -> None:
    a = table(noise(0))
    with pytest.raises(ValueError, match="'b' and 'a' have no parent, mask_type, sigma_noise, draw in common"):
        verdicts({"a": a, "b": a.assign(sigma_noise=0.2)}, [X])
    with pytest.raises(ValueError, match="'a' has 200 rows whose keys are not unique"):
        verdicts({"a": pd.concat([a, a]), "b": a}, [X])
    with pytest.raises(ValueError, match="share one parent"):
        verdicts({"a": a, "b": a[:4]}, [X])


def test_float32_noise_levels_still_pair() -> None:
    a = table(noise(0))
    assert verdicts({"a": a, "b": a.astype({"sigma_noise": "float32"})}, [X])["n"].item() == 200


def with_inputs(frame: pd.DataFrame, n_atoms: int = 5, seed: int = 0) -> pd.DataFrame:
    """With what the rows were restored from."""
    generator, n = np.random.default_rng(seed), len(frame)
    frac, species = generator.random((n, 3 * n_atoms)), generator.integers(0, 90, (n, n_atoms))
    return frame.assign(frac_corrupted=list(frac), species_corrupted=list(species))


def test_rows_that_were_corrupted_otherwise_are_no_pairs() -> None:
    a, b = with_inputs(table(noise(0))), with_inputs(table(noise(1)))
    assert verdicts({"a": a, "b": b}, [X])["n"].item() == 200
    b["frac_corrupted"] = [row + (0.01 if i < 10 else 1 + 1e-7) for i, row in enumerate(b["frac_corrupted"])]
    b["species_corrupted"] = [0 * row if 10 <= i < 15 else row for i, row in enumerate(b["species_corrupted"])]
    b["frac_corrupted"] = [row[:-3] if i == 15 else row for i, row in enumerate(b["frac_corrupted"])]
    assert verdicts({"a": a, "b": b}, [X])["n"].item() == 184
    assert other_inputs(a, b) == 16
    assert other_inputs(a, b.drop(columns=["frac_corrupted", "species_corrupted"])) == 0
    with pytest.raises(
        ValueError, match="200 rows of the same crystal, mask and noise, but none of the same corrupted"
    ):
        verdicts({"a": a, "b": with_inputs(b, seed=1)}, [X])


def test_inputs_of_a_full_evaluation_are_compared_in_a_second() -> None:
    a = with_inputs(table(noise(0, 20_000)), n_atoms=30)
    start = time.perf_counter()
    assert same_inputs(a, a.copy()).all()
    assert time.perf_counter() - start < 3  # about 0.2 s on one core


def test_losing_more_than_half_of_the_rows_is_said() -> None:
    frame = verdicts({"a": table(noise(0)), "b": table(noise(1))[:96]}, [X])
    assert frame["note"].item() == "b and a: only 96 of 200 rows have a partner."
    assert verdict_table(frame).endswith(frame["note"].item())
    assert verdicts({"a": table(noise(0)), "b": table(noise(1))[:104]}, [X])["note"].item() == ""


def test_metrics_that_a_table_lacks_are_left_out() -> None:
    frame = verdicts({"a": table(noise(0)), "b": table(noise(1)).drop(columns="y")}, [X, Y])
    assert frame["metric"].tolist() == ["x"]
    assert tuple(frame.columns) == VERDICT_COLUMNS
    nothing = verdicts({"a": table(noise(0)), "b": table(noise(1))}, METRICS)
    assert tuple(nothing.columns) == VERDICT_COLUMNS
    assert nothing.empty
    assert "0 comparisons" in verdict_table(nothing)


# Correction and report


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, np.nan, 0.4]) == pytest.approx([0.8, np.nan, 0.8], nan_ok=True)
    assert holm([]).tolist() == []


def test_same_seed_same_verdicts() -> None:
    tables = {"a": table(noise(0)), "b": table(noise(1))}
    pd.testing.assert_frame_equal(verdicts(tables, [X]), verdicts(tables, [X]))
    assert verdicts(tables, [X])["p"].item() != verdicts(tables, [X], seed=1)["p"].item()


def test_reads_in_a_terminal() -> None:
    text = verdict_table(verdicts({"control": table(noise(0)), "gan": table(noise(0) - 1)}, [RMSD, Y]))
    assert "-1.000 [-1.000, -1.000] ↓" in text
    assert text.splitlines()[2].split()[:3] == ["x", "gan", "control"]
    assert text.splitlines()[2].split()[-1] == "better"
    assert "Holm's correction for 2 comparisons" in text


# What it is for


@pytest.mark.parametrize("n_parents", [15, 60])
def test_without_a_difference_five_percent_resolve_before_correction_and_few_families_after(n_parents: int) -> None:
    """Clustered data, 12 metrics per family; a bootstrap that ignored clusters would resolve about half of them."""
    metrics = [metric(f"m{k}") for k in range(12)]
    generator = np.random.default_rng(n_parents)
    resolved, families = [], []
    for family in range(60):
        tables = {name: null_table(generator, n_parents) for name in "ab"}
        frame = verdicts(tables, metrics, n_resamples=2000, seed=family)
        resolved += (frame["p"] < 0.05).tolist()
        families.append((frame["verdict"] != "not resolved").any())
    assert 0.03 <= np.mean(resolved) <= 0.07
    assert np.mean(families) <= 0.1


def null_table(generator: np.random.Generator, n_parents: int, per_parent: int = 6) -> pd.DataFrame:
    level = np.repeat(generator.normal(size=(n_parents, 12)), per_parent, axis=0)
    values = level + 0.5 * generator.normal(size=level.shape)
    columns = pd.DataFrame(values, columns=[f"m{k}" for k in range(12)])
    return table(columns["m0"].to_numpy(), per_parent)[["parent", "mask_type", "sigma_noise", "draw"]].join(columns)


def test_a_full_evaluation_is_compared_in_seconds() -> None:
    generator = np.random.default_rng(0)
    tables = {name: null_table(generator, 500, per_parent=40) for name in "ab"}
    start = time.perf_counter()
    frame = verdicts(tables, [metric(f"m{k}") for k in range(12)])
    assert time.perf_counter() - start < 10  # about 1 s on one core
    assert frame["n"].tolist() == [20_000] * 12
