"""What finished sweeps say of differences between trials: paired, corrected together, never in its way."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crystalsweep.metrics.summary import METRICS
from sweeps._backbone_report import BackboneTrial, versus_table
from sweeps._engine import Outcome
from sweeps._gan_report import GanTrial, adversary_table
from sweeps._report import draw_trial
from trainables.restoration import TABLE


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
    return pd.DataFrame(keys).assign(
        n_atoms=4,
        n_masked=2,
        masked_correct=2 * restored,
        structural_validity=True,
        compositional_validity=np.random.default_rng(1).random(n) < 0.8,
        compositional_similarity=restored,
        structural_similarity=np.where(restored, np.random.default_rng(2).normal(0.5, 0.1, n), np.nan),
        given_composition=False,
    )


def outcome(folder: Path, name: str, table: pd.DataFrame) -> Outcome:
    (folder / name).mkdir()
    table.to_parquet(folder / name / TABLE)
    epochs = [{"epoch": 1.0, "loss": 2.0}, {"epoch": 2.0, "loss": 1.0}]
    kind = {"settings": {}, "status": "FINISHED", "metrics": {}, "history": epochs}
    return Outcome(trial=name, run=name, checkpoint=folder / name, **kind)


def arm(folder: Path, sigma: float, w: float, table: pd.DataFrame) -> GanTrial:
    name = f"{sigma}-{w}"
    return GanTrial(outcome=outcome(folder, name, table), name=name, sigma_noise=sigma, w_wasserstein=w)


def backbone(folder: Path, name: str, seed: int, table: pd.DataFrame) -> BackboneTrial:
    made = outcome(folder, f"{name}{seed}", table)
    return BackboneTrial(outcome=made, name=f"{name} seed {seed}", backbone=name, seed=seed)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_each_arm_is_held_against_the_control_of_its_sigma_and_all_are_corrected_together(tmp_path: Path) -> None:
    skills = {(0.1, 0.0): 0.6, (0.1, 1.0): 0.6, (0.2, 0.0): 0.3, (0.2, 10.0): 0.6}
    lines = adversary_table([arm(tmp_path, *at, scores(skill)) for at, skill in skills.items()]).splitlines()
    rows = [cells(line) for line in lines[4:14]]
    assert [row[:2] for row in rows] == [["0.1", "1"]] * 5 + [["0.2", "10"]] * 5
    assert [row[2] for row in rows[:5]] == [*(metric.title for metric in METRICS), "Masked accuracy"]
    assert {tuple(row[3:]) for row in rows[:5]} == {("+0.000 [+0.000, +0.000]", "1.0000", "not resolved")}
    assert [row[-1] for row in rows[5:]] == ["not resolved", "not resolved", "better", "not resolved", "better"]
    assert "Holm's correction for 10 comparisons" in lines[14]


def test_without_a_control_there_is_nothing_to_say(tmp_path: Path) -> None:
    assert adversary_table([arm(tmp_path, 0.1, 1.0, scores(0.5))]) == ""


@pytest.mark.parametrize("parents", [1, 2])
def test_too_few_crystals_do_not_stop_a_report(tmp_path: Path, parents: int) -> None:
    table = adversary_table([arm(tmp_path, 0.1, w, scores(0.5, parents)) for w in (0.0, 1.0)])
    assert ("too few crystals in common" in table) == (parents == 1)


def test_metrics_without_a_value_are_told_and_not_counted(tmp_path: Path) -> None:
    table = adversary_table([arm(tmp_path, 0.1, w, scores(0.0)) for w in (0.0, 1.0)])
    assert "Structural similarity     n = 0" in table
    assert "for 4 comparisons" in table


def test_backbones_are_paired_by_seed(tmp_path: Path) -> None:
    skills = {("painn", 0): 0.2, ("painn", 1): 0.6, ("escn_md", 0): 0.2, ("escn_md", 1): 0.6}
    table = versus_table([backbone(tmp_path, *at, scores(skill)) for at, skill in skills.items()])
    assert table.count("+0.000 [+0.000, +0.000]") == 5
    assert "2 training seeds per backbone" in table


def test_backbones_that_share_no_finished_seed_are_told_and_the_others_compared(tmp_path: Path) -> None:
    finished = (("painn", 0), ("equiformer_v2", 1), ("escn_md", 0))
    table = versus_table([backbone(tmp_path, *at, scores(0.5)) for at in finished])
    assert table.count("too few crystals in common") == 2
    assert "for 5 comparisons" in table


def test_backbones_of_which_few_rows_pair_are_noted(tmp_path: Path) -> None:
    finished = (("painn", 0), ("painn", 1), ("painn", 2), ("escn_md", 2))
    table = versus_table([backbone(tmp_path, *at, scores(0.5)) for at in finished])
    assert "escn_md and painn: only 320 of 960 rows have a partner." in table


def test_a_trial_is_drawn_beside_the_references(tmp_path: Path) -> None:
    trial = arm(tmp_path, 0.1, 1.0, scores(0.5))
    references = {"ceiling": scores(1.0).assign(structural_similarity=1.0), "identity": scores(0.0)}
    drawn = draw_trial(trial, ("epoch", "loss"), references, tmp_path / "plots")
    assert [path.name for path in drawn] == ["validity.png", "similarity.png", "training.png"]
    assert all(path.stat().st_size for path in drawn)
