"""How much data an arm saves: the curve's interval, where it reaches another's end, and samples within samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crystalsweep.data.selection import shared_rows
from crystalsweep.metrics.seed_verdicts import crossed_mean
from crystalsweep.plots.data_size import plot_data_size
from crystalsweep.sweeping.report.arms import ArmErrors
from crystalsweep.sweeping.report.data_size import compared, curve_of, needed_for, sampled_errors, saving_of
from crystalsweep.sweeping.report.finetune_words import saving_sentence

SIZES = (50, 100, 200, 400)


def errors(scale: float, power: float = 0.5, seeds: int = 1, crystals: int = 200) -> dict[int, np.ndarray]:
    """Errors that fall with the number of crystals as a power law, the same noise for every size."""
    noise = np.random.default_rng(0).gamma(4.0, 0.25, (seeds, crystals))
    return {n: scale * n**-power * noise for n in SIZES}


def arms(**scales: float) -> dict[tuple[str, int], np.ndarray]:
    return {(name, n): array for name, scale in scales.items() for n, array in errors(scale).items()}


def test_a_power_law_is_read_off_exactly() -> None:
    """Twice the error at every size, falling with the root of n, is what a quarter of the crystals would give."""
    drawn = sampled_errors(arms(pretrained=1.0, scratch=2.0))
    saving = saving_of(drawn, "pretrained", "scratch", 200)
    assert saving is not None
    assert saving.needed == pytest.approx(100)
    assert (saving.factor, saving.low, saving.high, saving.most) == pytest.approx((4, 4, 4, 8))


def test_what_lies_beyond_the_sizes_tried_is_told_as_their_end() -> None:
    far = saving_of(sampled_errors(arms(pretrained=1.0, scratch=9.0)), "pretrained", "scratch", 200)
    none = saving_of(sampled_errors(arms(pretrained=2.0, scratch=1.0)), "pretrained", "scratch", 200)
    assert far is not None
    assert none is not None
    assert (far.needed, far.factor) == (50, far.most)
    assert np.isnan(none.needed)
    assert none.factor == none.high == 0


def test_a_saving_is_told_as_resolved_only_where_the_difference_is() -> None:
    for scratch, resolved in ((2.0, True), (1.02, False)):
        own = arms(pretrained=1.0, scratch=scratch)
        if not resolved:  # another 200 crystals each: what differs is which crystals are hard
            rows = np.random.default_rng(1).permutation(200)
            own |= {("scratch", n): own["scratch", n][:, rows] for n in SIZES}
        drawn = sampled_errors(own)
        pairs = compared(own, drawn, ["pretrained", "scratch"], "scratch")
        assert ({each.verdict for each in pairs} == {"better"}) is resolved
        found = ArmErrors(
            target="k_vrh",
            arms=("pretrained", "scratch"),
            crystals=200,
            seeds=(0,),
            errors=own,
            rates={},
            rates_tried=1,
        )
        said = saving_sentence(found, saving_of(drawn, "pretrained", "scratch", 200), pairs)
        assert ("not resolved" in said) is not resolved


def test_between_two_sizes_the_error_falls_along_a_line_of_logarithms() -> None:
    assert needed_for([10, 1000], np.array([1.0, 0.01]), 0.1) == pytest.approx(100)
    assert needed_for([10, 1000], np.array([1.0, 0.01]), 2.0) == 10
    assert np.isnan(needed_for([10, 1000], np.array([1.0, 0.01]), 0.001))


def test_differences_are_paired_by_crystal_and_equal_arms_are_not_resolved() -> None:
    own = arms(pretrained=1.0, scratch=1.1, same=1.1)
    found = compared(own, sampled_errors(own), ["pretrained", "same", "scratch"], "scratch")
    assert [(each.n, each.arm) for each in found] == [(n, arm) for n in SIZES for arm in ("pretrained", "same")]
    assert {each.verdict for each in found if each.arm == "pretrained"} == {"better"}
    assert {each.verdict for each in found if each.arm == "same"} == {"not resolved"}


def test_seeds_that_differ_widen_the_interval() -> None:
    alike = errors(1.0, seeds=3)[50]
    apart = alike * np.array([[0.5], [1.0], [1.5]])
    widths = []
    for array in (np.repeat(alike.mean(axis=0, keepdims=True), 3, axis=0), apart):
        row = curve_of(sampled_errors({("arm", 50): array}), "arm", 200).iloc[0]
        widths.append(row["high"] - row["low"])
    assert widths[1] > 2 * widths[0]


def test_differences_over_seeds_are_students_as_in_compare() -> None:
    base = errors(1.0, seeds=3)[50]
    found = {("a", 50): base * np.array([[0.7], [0.8], [0.9]]), ("b", 50): base}
    (pair,) = compared(found, sampled_errors(found), ("a",), "b")
    gap = found["a", 50] - found["b", 50]
    expected = crossed_mean(gap, np.ones_like(gap))
    assert (pair.difference.low, pair.difference.high) == (expected.low, expected.high)
    assert pair.difference.p == pair.p_adjusted == expected.p
    assert pair.verdict == "not resolved"  # a bootstrap over three seeds would say better
    drawn = sampled_errors(found)
    assert np.quantile((drawn["a", 50] - drawn["b", 50])[1:], 0.975) < 0


def test_a_smaller_share_lies_within_a_greater_one() -> None:
    found = [set(shared_rows(101, share, 3).tolist()) for share in (0.001, 0.25, 0.5, 1.0)]
    assert [len(each) for each in found] == [1, 25, 50, 101]
    assert found[0] < found[1] < found[2] < found[3]
    assert set(shared_rows(101, 0.25, 4).tolist()) != found[1]


def test_the_figure_needs_two_sizes(tmp_path: Path) -> None:
    drawn = sampled_errors(arms(pretrained=1.0, scratch=2.0))
    curves = {arm: curve_of(drawn, arm, 200) for arm in ("pretrained", "scratch")}
    assert plot_data_size(curves, {"composition only": curves["scratch"]}, tmp_path / "a.png", error="MAE").exists()
    with pytest.raises(ValueError, match="two numbers of crystals"):
        plot_data_size({"a": curves["scratch"].head(1)}, {}, tmp_path / "b.png", error="MAE")
