"""What finished sweeps say: differences paired and corrected together, and words no larger than verdicts."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from crystalsweep.config import override
from crystalsweep.data import DataSet, load_data
from crystalsweep.evaluation.protocol import evaluate_references
from crystalsweep.hyperparameters import EvaluationConfig
from crystalsweep.metrics.summary import METRICS
from crystalsweep.networks.architectures import PaiNNConfig
from crystalsweep.networks.checkpoint import CheckpointInfo, load_generator, save_checkpoint
from crystalsweep.pages.content import Table
from crystalsweep.structures.batch import is_stable
from crystalsweep.sweeping.finish import conclusion_of
from crystalsweep.sweeping.report import backbones as backbone_report
from crystalsweep.sweeping.report import gan as gan_report
from crystalsweep.sweeping.report import recipe as recipe_report
from crystalsweep.sweeping.report import w_pos as w_pos_report
from crystalsweep.sweeping.report.control import CARRIER, W, counterparts
from crystalsweep.sweeping.report.frames import best_of, training_frame, training_names, trial_frame
from crystalsweep.sweeping.report.gan import against_controls, compared_with_controls
from crystalsweep.sweeping.report.gan_figures import SIGMA
from crystalsweep.sweeping.report.report import draw_trial
from crystalsweep.sweeping.report.results import as_text, setting_columns
from crystalsweep.sweeping.report.words import classifier_sentence, costs_sentence
from crystalsweep.sweeping.space.finished import FinishedSweep, ReportedTraining
from crystalsweep.sweeping.space.limits import limits
from crystalsweep.sweeping.space.objectives import OBJECTIVES
from crystalsweep.sweeping.space.outcome import TrainingOutcome, TrainingState
from crystalsweep.sweeping.space.parameters import Parameter
from crystalsweep.training.catalogue import stage_builder
from crystalsweep.training.config import StageConfig
from crystalsweep.training.local import LocalSession
from crystalsweep.training.loop import fit
from crystalsweep.training.records import SCORE, recorded
from crystalsweep.training.restoration import TABLE
from trainables.gan.config import GanConfig
from trainables.pretrain.config import PretrainConfig

NOISE = Parameter(key=SIGMA, title="σ_noise", values=(0.1, 0.2), paper=0.2)
WEIGHT = Parameter(key=W, title="w_W", values=(0.1, 1.0, 10.0), low=0.01, high=100.0, log=True, paper=0.1)
W_POS = Parameter(key="reconstruction.w_pos", title="w_pos", values=(3.0, 60.0), log=True, unit=0.3, paper=60.0)
RATIO = Parameter(key="adversarial.g_steps_per_d_step", title="G:D", values=(1, 10), paper=10)
NETWORK = Parameter(key="backbone", title="backbone", values=("painn", "escn_md"))


def scores(skill: float, parents: int = 40) -> pd.DataFrame:
    """A table of scores in which a share of the rows is restored, the same rows for the same skill."""
    keys = [
        {"parent": f"p{i}", "mask_type": mask, "sigma_noise": sigma, "draw": draw}
        for i in range(parents)
        for mask in ("species", "random15")
        for sigma in (0.1, 0.2)
        for draw in range(2)
    ]
    n = len(keys)
    restored = np.random.default_rng(0).random(n) < skill
    similarity = np.where(restored, np.random.default_rng(2).normal(0.5, 0.1, n), np.nan)
    return pd.DataFrame(keys).assign(
        n_atoms=4,
        n_masked=2,
        masked_correct=2 * restored,
        visible_correct=2,
        structural_validity=True,
        compositional_validity=np.random.default_rng(1).random(n) < 0.8,
        compositional_similarity=restored,
        compositional_similarity_permuted=restored,
        structural_similarity=similarity,
        structural_similarity_unaligned=similarity,
        paper_eq5_term=0.5,
        similarity_undefined=False,
        given_composition=False,
        failure="",
    )


def outcome(
    folder: Path,
    number: int,
    settings: dict[str, Any],
    table: pd.DataFrame,
    *,
    seed: int = 0,
    state: TrainingState = "complete",
    config: StageConfig | None = None,
    score: float | None = None,
) -> TrainingOutcome:
    key = f"{number:04d}-s{seed}"
    (folder / key).mkdir(parents=True)
    table.to_parquet(folder / key / TABLE)
    named = {"stage": "gan", "epoch": 2, "step": 2, "data_sha256": "", "split_sha256": ""}
    info = CheckpointInfo(config=(config or GanConfig()).model_dump(mode="json"), **named)
    save_checkpoint(folder / key, info, {})
    value = number / 10 if score is None else score
    timing = {"time/epoch_s": 30.0, "time/structures_per_s": 10.0}
    epochs = [{"epoch": float(i), "loss": 3.0 - i, SCORE: value * i / 2, **timing} for i in (1, 2)]
    return TrainingOutcome(
        number=number,
        seed=seed,
        key=key,
        state=state,
        reason="" if state == "complete" else f"it was {state}",
        settings=settings,
        control=settings.get(W) == 0 or settings.get(CARRIER) == "none",
        run=f"run{key}",
        history=epochs if state == "complete" else epochs[:1],
        checkpoint=folder / key,
        seconds=60.0,
    )


def finished(
    folder: Path, outcomes: Sequence[TrainingOutcome], *parameters: Parameter, **changes: Any
) -> FinishedSweep:
    known = {"ceiling": scores(1.0).assign(structural_similarity=1.0), "identity": scores(0.0)}
    made = FinishedSweep(
        name="a_sweep-1",
        question="Does it help?\n\nAt length.",
        outcomes=outcomes,
        parameters=parameters,
        objectives=(OBJECTIVES["score"],),
        references={**known, "most common": scores(0.1)},
        structures=300,
        costs={"minutes": (10.0, 15.0), "cpu_hours": (1.0, 3.0), "gpu_hours": (0.0, 0.0), "bytes": (1e6, 1e6)},
        whole=True,
        importances={},
        folder=folder,
    )
    return replace(made, **changes)


def arms(folder: Path, skills: dict[tuple[float, float], float], parents: int = 40) -> list[TrainingOutcome]:
    """One training per (sigma, w_W) and its skill."""
    return [
        outcome(folder, i, {SIGMA: sigma, W: w}, scores(skill, parents))
        for i, ((sigma, w), skill) in enumerate(skills.items())
    ]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


# The adversary against its controls


def adversary(sweep: FinishedSweep) -> tuple[Table | None, list[str]]:
    """What the report of a GAN sweep says of it."""
    return against_controls(sweep, compared_with_controls(sweep))


def test_each_arm_is_held_against_the_control_of_its_sigma_and_all_are_corrected_together(tmp_path: Path) -> None:
    skills = {(0.1, 0.0): 0.6, (0.1, 1.0): 0.6, (0.2, 0.0): 0.3, (0.2, 10.0): 0.6}
    table, words = adversary(finished(tmp_path, arms(tmp_path, skills), NOISE, WEIGHT))
    assert table
    lines = as_text(table).splitlines()
    assert cells(lines[2]) == ["σ_noise", "w_W", "metric", "minus control", "corrected p", "verdict"]
    rows = [cells(line) for line in lines[4:14]]
    assert [row[:2] for row in rows] == [["0.1", "1"]] * 5 + [["0.2", "10"]] * 5
    assert [row[2] for row in rows[:5]] == [*(metric.title for metric in METRICS), "Masked accuracy"]
    assert {tuple(row[3:]) for row in rows[:5]} == {("+0.000 [+0.000, +0.000]", "1.0000", "not resolved")}
    assert [row[-1] for row in rows[5:]] == ["not resolved", "not resolved", "better", "not resolved", "better"]
    assert "Holm's correction for 10 comparisons" in lines[14]
    (said,) = words
    assert "Against the control w_W = 0 at equal numbers of epochs" in said
    assert "beat it in some comparisons; better in compositional similarity (σ_noise=0.2 w_W=10)" in said
    assert "8 of 10 comparisons not resolved" in said


def test_trials_of_many_settings_go_by_their_number(tmp_path: Path) -> None:
    """In tables, where they can be looked up, and in legends, which have no room for more."""
    outcomes = arms(tmp_path, {(0.1, 0.0): 0.5, (0.2, 1.0): 0.6})
    few, many = (finished(tmp_path, outcomes, *parameters) for parameters in ((NOISE, WEIGHT), (NOISE, WEIGHT, W_POS)))
    assert list(setting_columns(few)) == ["σ_noise", "w_W"]
    assert list(setting_columns(many)) == ["trial", "σ_noise", "w_W", "w_pos"]
    assert [setting_columns(many)["trial"](outcome) for outcome in outcomes] == ["0", "1"]
    assert list(training_names(few).values()) == ["σ_noise=0.1 w_W=0", "σ_noise=0.2 w_W=1"]
    assert list(training_names(many).values()) == ["trial 0", "trial 1"]
    two = [outcomes[0], replace(outcomes[0], key="0000-s1", seed=1)]
    assert [name[-6:] for name in training_names(finished(tmp_path, two, NOISE)).values()] == ["seed 0", "seed 1"]


def test_how_good_the_classifier_was_that_the_discriminator_started_from_is_said() -> None:
    metrics = {"accuracy": 0.8, "auc": 0.87654, "majority_accuracy": 0.57, "n": 1200.0}
    metrics |= {"error": 0.2, "error/low": 0.18, "error/high": 0.22}
    for prefix in ("val/", "val/e_above_hull<=0/"):
        said = classifier_sentence({f"{prefix}{name}": value for name, value in metrics.items()})
        assert "accuracy of 0.800 [0.780, 0.820] and a ROC-AUC of 0.877 on 1,200 validation crystals" in said
        assert said.endswith("the commoner answer alone has 0.57.")
    unsure = {f"val/{name}": value for name, value in (metrics | {"error/high": 0.45}).items()}
    assert classifier_sentence(unsure).endswith("it is not shown to know what is stable.")
    assert classifier_sentence({}) == classifier_sentence({"val/mae": 1.0}) == ""


def test_words_do_not_claim_what_is_not_resolved(tmp_path: Path) -> None:
    skills = {(0.1, 0.0): 0.5, (0.1, 1.0): 0.501}
    _, (said,) = adversary(finished(tmp_path, arms(tmp_path, skills), NOISE, WEIGHT))
    assert "not shown to make a difference; 5 of 5 comparisons not resolved" in said
    assert "beat" not in said


def test_words_say_that_an_adversary_did_harm(tmp_path: Path) -> None:
    _, (said,) = adversary(finished(tmp_path, arms(tmp_path, {(0.1, 0.0): 0.8, (0.1, 1.0): 0.2}), NOISE, WEIGHT))
    assert "the adversary did not beat it and was worse in some comparisons; worse in compositional similarity" in said


def test_without_a_control_nothing_is_said_of_the_adversary(tmp_path: Path) -> None:
    table, words = adversary(finished(tmp_path, arms(tmp_path, {(0.1, 1.0): 0.5}), NOISE, WEIGHT))
    assert table is None
    assert words == ["The adversary cannot be judged: no trial and control arm are both complete."]


@pytest.mark.parametrize("parents", [1, 2])
def test_too_few_crystals_do_not_stop_a_report(tmp_path: Path, parents: int) -> None:
    skills = {(0.1, w): 0.5 for w in (0.0, 1.0)}
    table, words = adversary(finished(tmp_path, arms(tmp_path, skills, parents), NOISE, WEIGHT))
    assert table
    assert ("too few crystals in common" in as_text(table)) == (parents == 1)
    assert ("nothing could be compared" in words[0]) == (parents == 1)


def test_metrics_without_a_value_are_told_and_not_counted(tmp_path: Path) -> None:
    table, _ = adversary(finished(tmp_path, arms(tmp_path, {(0.1, 0.0): 0.0, (0.1, 1.0): 0.0}), NOISE, WEIGHT))
    assert table
    assert "Structural similarity     n = 0" in as_text(table)
    assert "for 4 comparisons" in as_text(table)


def test_seeds_are_pooled_and_pruned_trials_left_out(tmp_path: Path) -> None:
    settings = {0: {SIGMA: 0.1, W: 0.0}, 1: {SIGMA: 0.1, W: 1.0}}
    made = [
        outcome(tmp_path, n, s, scores(0.2 + 0.3 * n + 0.1 * seed), seed=seed)
        for n, s in settings.items()
        for seed in (0, 1)
    ]
    made.append(outcome(tmp_path, 2, {SIGMA: 0.1, W: 10.0}, scores(0.9), state="pruned"))
    table, (said,) = adversary(finished(tmp_path, made, NOISE, WEIGHT))
    assert table and len(table.rows) == 5
    assert "over 2 seeds" in said
    assert "2 training seeds per arm: intervals and p values are over crystals and seeds" in table.note


def test_what_seeds_disagree_on_is_not_resolved(tmp_path: Path) -> None:
    """Over crystals alone either training is far from the control; the adversary did it in neither."""
    made = [outcome(tmp_path, 0, {SIGMA: 0.1, W: 0.0}, scores(0.5), seed=seed) for seed in (0, 1)]
    made += [outcome(tmp_path, 1, {SIGMA: 0.1, W: 1.0}, scores(skill), seed=s) for s, skill in enumerate((0.55, 0.95))]
    compared = gan_report.compared_with_controls(finished(tmp_path, made, NOISE, WEIGHT)).comparison
    assert set(compared.frame["verdict"]) == {"not resolved"}
    row = compared.frame.set_index("metric").loc["masked_accuracy"]
    assert (row["seeds"], row["low"] < 0 < row["high"]) == (2, True)
    alone = gan_report.compared_with_controls(finished(tmp_path, [made[1], made[3]], NOISE, WEIGHT)).comparison
    assert "better" in set(alone.frame["verdict"])


def test_each_recipe_is_held_against_the_presets(tmp_path: Path) -> None:
    settings = [{SIGMA: 0.1, W: 0.1}, {SIGMA: 0.2, W: 0.1}, {SIGMA: 0.1, W: 10.0}]
    made = [outcome(tmp_path, i, each, scores(0.3 + 0.3 * (i == 2))) for i, each in enumerate(settings)]
    versus = recipe_report.against_preset(finished(tmp_path, made, NOISE, WEIGHT))
    assert versus is not None
    assert {cell for row in versus.table.rows for cell in row.cells[:2]} == {"1", "2", "σ_noise=0.2", "w_W=10"}
    assert versus.beside.cells[0] == "the preset's"
    assert versus.beside.cells[1] == "not resolved"
    assert "better in" in versus.beside.cells[2]
    assert recipe_report.against_preset(finished(tmp_path, made[1:], NOISE, WEIGHT)) is None


def test_a_control_without_the_sigma_of_a_trial_is_told_to_mix_effects(tmp_path: Path) -> None:
    made = arms(tmp_path, {(0.1, 0.0): 0.2, (0.2, 0.0): 0.3, (0.13, 1.0): 0.9})
    (found,) = counterparts(made, (NOISE, WEIGHT))
    assert (found.trial, found.control, found.differs) == (2, 0, ("σ_noise",))
    _, (said,) = adversary(finished(tmp_path, made, NOISE, WEIGHT))
    assert "no w_W = 0 control with their σ_noise" in said
    assert "do not tell whether the adversary helps" in said


def test_settings_of_the_adversary_do_not_part_a_trial_from_its_control(tmp_path: Path) -> None:
    """They do not reach the generator of a control; its own weight comes from its config where it was not set."""
    made = [
        outcome(tmp_path, 0, {W: 0.0}, scores(0.5)),
        outcome(tmp_path, 1, {RATIO.key: 1}, scores(0.5)),
    ]
    (found,) = counterparts(made, (RATIO,))
    assert (found.control, found.kind, found.differs) == (0, "w_W = 0", ())


def test_two_kinds_of_control_are_compared_each_unless_they_restored_the_same(tmp_path: Path) -> None:
    def made(skill: float, name: str) -> FinishedSweep:
        settings = [{W: 0.0}, {W: 0.1, CARRIER: "none"}, {W: 1.0}]
        tables = [scores(0.5), scores(skill), scores(0.9)]
        outcomes = [outcome(tmp_path / name, n, *both) for n, both in enumerate(zip(settings, tables, strict=True))]
        return finished(tmp_path, outcomes, WEIGHT)

    table, words = adversary(made(0.4, "apart"))
    assert table and len(table.rows) == 10
    assert [said.partition(" at ")[0] for said in words] == [
        "Against the control w_W = 0",
        "Against the control species_gradient = none",
    ]
    table, words = adversary(made(0.5, "alike"))
    assert table and len(table.rows) == 5
    assert "restored the same crystals" in words[-1]


# Which is best, and what it cost


def test_best_is_the_best_seed_of_the_trial_with_the_best_mean(tmp_path: Path) -> None:
    values = {0: (0.9, 0.1), 1: (0.6, 0.7), 2: (0.95, 0.9)}
    made = [
        outcome(tmp_path, n, {W: float(n)}, scores(0.5), seed=seed, score=value)
        for n, both in values.items()
        for seed, value in enumerate(both)
    ]
    made[5] = replace(made[5], state="failed")
    sweep = finished(tmp_path, made, WEIGHT)
    trainings = training_frame(sweep)
    best = best_of(sweep, trainings)
    assert best and best.key == "0001-s1"
    assert list(trial_frame(sweep, trainings)["state"]) == ["complete", "complete", "failed"]
    lowest = replace(sweep, objectives=(replace(OBJECTIVES["score"], direction="minimize"),))
    best = best_of(lowest, trainings)
    assert best and best.key == "0000-s1"


def test_costs_say_whether_the_forecast_held() -> None:
    assert costs_sentence({"minutes": (10, 15), "gpu_hours": (0, 0)}).endswith("15 (1.50×): within 2×.")
    assert (
        costs_sentence({"minutes": (10, 2)}, whole=False)
        == "Forecast of the whole sweep → so far: wall-clock minutes 10 → 2 (0.20×)."
    )
    assert costs_sentence({"minutes": (10, 21), "bytes": (1e6, 4e5)}).endswith(
        "checkpoints 1 MB → 400 kB (0.40×): not within 2× for wall-clock minutes, checkpoints."
    )


# Whole reports


def test_gan_report_of_every_kind_of_ending(tmp_path: Path) -> None:
    made = arms(tmp_path, {(0.1, 0.0): 0.3, (0.2, 0.0): 0.3, (0.1, 1.0): 0.6, (0.2, 1.0): 0.5})
    for n, state in enumerate(("pruned", "failed", "stopped"), start=4):
        made.append(outcome(tmp_path, n, {SIGMA: 0.2, W: float(n)}, scores(0.5), state=state))  # type: ignore[arg-type]
    two = (OBJECTIVES["score"], OBJECTIVES["loss_species"])
    made = [replace(o, history=[{**row, "loss/species": row["loss"]} for row in o.history]) for o in made]
    sweep = finished(tmp_path, made, NOISE, WEIGHT, objectives=two, importances={W: 0.8, SIGMA: 0.2})
    told = gan_report.gan_report(sweep)
    assert told.best and told.best.number == 3
    drawn = {path.stem for path in told.plots}
    assert drawn == {
        *("trials", "training", "parallel", "objective_history", "importance", "contour", "pareto", "learning_curves"),
        "phase",
    }
    text = "\n".join(told.words)
    assert "Best by score: σ_noise=0.2 w_W=1 (trial 3)" in text
    assert "w_W (0.80), then σ_noise (0.20)" in text
    assert "4 of 7 trainings completed, 1 cut early (it was pruned: 0004-s0), 1 failed" in text
    assert "not within 2× for CPU-hours" in text
    assert "how much the seed matters is unknown" in text
    assert all(line.strip("- ").split("\n")[0][:40] in told.text for line in told.words)
    page = told.page.read_text()
    assert page.count("data:image/png;base64,") == len(told.plots)
    assert "Not drawn. No training reported discriminator/accuracy_real" in page
    assert page.count("http-equiv") == page.count('http-equiv="Content-Security-Policy"') == 1
    assert 'src="http' not in page
    assert set(told.numbers["trial"]) == {*(o.key for o in made[:4]), "ceiling", "identity", "most common"}


def test_report_of_a_sweep_in_which_nothing_completed(tmp_path: Path) -> None:
    made = [outcome(tmp_path, n, {SIGMA: 0.1, W: float(n)}, scores(0.5), state="failed") for n in range(3)]
    told = gan_report.gan_report(finished(tmp_path, made, NOISE, WEIGHT))
    assert told.best is None
    assert {path.stem for path in told.plots} == {"objective_history", "learning_curves"}
    assert told.words[0].startswith("No training completed")
    assert "0 of 3 trainings completed, 3 failed" in told.page.read_text()


def test_one_parameter_leaves_out_what_takes_two(tmp_path: Path) -> None:
    made = [outcome(tmp_path, n, {W: w}, scores(0.2 * n)) for n, w in enumerate((0.0, 0.1, 1.0))]
    told = gan_report.gan_report(finished(tmp_path, made, WEIGHT, importances={W: 1.0}))
    page = told.page.read_text()
    assert "Fewer than two parameters with numbers were varied" in page
    assert "there are fewer than two that have one" in page
    assert not {"contour", "importance", "pareto"} & {path.stem for path in told.plots}


def test_backbones_are_paired_by_seed(tmp_path: Path) -> None:
    skills = {("painn", 0): 0.2, ("painn", 1): 0.6, ("escn_md", 0): 0.2, ("escn_md", 1): 0.6}
    versus = backbone_report.versus_others(backbones(tmp_path, skills))
    assert versus
    table = versus.table
    assert as_text(table).count("+0.000 [+0.000, +0.000]") == 5
    assert "2 training seeds per backbone" in table.note


def test_backbones_that_share_no_finished_seed_are_told_and_the_others_compared(tmp_path: Path) -> None:
    done = {("painn", 0): 0.5, ("equiformer_v2", 1): 0.5, ("escn_md", 0): 0.5}
    versus = backbone_report.versus_others(backbones(tmp_path, done))
    assert versus
    table = versus.table
    assert as_text(table).count("too few crystals in common") == 2
    assert "for 5 comparisons" in table.note


def test_backbones_of_which_few_rows_pair_are_noted(tmp_path: Path) -> None:
    done = {("painn", 0): 0.5, ("painn", 1): 0.5, ("painn", 2): 0.5, ("escn_md", 2): 0.5}
    versus = backbone_report.versus_others(backbones(tmp_path, done))
    assert versus
    table = versus.table
    assert "escn_md and painn: only 320 of 960 rows have a partner." in table.note


def backbones(folder: Path, skills: dict[tuple[str, int], float]) -> list[ReportedTraining]:
    numbers = {name: n for n, name in enumerate(dict.fromkeys(name for name, _ in skills))}
    made = [
        outcome(folder, numbers[name], {"backbone": name}, scores(skill), seed=seed)
        for (name, seed), skill in skills.items()
    ]
    return [ReportedTraining(outcome=each, name=f"{each.settings['backbone']} seed {each.seed}") for each in made]


def test_backbone_report(tmp_path: Path) -> None:
    made = [
        outcome(tmp_path, n, {"backbone": name}, scores(0.3 + 0.5 * n), seed=seed, config=PretrainConfig())
        for n, name in enumerate(("painn", "escn_md"))
        for seed in (0, 1)
    ]
    told = backbone_report.backbones_report(finished(tmp_path, made, NETWORK))
    assert told.trials[0].facts["structures_per_s"] == pytest.approx(10)
    assert told.trials[0].facts["minutes"] == pytest.approx(1)
    assert "escn_md against painn after the same minutes: better in" in "\n".join(told.words)
    assert {"budget", "seeds"} <= {path.stem for path in told.plots}
    assert set(told.differences["asked"]) == {"beside painn"}
    assert "beside painn" in told.story


def test_a_trial_is_drawn_beside_the_references(tmp_path: Path) -> None:
    (made,) = arms(tmp_path, {(0.1, 1.0): 0.5})
    references = {"ceiling": scores(1.0).assign(structural_similarity=1.0), "identity": scores(0.0)}
    trial = ReportedTraining(outcome=made, name="a")
    drawn = draw_trial(trial, tmp_path / "plots", columns=("epoch", "loss"), references=references)
    assert [path.name for path in drawn] == ["validity.png", "similarity.png", "training.png"]
    assert all(path.stat().st_size for path in drawn)


# Of real trainings

TINY: dict[str, Any] = {
    "backbone": PaiNNConfig(width=8, layers=1, radial_functions=4, cutoff=3.0, max_neighbours=6),
    "batch_size": 8,
    "epochs": 1,
    "evaluation": EvaluationConfig(mask_types=("species",), sigma_noise=(0.1,), draws=1, max_crystals=4),
}


@pytest.fixture(scope="module")
def data() -> DataSet:
    bundled = load_data("bundled")
    small = [crystal for crystal in bundled.train if is_stable(crystal) and 2 <= len(crystal) <= 5]
    return replace(bundled, train=small[:16], val=small[16:20])


def trained(
    folder: Path, data: DataSet, stage: str, base: StageConfig, settings: dict[str, Any], number: int
) -> TrainingOutcome:
    session = LocalSession(folder / str(number), progress=False, device="cpu")
    config = override(base, [f"{key}={value}" for key, value in settings.items()])
    fit(stage_builder(stage)(config, data, session, {}), session)
    return TrainingOutcome(
        number=number,
        seed=0,
        key=f"{number:04d}-s0",
        state="complete",
        reason="",
        settings=settings,
        control=settings.get(W) == 0,
        run=f"run{number}",
        history=recorded(session.folder),
        checkpoint=session.folder / "checkpoint",
        seconds=1.0,
    )


def test_report_of_trained_gans(tmp_path: Path, data: DataSet) -> None:
    base = GanConfig(**TINY, audit_every=1, adversarial={"g_steps_per_d_step": 1})  # type: ignore[arg-type]
    made = [trained(tmp_path, data, "gan", base, {W: w}, n) for n, w in enumerate((0.0, 100.0))]
    references = evaluate_references(data.val, data.train, base.evaluation)
    told = gan_report.gan_report(finished(tmp_path, made, WEIGHT, references=references))
    assert {"trials", "balance", "training", "parallel"} <= {path.stem for path in told.plots}
    lines = told.text.splitlines()
    heads = next(i for i, line in enumerate(lines) if "adv/rec gradient" in line)
    columns, rows = cells(lines[heads]), [cells(line) for line in lines[heads + 2 : heads + 4]]
    taught = [float(row[columns.index("adv/rec gradient") - len(columns)]) for row in rows]
    assert taught[0] == 0 and taught[1] > 0
    assert "Against the control w_W = 0 at equal numbers of epochs, one seed each" in told.text


def test_report_of_trained_generators_over_w_pos(tmp_path: Path, data: DataSet) -> None:
    base = PretrainConfig(**TINY)
    made = [trained(tmp_path, data, "pretrain", base, {W_POS.key: w}, n) for n, w in enumerate((3.0, 60.0))]
    references = evaluate_references(data.val, data.train, base.evaluation)
    told = w_pos_report.w_pos_report(finished(tmp_path, made, W_POS, references=references))
    losses = w_pos_report.final_losses(finished(tmp_path, made, W_POS))
    assert list(losses[W_POS.key]) == pytest.approx([10, 200])
    assert list(losses["position"]) == [each.metrics["loss/position"] for each in made]
    assert told.plots[0].name == "w_pos.png"
    assert "(the paper chose 200)" in next(said for said in told.words if said.startswith("Plateau of L_position"))
    least = losses.sort_values("species")[W_POS.key].iloc[0]
    assert any(said.startswith(f"L_species is least at {W_POS.title} = {least:.0f}: ") for said in told.words)
    parameters = sum(weight.numel() for weight in load_generator(tmp_path / "0" / "checkpoint").parameters())
    assert backbone_report.parameters(tmp_path / "0" / "checkpoint") == parameters


# What MLflow is told of each trial


def test_a_trial_is_concluded_in_a_line_beside_its_control(tmp_path: Path) -> None:
    skills = {(0.1, 0.0): 0.3, (0.1, 1.0): 0.3, (0.1, 10.0): 0.7}
    told = gan_report.gan_report(finished(tmp_path, arms(tmp_path, skills), NOISE, WEIGHT))
    lines = [conclusion_of(trial.outcome, told, OBJECTIVES["score"]) for trial in told.trials]
    assert lines[0].startswith("Score 0.000")
    assert lines[0].endswith("; control arm")
    assert lines[1].endswith("; against its control w_W = 0: not resolved in any of 5 metrics")
    assert lines[2].startswith("Best of its sweep: Score 0.200")
    assert lines[2].endswith("; against its control w_W = 0: better in 2 of 5 metrics")
    assert all("\n" not in line for line in lines)


def test_a_trial_is_concluded_by_each_kind_of_control_and_told_of_a_control_that_differs(tmp_path: Path) -> None:
    made = [
        outcome(tmp_path, 0, {SIGMA: 0.1, W: 0.0}, scores(0.7)),
        outcome(tmp_path, 1, {SIGMA: 0.1, W: 0.1, CARRIER: "none"}, scores(0.6)),
        outcome(tmp_path, 2, {SIGMA: 0.2, W: 1.0}, scores(0.1)),
    ]
    (verdict,) = gan_report.gan_report(finished(tmp_path, made, NOISE, WEIGHT)).verdicts.values()
    assert verdict == (
        "against its control w_W = 0, which has other σ_noise: worse in 2 of 5 metrics; "
        "against its control species_gradient = none, which has other σ_noise: worse in 2 of 5 metrics"
    )


# What must not be lost to the control arms


def limited(folder: Path, *similarities: float) -> FinishedSweep:
    """A control arm and trials of these similarities; each later one has a better score."""
    made = []
    for number, similarity in enumerate(similarities):
        training = outcome(folder, number, {SIGMA: 0.1, W: float(number)}, scores(0.5))
        history = [{**row, "val/compositional_similarity": similarity} for row in training.history]
        made.append(replace(training, history=history))
    return finished(folder, made, NOISE, WEIGHT, limits=limits(("compositional_similarity=0.01",)))


def test_the_best_trial_keeps_to_the_limit_and_what_that_cost_is_told(tmp_path: Path) -> None:
    sweep = limited(tmp_path, 0.5, 0.495, 0.6, 0.4)
    told = gan_report.gan_report(sweep)
    assert told.best is not None
    assert told.best.number == 2
    said = " ".join(told.words)
    assert (
        "Asked for was the best Score of trials that lose at most 0.01 of Compositional similarity to the best control "
        "arm, which has 0.500. 2 of 3 complete trials beside the control arms do"
    ) in said
    assert "Without that, trial 3 would be best (0.300); it loses 0.100 of Compositional similarity." in said


def test_a_limit_cannot_be_told_without_a_control_arm(tmp_path: Path) -> None:
    whole = limited(tmp_path, 0.5, 0.4)
    told = gan_report.gan_report(replace(whole, outcomes=[each for each in whole.outcomes if not each.control]))
    assert told.best is not None
    assert told.best.number == 1
    assert "Whether trials keep to the limit on Compositional similarity cannot be told" in " ".join(told.words)


def test_without_a_limit_nothing_is_said_of_one(tmp_path: Path) -> None:
    told = gan_report.gan_report(replace(limited(tmp_path, 0.5, 0.4), limits=()))
    assert told.best is not None
    assert told.best.number == 1
    assert "Asked for" not in " ".join(told.words)
