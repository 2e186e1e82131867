"""The sweep of fine-tuning, run as a user runs it: arms over data sizes, a curve, a verdict, and MLflow."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from mlflow import MlflowClient

from crystalsweep.inference.predicting import load_predictor
from crystalsweep.tracking.tags import PARENT
from sweeps.finetune import ARMS, main, search_space
from tests.ray.conftest import PATIENCE, ROOT


@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        ("--shares", "0,1", "greater than 0"),
        ("--shares", "half", "1/8,1/2,1"),
        ("--learning-rates", "-1", "greater than 0"),
        ("--target", "a<b", "none of"),
        ("--objective", "score", "it is judged by predictions; give error"),
        ("--set", "trainable=head", "what this sweep varies"),
        ("--set", 'targets=["k_vrh"]', "what this sweep varies"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_a_line(option: str, text: str, message: str) -> None:
    ran = CliRunner().invoke(main, [option, text, "--dry-run"])
    assert ran.exit_code
    assert message in ran.output


def test_the_control_learns_from_as_many_crystals_and_differs_in_its_start_alone() -> None:
    space = search_space("demo", [], backbone="painn", target="k_vrh", shares=[0.5, 1.0], learning_rates=[1.0])
    assert [point["train_share"] for point in space.controls] == [0.5, 1.0]
    assert {point["arm"] for point in space.controls} == {"from scratch"}
    assert not space.stages["pretrain"].stable_only  # files may know no hull, and the page says that it sees all
    pretrained, _, scratch = ARMS.values()
    assert {key for key in scratch if scratch[key] != pretrained[key]} == {"from_scratch"}


@pytest.mark.slow
def test_arms_over_data_sizes_end_in_a_curve_and_a_verdict(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "sweeps" / "finetune.py"), "--preset", "smoke", "--shares", "1/4,1"]
    ran = subprocess.run(
        [*command, "--start-from", "scratch", "--storage", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env={key: value for key, value in os.environ.items() if key not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")},
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    said = re.sub(r"\s+", " ", ran.stdout)
    assert "6 of 6 trainings completed" in said
    assert re.search(r"labelled crystals( or fewer)? do what 64 do from scratch|No saving of labels was shown", said), (
        said
    )
    assert "against from scratch, by number of labelled training crystals" in said
    mlflow = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = mlflow.get_experiment_by_name("finetune").experiment_id
    (parent,) = mlflow.search_runs([experiment], "tags.`crystalsweep.kind` = 'sweep'")
    trials = mlflow.search_runs([experiment], f"tags.`{PARENT}` = '{parent.info.run_id}'")
    assert [run.info.status for run in (parent, *trials)] == ["FINISHED"] * 7
    assert {"data_size.png", "report.html", "results.csv", "verdicts.csv"} <= {
        artifact.path for artifact in mlflow.list_artifacts(parent.info.run_id)
    }
    numbers = pd.read_csv(next(tmp_path.glob("sweeps/*/results.csv")))
    assert sorted(numbers["training_crystals"]) == [16] * 3 + [64] * 3
    assert numbers[["error", "error, composition only"]].notna().all(axis=None)
    scratch = next(run for run in trials if run.data.params["from_scratch"] == "true")
    folder = Path(mlflow.download_artifacts(scratch.info.run_id, "checkpoint"))
    (record,) = load_predictor(folder).records
    assert record.name == "formation_energy_per_atom"
    assert record.trained_on in (16, 64)
