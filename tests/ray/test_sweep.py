"""The main job: two commands, real crystals, a local Ray cluster, a real MLflow store."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from crystalsweep.config import override
from crystalsweep.evaluation.freezing import freeze
from crystalsweep.evaluation.settings import EvaluationSettings
from crystalsweep.networks.checkpoint import load_generator
from crystalsweep.tracking.tracker import sqlite_uri
from tests.ray.conftest import ROOT, Starter, query
from tests.ray.remains import kept, record, require_whole, runs

pytestmark = pytest.mark.slow


def client(store: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{store / 'mlflow.db'}")


def test_sweep_leaves_comparable_trials_that_can_be_judged(sweep: Starter, store: Path) -> None:
    first = sweep("gan_noise", store, "--num-samples", "3", "--keep-best", "2")
    assert first.wait() == 0, first.output
    keys = {f"{number:04d}-s0" for number in range(3)}
    require_whole(first.folder, keys, 2)
    assert [kept(first.folder, key).epochs() for key in sorted(keys)] == [[1, 2]] * 3
    trials = [run for (run,) in runs(first.folder).values()]
    for trial in trials:
        weight = float(trial.data.params["adversarial.w_wasserstein"])
        assert (
            trial.data.metrics["audit/adversarial_norm"] == 0 if weight == 0 else trial.data.metrics["audit/ratio"] > 0
        )
        for metric in ("structural_validity", "compositional_validity", "compositional_similarity", "masked_accuracy"):
            mean, low, high = (trial.data.metrics[f"val/{metric}{part}"] for part in ("", "/low", "/high"))
            assert low <= mean <= high
        tags = set(trial.data.tags)
        assert {
            "code_sha256",
            "git_sha",
            "git_dirty",
            "data_sha256",
            "split_sha256",
            "version.torch",
            "machine",
        } <= tags
        load_generator(Path(client(store).download_artifacts(trial.info.run_id, "checkpoint")))
    controls = [t for t in trials if float(t.data.params["adversarial.w_wasserstein"]) == 0]
    assert {t.data.params["corruption.sigma_noise"] for t in controls} == {"0.1", "0.2"}
    published = {artifact.path for artifact in client(store).list_artifacts(record(first.folder)["parent"])}
    assert {"report.html", "results.csv", "results.txt", "verdicts.csv", "learning_curves.png"} <= published
    told = ("The adversary", "ceiling", "identity", "beside its control", "What it means", "Where to look")
    for words in (*told, "mlflow ui", "workflowType=machine_learning", "ray job submit", "crystalsweep promote"):
        assert words in first.output
    assert "minus control" in (first.folder / "results.txt").read_text()
    assert (first.folder / "verdicts.csv").read_text().startswith("metric,a,b,")
    result = json.loads((first.folder / "result.json").read_text())
    assert result["conclusion"].startswith("The adversary") and result["best_run"] in {t.info.run_id for t in trials}
    best = first.output.partition("crystals in 3D")[2].split()[0]
    assert Path(best).name == "crystals.html" and Path(best).exists()

    suite = store / "small.json"
    settings = override(EvaluationSettings(), ["max_atoms=4", "energies.calculator=none", "protocol.max_crystals=10"])
    suite.write_text(freeze("small", "bundled", "test", settings).model_dump_json())
    promoted = subprocess.run(
        [
            *(sys.executable, "-m", "crystalsweep", "promote", trials[0].info.run_id, "--suite", str(suite)),
            *("--storage", str(store), "--tracking-uri", sqlite_uri(store), "--workers", "1"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert promoted.returncode == 3, promoted.stderr  # trained for seconds
    assert "NaCl restored from noise" in promoted.stdout
    assert not query(store, "select name from registered_models")


def test_another_sweep_of_the_gan_finds_the_prerequisites_of_the_first(sweep: Starter, store: Path) -> None:
    """On two workers each, which no prerequisite depends on."""
    if not query(store, "select 1 from runs where status = 'FINISHED' and name like 'finetune%'"):
        assert sweep("gan_noise", store, "--num-samples", "2").wait() == 0
    made = query(store, "select name, run_uuid from runs where name like 'pretrain%' or name like 'finetune%'")
    second = sweep("gd_ratio", store, "--num-samples", "2", "--workers-per-trial", "2")
    assert second.wait() == 0, second.output
    for stage in ("pretrain", "finetune"):
        assert f"{stage}: found in MLflow" in second.output
    assert made == query(store, "select name, run_uuid from runs where name like 'pretrain%' or name like 'finetune%'")
    require_whole(second.folder, {"0000-s0", "0001-s0"}, 2)
    used = record(second.folder)["prerequisites"]
    assert {str(found["run"]) for found in used.values()} == {str(run) for _, run in made}


@pytest.mark.long
def test_a_sweep_of_which_all_trials_fail_says_so(sweep: Starter, tmp_path: Path) -> None:
    started = sweep("w_pos", tmp_path, "--num-samples", "2", "--set", "learning_rate=1e30")
    assert started.wait() == 1
    (line,) = [line for line in started.output.splitlines() if line.startswith("Error: ")]
    assert "all 2 trainings failed, the first: " in line
    assert "lower learning_rate" in line
    assert {run.info.status for (run,) in runs(started.folder).values()} == {"FAILED"}
    assert query(tmp_path, "select 1 from runs where status = 'RUNNING'") == []


def test_dry_run_starts_nothing(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "sweeps" / "gan_noise.py"), "--preset", "smoke", "--dry-run"]
    ran = subprocess.run(
        [*command, "--storage", str(tmp_path / "none")], capture_output=True, text=True, check=True, timeout=120
    )
    assert "expected minutes" in ran.stdout
    for trial, sigma, weight in ((1, "0.1", "0"), (2, "0.2", "0"), (3, "0.1", "0.1")):
        assert re.search(rf"^\s+{trial}\s+{sigma}\s+{weight}$", ran.stdout, flags=re.MULTILINE), ran.stdout
    assert not (tmp_path / "none").exists()
