"""The comparison of backbones, from its plan to MLflow."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from crystalsweep.networks.architectures import SIZES
from crystalsweep.networks.checkpoint import load_generator
from crystalsweep.sweeping.space.settings import configured
from crystalsweep.tracking.tags import PARENT
from crystalsweep.training.catalogue import PACE
from sweeps.backbones import BUDGETS, search_space
from tests.ray.conftest import PATIENCE, ROOT

NAMES = ("painn", "equiformer_v2")
INTERVAL = r"[\d.]+ \[[\d.]+, [\d.]+\]"


def compare(storage: Path, *options: str) -> str:
    """Output of the sweep, run as a user runs it."""
    command = [sys.executable, str(ROOT / "sweeps" / "backbones.py"), "--preset", "smoke", "--storage", str(storage)]
    ran = subprocess.run(
        [*command, "--backbones", ",".join(NAMES), *options],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.mark.parametrize("preset", BUDGETS)
def test_trials_differ_in_backbone_and_learning_rate_alone(preset: str) -> None:
    space = search_space(preset, ["batch_size=16"], backbones=list(SIZES), minutes=7.0)
    base = space.stages["pretrain"].model_dump(mode="json")
    for name in SIZES:
        config = configured("pretrain", base, {"backbone": name, "seed": 2}, space.choices)
        assert config.backbone == SIZES[name][preset]
        assert (config.seed, config.max_minutes, config.batch_size, config.schedule) == (2, 7.0, 16, "constant")
        same = config.model_copy(update={"backbone": SIZES["painn"][preset], "seed": 0})
        assert same.model_dump(mode="json") == base | {"learning_rate": base["learning_rate"] * PACE[name]}


def test_settings_reach_the_network_of_every_trial() -> None:
    networks = search_space("demo", ["layers=1"], backbones=["painn", "escn_md"], minutes=None).choices["backbone"]
    assert [meant["backbone"]["layers"] for meant in networks.values()] == [1, 1]


@pytest.mark.parametrize(
    ("preset", "settings", "message"),
    [
        ("dmo", [], "did you mean 'demo'"),
        ("paper", [], "give --minutes"),
        ("demo", ["seed=3"], "--seeds"),
        ("demo", ["lmax=1"], "unknown key 'lmax'"),
    ],
)
def test_what_cannot_be_compared_is_refused(preset: str, settings: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        search_space(preset, settings, backbones=list(SIZES), minutes=None)


@pytest.mark.slow
def test_dry_run_prints_the_plan_and_starts_nothing(tmp_path: Path) -> None:
    output = compare(tmp_path / "none", "--seeds", "2", "--dry-run")
    for trial, backbone in enumerate(NAMES, start=1):
        assert re.search(rf"^\s+{trial}\s+{backbone}$", output, flags=re.MULTILINE), output
    assert "each with 2 seeds: 4 trainings" in output
    for backbone in NAMES:
        assert f"[pretrain {backbone}]" in output
    assert "expected minutes" in output
    assert not (tmp_path / "none").exists()


@pytest.mark.long
def test_every_backbone_leaves_a_run_and_a_row(tmp_path: Path) -> None:
    output = compare(tmp_path, "--max-concurrent", "2")
    mlflow = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = mlflow.get_experiment_by_name("backbones").experiment_id
    (parent,) = mlflow.search_runs([experiment], "tags.`crystalsweep.kind` = 'sweep'")
    trials = mlflow.search_runs([experiment], f"tags.`{PARENT}` = '{parent.info.run_id}'")
    assert [run.info.status for run in (parent, *trials)] == ["FINISHED"] * 3
    assert parent.data.params["backbone"] == "painn, equiformer_v2"
    assert {(t.info.run_name, t.data.params["backbone.name"]) for t in trials} == {
        (f"pretrain {name} seed 0", f'"{name}"') for name in NAMES
    }
    for trial in trials:
        assert 0 < trial.data.metrics["training_minutes"] < trial.data.metrics["minutes"]
        generator = load_generator(Path(mlflow.download_artifacts(trial.info.run_id, "checkpoint")))
        assert trial.data.metrics["parameters"] == sum(weight.numel() for weight in generator.parameters())
    for name in NAMES:
        assert re.search(rf"^[★ ] +{name} +{INTERVAL} +39 ", output, flags=re.MULTILINE), output
    assert re.search(r"^- equiformer_v2 against painn after the same minutes: ", output, flags=re.MULTILINE), output
    for words in ("ceiling", "most common", "mlflow ui", "python sweeps/backbones.py"):
        assert words in output
    assert {"budget.png", "results.csv", "results.txt"} <= {a.path for a in mlflow.list_artifacts(parent.info.run_id)}
    verdicts = pd.read_csv(next(tmp_path.glob("sweeps/*/verdicts.csv")))
    compared = verdicts[["asked", "a", "b"]].drop_duplicates().to_numpy().tolist()
    assert compared == [["beside painn", "equiformer_v2", "painn"]]
    numbers = pd.read_csv(next(tmp_path.glob("sweeps/*/results.csv")))
    assert set(numbers["backbone"].dropna()) == set(NAMES)
