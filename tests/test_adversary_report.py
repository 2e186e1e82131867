"""What a sweep over the critic's lessons says: judge and teacher by the rule that its page writes down."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from crystalsweep.sweeping.report.adversary import adversary_report, arms_of, judge_pairs, teacher_pairs
from crystalsweep.sweeping.report.adversary_words import conclusion, judge_pays, teacher_pays
from crystalsweep.sweeping.report.named_decoders import NEUTRAL
from crystalsweep.sweeping.report.phase import phase_cells
from crystalsweep.sweeping.space.finished import FinishedSweep
from crystalsweep.sweeping.space.judges import Judges
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


RATIO = Parameter(key="gradient_ratio", title="r", values=(0.1, 1.0), log=True)
NOISE = Parameter(key="corruption.sigma_noise", title="σ_noise", values=(0.1, 0.2), paper=0.2)
SHARE = Parameter(key="critic_share", title="critic's share", values=(1 / 11, 0.5), paper=1 / 11)


def phase_sweep(folder: Path, *, skill: dict[float, float]) -> FinishedSweep:
    """Control arms at two noise levels, and trials at those r that are named, by what they restore more."""
    made = []
    for sigma in (0.1, 0.2):
        settings = {"lesson": "none", NOISE.key: sigma, SHARE.key: 1 / 11, RATIO.key: 0.1}
        control = outcome(folder, len(made), settings, scores(0.5), config=TeachConfig())
        made.append(TrainingOutcome(**{**vars(control), "control": True}))
    for ratio, gain in skill.items():
        settings = {"lesson": "gradient", NOISE.key: 0.2, SHARE.key: 1 / 11, RATIO.key: ratio}
        made.append(outcome(folder, len(made), settings, scores(0.5 + gain), config=TeachConfig()))
    return finished(folder, made, RATIO, NOISE, SHARE)


def test_a_trial_is_held_against_the_control_arm_of_its_noise(tmp_path: Path) -> None:
    arms = arms_of(phase_sweep(tmp_path, skill={0.1: 0.1, 1.0: -0.2}))
    assert teacher_pairs(arms) == [("2/one pass", "1/one pass"), ("3/one pass", "1/one pass")]


def test_a_phase_diagram_has_the_cells_that_were_tried(tmp_path: Path) -> None:
    told = adversary_report(phase_sweep(tmp_path, skill={0.1: 0.1, 1.0: -0.2}))
    assert (tmp_path / "phase.png") in told.plots
    said = words_of(told.page.read_text())
    assert "Phase diagram of the adversary" in said
    assert "dashed since it sets no r: its w_W is 0.1" in said
    places = {"x": {2: "0.2", 3: "0.2"}, "y": {2: "0.1", 3: "1"}, "across": {2: "", 3: ""}}
    taught = told.differences[told.differences["a"].astype(str).str.endswith("one pass")]
    cells = phase_cells(taught, places)
    similar = cells[cells["title"] == "Compositional similarity"].set_index("y")
    assert similar["difference"].to_numpy() == pytest.approx([0.1, -0.2], abs=0.05)
    assert similar["resolved"].tolist() == [True, True]
    assert similar["trials"].tolist() == [1, 1]


def test_no_phase_diagram_of_one_direction(tmp_path: Path) -> None:
    told = adversary_report(sweep(tmp_path, 0))
    assert "Phase diagram" not in words_of(told.page.read_text())


@pytest.mark.parametrize(("skill", "resolved"), [(0.505, False), (0.9, True)])
def test_what_is_too_small_to_tell_is_said(skill: float, resolved: bool, tmp_path: Path) -> None:
    arms = [taught(tmp_path, n, lesson, each) for n, (lesson, each) in enumerate((("none", 0.5), ("judged", skill)))]
    told = adversary_report(finished(tmp_path, [training for training, _ in arms], LESSON))
    rows = told.differences
    (similarity,) = rows[(rows["metric"] == "compositional_similarity") & (rows["a"] == "1/one pass")].to_dict(
        "records"
    )
    assert (similarity["verdict"] == "better") is resolved
    half = (similarity["high"] - similarity["low"]) / 2
    said = [word for word in told.words if f"below about {half:.3f}, half the widest interval" in word]
    assert bool(said) is not resolved


def test_the_first_control_is_told_by_every_way_of_decoding(tmp_path: Path) -> None:
    made = sweep(tmp_path, 0)
    assert not any(word.startswith("Without an adversary") for word in adversary_report(made).words)
    control = next(training for training in made.done if training.number == 0)
    made.decoded[control.key] |= {"drawn at T=1": scores(0.2), NEUTRAL: scores(0.4)}  # type: ignore[attr-defined]
    told = adversary_report(made)
    (said,) = [word for word in told.words if word.startswith("Without an adversary")]
    assert "drawn at T=1 0." in said and f"{NEUTRAL} 0." in said and "no evidence" in said
    words = words_of(told.page.read_text())
    for decoder in ("drawn at T=1", NEUTRAL):
        assert re.search(rf"none\s*{re.escape(decoder)}", words)


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_independent_judges_take_part_in_table_and_verdicts(tmp_path: Path, seeds: tuple[int, ...]) -> None:
    made = sweep(tmp_path, *seeds)
    assert set(adversary_report(made).differences["metric"]).isdisjoint({"delta_energy", "charges_balance"})
    asked = {}
    for training in made.done:
        tables = {"one pass": training.table, **made.decoded[training.key]}
        asked[training.key] = {name: judged(table, name == "beam + critic") for name, table in tables.items()}
    told = adversary_report(replace(made, decoded=asked, judges=Judges(parents=40)))
    judge = told.differences[told.differences["b"].str.endswith("/beam")]
    energy = judge[judge["metric"].eq("delta_energy")]
    assert energy["difference"].to_numpy() == pytest.approx(0.3)
    assert energy["verdict"].eq("worse").all() and len(energy) == 4
    assert judge[judge["metric"].eq("charges_balance")]["verdict"].eq("not resolved").all()
    assert "As a judge the critic costs more than it brings" in told.words[0]
    words = words_of(told.page.read_text())
    assert "ΔE, eV/atom" in words and "by chgnet minus the parent's" in words and "of 40 parents at most" in words


def judged(table: pd.DataFrame, high: bool) -> pd.DataFrame:
    """The table with answers of independent judges: energies of restored crystals, higher by 0.3 eV/atom or not."""
    even = table["parent"].str[1:].astype(int) % 2
    noise = even * 0.01 + table["draw"] * 0.001
    energy = (noise + 0.3 * high).where(table["compositional_similarity"].astype(bool))
    return table.assign(delta_energy=energy, charges_balance=even.astype(float), bond_valence_failure="")
