"""What a sweep over the critic's lessons says: judge and teacher by the rule that its page writes down."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from crystalsweep.sweeping.report.adversary import adversary_report, arms_of, judge_pairs, teacher_pairs
from crystalsweep.sweeping.report.adversary_words import conclusion, judge_pays, teacher_pays
from crystalsweep.sweeping.space.finished import FinishedSweep
from crystalsweep.sweeping.space.outcome import TrainingOutcome
from crystalsweep.sweeping.space.parameters import Parameter
from tests.html_words import words_of
from tests.test_sweep_reports import finished, outcome, scores
from trainables.teach.config import TeachConfig

LESSON = Parameter(key="lesson", title="lesson", values=("judged", "gradient"), brief="{}")
METRICS = ("compositional_similarity", "compositional_validity", "masked_accuracy")


def verdicts(similarity: str, validity: str, accuracy: str = "not resolved", a: str = "1/one pass") -> pd.DataFrame:
    told = zip(METRICS, (similarity, validity, accuracy), strict=True)
    rows = [
        {"metric": metric, "a": a, "b": "0/one pass", "difference": 0.1, "low": 0.0, "high": 0.2, "verdict": verdict}
        for metric, verdict in told
    ]
    return pd.DataFrame(rows)


NOTHING = verdicts("", "").iloc[:0]


@pytest.mark.parametrize(
    ("told", "pays"),
    [
        (verdicts("better", "not resolved"), True),
        (verdicts("better", "worse"), False),
        (verdicts("better", "not resolved", "worse"), False),
        (verdicts("not resolved", "better"), False),
        (NOTHING, False),
    ],
)
def test_a_judge_pays_where_similarity_is_better_and_nothing_worse(told: pd.DataFrame, pays: bool) -> None:
    assert judge_pays(told) is pays


@pytest.mark.parametrize(
    ("told", "pays"),
    [
        (verdicts("better", "better"), True),
        (verdicts("better", "not resolved"), False),
        (verdicts("better", "better", "worse"), False),
        (pd.concat([verdicts("better", "better"), verdicts("better", "not resolved")]), False),
        (NOTHING, False),
    ],
)
def test_a_teacher_pays_where_both_are_better_than_every_control(told: pd.DataFrame, pays: bool) -> None:
    assert teacher_pays(told) is pays


@pytest.mark.parametrize(
    ("judged", "taught", "said"),
    [
        (NOTHING, NOTHING, "cannot be told"),
        (verdicts("better", "not resolved"), NOTHING, "As a judge the critic helps: ranked by it, +0.100 to +0.100"),
        (verdicts("not resolved", "worse"), NOTHING, "As a judge the critic costs more than it brings"),
        (verdicts("not resolved", "not resolved"), NOTHING, "As a judge the critic was not shown to help"),
        (NOTHING, verdicts("better", "better"), "as a teacher it helps in 1 of 1 arms"),
        (NOTHING, verdicts("worse", "not resolved"), "as a teacher it harms in 1 of 1 arms and helps in none"),
        (NOTHING, verdicts("better", "not resolved"), "gains something in 1 of 1 arms, but none is better than every"),
        (NOTHING, verdicts("not resolved", "not resolved"), "as a teacher it was not shown to make a difference"),
    ],
)
def test_the_conclusion_is_what_the_rule_gives(judged: pd.DataFrame, taught: pd.DataFrame, said: str) -> None:
    assert said in conclusion(judged, taught)


def taught(
    folder: Path, number: int, lesson: str, one_pass: float, *, seed: int = 0
) -> tuple[TrainingOutcome, dict[str, pd.DataFrame]]:
    """A training, and what decoders make of its generator: the judged beam is better by 0.2."""
    control = lesson in ("none", "likeliest")
    made = outcome(folder, number, {"lesson": lesson}, scores(one_pass), seed=seed, config=TeachConfig())
    decoded = {"beam": scores(one_pass), "beam + critic": scores(one_pass + 0.2)}
    return TrainingOutcome(**{**vars(made), "control": control}), decoded


def sweep(folder: Path, *seeds: int) -> FinishedSweep:
    arms = (("none", 0.5), ("likeliest", 0.5), ("judged", 0.5), ("gradient", 0.3))
    made = [
        taught(folder, number, lesson, skill + 0.01 * seed, seed=seed)
        for number, (lesson, skill) in enumerate(arms)
        for seed in seeds
    ]
    decoded = {training.key: tables for training, tables in made}
    return finished(folder, [training for training, _ in made], LESSON, decoded=decoded)


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_a_report_tells_judge_from_teacher(tmp_path: Path, seeds: tuple[int, ...]) -> None:
    told = adversary_report(sweep(tmp_path, *seeds))
    first = told.words[0]
    assert "As a judge the critic helps" in first and "resolved at no cost in 4 of 4 arms" in first
    assert "as a teacher it harms in 1 of 2 arms and helps in none" in first
    frame = told.differences
    judge = frame[frame["b"].str.endswith("/beam") & frame["metric"].eq("compositional_similarity")]
    assert judge["difference"].to_numpy() == pytest.approx(0.2, abs=0.03)
    assert ("seeds" in frame) == (len(seeds) > 1)
    words = words_of(told.page.read_text())
    for part in (
        "All arms decoded alike",
        "gradient, one pass",
        "is a control",
        f"{len(seeds)} of {len(seeds)} seeds",
    ):
        assert part in words
    assert (tmp_path / "decoders.png") in told.plots


def test_seeds_that_some_trial_lacks_are_left_out_and_told(tmp_path: Path) -> None:
    whole = sweep(tmp_path, 0, 1, 2)
    lacking = [each for each in whole.outcomes if each.key != "0002-s1"]
    failed = finished(tmp_path, lacking, LESSON, decoded=whole.decoded)
    assert arms_of(failed).seeds == [0, 2]
    assert any("2 of 3 seeds; not every trial completed with seed 1" in word for word in adversary_report(failed).words)


def test_what_is_compared(tmp_path: Path) -> None:
    arms = arms_of(sweep(tmp_path, 0))
    assert judge_pairs(arms) == [(f"{n}/beam + critic", f"{n}/beam") for n in range(4)]
    assert teacher_pairs(arms) == [(f"{n}/one pass", f"{control}/one pass") for n in (2, 3) for control in (0, 1)]


def test_one_crystal_does_not_stop_a_report(tmp_path: Path) -> None:
    table = scores(0.5, parents=1)
    made = [
        outcome(tmp_path, n, {"lesson": each}, table, config=TeachConfig()) for n, each in enumerate(("none", "judged"))
    ]
    controls = [TrainingOutcome(**{**vars(each), "control": each.number == 0}) for each in made]
    told = adversary_report(finished(tmp_path, controls, LESSON))
    assert "cannot be told" in told.words[0]
