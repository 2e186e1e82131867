"""The end of a sweep on one screen: a sentence that says no more than the verdicts, and a row per trial."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crystalsweep.sweeping.report import gan as gan_report
from crystalsweep.sweeping.report.conclusion import adversary_conclusion, visible_sentence
from crystalsweep.sweeping.report.control import W
from crystalsweep.sweeping.report.gan_figures import SIGMA
from crystalsweep.sweeping.report.overview import overview
from crystalsweep.sweeping.report.results import as_text
from tests.html_words import words_of
from tests.test_sweep_reports import NOISE, WEIGHT, arms, finished, outcome, scores


def verdicts(**counts: tuple[int, int, int]) -> pd.DataFrame:
    """Verdicts by metric: better, worse, not resolved."""
    names = ("better", "worse", "not resolved")
    rows = [
        {"metric": metric, "verdict": name, "low": -0.1, "high": 0.1, "clusters": 1000}
        for metric, each in counts.items()
        for name, times in zip(names, each, strict=True)
        for _ in range(times)
    ]
    return pd.DataFrame(rows, columns=["metric", "verdict", "low", "high", "clusters"])


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({}, "cannot be told"),
        ({"masked_accuracy": (0, 0, 6)}, "not shown to make a difference: of 6 comparisons"),
        ({"masked_accuracy": (2, 0, 4)}, "helped: it improved masked accuracy in 2 of 6 comparisons, and nothing"),
        ({"masked_accuracy": (0, 1, 5)}, "did not help: it worsened masked accuracy in 1 of 6 comparisons"),
        (
            {"compositional_validity": (3, 0, 3), "masked_accuracy": (0, 2, 4)},
            "improved compositional validity in 3 of 6 comparisons, and worsened masked accuracy in 2 of 6",
        ),
    ],
)
def test_the_conclusion_says_what_is_resolved(counts: dict[str, tuple[int, int, int]], said: str) -> None:
    assert said in adversary_conclusion(verdicts(**counts))


def test_the_least_visible_difference_grows_with_the_comparisons_and_with_the_spread() -> None:
    frame = verdicts(masked_accuracy=(0, 0, 4))
    assert "masked accuracy 0.1" in visible_sentence(frame, 1)  # as one 95 % interval has it
    assert "masked accuracy 0.15" in visible_sentence(frame, 20)  # z of 0.025 / 20 is 3.02
    assert "masked accuracy 0.16" in visible_sentence(frame.assign(clusters=100), 20)  # t of 99 degrees of freedom
    assert "masked accuracy 0.33" in visible_sentence(frame.assign(clusters=30), 20)  # of 30 parents 10 must differ
    assert visible_sentence(frame.assign(seeds=2.0), 20) == ""
    assert visible_sentence(frame.assign(low=0.0, high=0.0), 20) == ""
    assert visible_sentence(frame.assign(clusters=10), 99) == "", "of so many over ten crystals nothing can be resolved"


def test_a_difference_as_large_as_the_least_visible_one_is_resolved(tmp_path: Path) -> None:
    """What `visible_sentence` says is what the verdicts do, about: a little more is resolved, half of it is not."""
    made = arms(tmp_path, {(0.1, 0.0): 0.3, (0.1, 1.0): 0.30, (0.2, 0.0): 0.3, (0.2, 1.0): 0.9})
    compared = gan_report.compared_with_controls(finished(tmp_path, made, NOISE, WEIGHT))
    frame = compared.comparison.frame
    half = (frame["high"] - frame["low"]) / 2
    shown = frame[half > 0]
    far = shown["difference"].abs() > 1.6 * half[half > 0]
    near = shown["difference"].abs() < 0.8 * half[half > 0]
    assert far.any() and set(shown.loc[far, "verdict"]) == {"better"}
    assert set(shown.loc[near, "verdict"]) <= {"not resolved"}


def test_one_screen_has_a_row_per_trial_with_its_score_and_the_best_marked(tmp_path: Path) -> None:
    made = arms(tmp_path, {(0.1, 0.0): 0.3, (0.2, 0.0): 0.3, (0.1, 1.0): 0.3, (0.2, 1.0): 0.9})
    made.append(outcome(tmp_path, 4, {SIGMA: 0.2, W: 5.0}, scores(0.5), state="failed"))
    told = gan_report.gan_report(finished(tmp_path, made, NOISE, WEIGHT))
    assert " ".join(told.story.partition("\n\n")[0].split()) == told.words[0] and "The adversary" in told.words[0]
    lines = told.story.splitlines()
    heads = next(i for i, line in enumerate(lines) if "beside its control" in line)
    rows = lines[heads + 2 : heads + 10]
    assert [row.startswith("★") for row in rows].count(True) == 1
    best = next(row for row in rows if row.startswith("★"))
    assert "better in" in best and "0.2" in best
    assert sum("is a control" in row for row in rows) == 2
    assert sum("not resolved" in row for row in rows) == 1
    assert sum("failed" in row for row in rows) == 1
    assert [name for name in ("ceiling", "identity", "most common") if any(name in row for row in rows)]
    assert max(map(len, lines)) <= 130
    page = words_of(told.page.read_text())
    assert page.index(told.words[0]) < page.index("beside its control") < page.index("corrected p")


def test_trials_that_are_as_good_as_the_best_are_counted(tmp_path: Path) -> None:
    settings = [{SIGMA: 0.1, W: 0.0}, {SIGMA: 0.2, W: 0.0}, {SIGMA: 0.1, W: 1.0}]
    alike = [outcome(tmp_path, i, each, scores(0.3), score=0.4) for i, each in enumerate(settings)]
    said = as_text(overview(finished(tmp_path, alike, NOISE, WEIGHT), alike[0], None))
    assert "2 other trials have exactly the same Score as ★" in said
    other = arms(tmp_path / "other", {(0.1, 0.0): 0.3, (0.1, 1.0): 0.9})
    assert "exactly the same" not in as_text(overview(finished(tmp_path, other, NOISE, WEIGHT), other[1], None))


def test_several_seeds_are_one_row_with_their_range(tmp_path: Path) -> None:
    made = [
        outcome(tmp_path, n, {W: w}, scores(0.3), seed=seed, score=0.4 + 0.1 * seed)
        for n, w in enumerate((0.0, 1.0))
        for seed in (0, 1, 2)
    ]
    told = gan_report.gan_report(finished(tmp_path, made, WEIGHT))
    assert told.story.count("0.500 (0.400 to 0.600)") == 2
    assert "Score (seeds)" in told.story


def test_every_comparison_goes_to_a_file_with_its_question(tmp_path: Path) -> None:
    made = arms(tmp_path, {(0.1, 0.0): 0.3, (0.1, 1.0): 0.6, (0.1, 10.0): 0.4})
    told = gan_report.gan_report(finished(tmp_path, made, NOISE, WEIGHT))
    asked = told.differences.groupby("asked").size()
    assert asked["beside its control"] == asked["beside the best"] == 10
    assert np.isfinite(told.differences["p_adjusted"]).all()


def test_the_page_leads_to_the_crystals_in_3d(tmp_path: Path) -> None:
    made = arms(tmp_path, {(0.1, 0.0): 0.3, (0.1, 1.0): 0.6})
    sweep = finished(tmp_path, made, NOISE, WEIGHT)
    folder = sweep.folder / "crystals" / made[1].key
    folder.mkdir(parents=True)
    (folder / "crystals.png").write_bytes(b"\x89PNG")
    (folder / "crystals.html").write_text("")
    page = gan_report.gan_report(replace(sweep, crystals={made[1].key: folder})).page.read_text()
    assert f'href="crystals/{made[1].key}/crystals.html"' in page
    assert "Crystals before, corrupted and after" in page
