"""`crystalsweep compare`: folders and MLflow runs, with verdicts; what cannot be compared is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from crystalsweep.evaluation.cli import compare
from crystalsweep.tracking import Tracker, sqlite_uri

Evaluate = Callable[..., Result]


@pytest.fixture(scope="module")
def truth(run_evaluate: Evaluate, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The true crystals, evaluated as if they were a model."""
    folder = tmp_path_factory.mktemp("truth") / "truth"
    assert run_evaluate("--checkpoint", "ceiling", "--out", folder).exit_code == 0
    return folder


def compared(*options: object) -> Result:
    return CliRunner().invoke(compare, [str(option) for option in options], catch_exceptions=False)


def test_the_truth_is_better_than_a_model_of_seconds(evaluation: Path, truth: Path, tmp_path: Path) -> None:
    ran = compared(evaluation, truth, "--out", tmp_path / "verdicts.csv")
    assert ran.exit_code == 0, ran.output
    frame = pd.read_csv(tmp_path / "verdicts.csv").set_index("metric")
    assert frame.loc[["compositional_similarity", "masked_accuracy", "match_rate"], "verdict"].eq("better").all()
    assert (frame["p_adjusted"] >= frame["p"]).all()
    assert "Holm" in ran.output


def test_an_evaluation_does_not_differ_from_itself(evaluation: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(evaluation, tmp_path / "copy")
    ran = compared(evaluation, copy, "--all-metrics", "--out", tmp_path / "verdicts.csv")
    assert ran.exit_code == 0, ran.output
    frame = pd.read_csv(tmp_path / "verdicts.csv")
    assert frame["verdict"].eq("not resolved").all()
    assert frame["p"].dropna().eq(1).all()


def test_other_metric_settings_are_refused(
    evaluation: Path, checkpoint: Path, run_evaluate: Evaluate, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    strict = ["--set", "metrics.composition.alloys=false"]
    assert run_evaluate("--checkpoint", checkpoint, "--out", other, *strict).exit_code == 0
    ran = compared(evaluation, other)
    assert ran.exit_code == 1
    assert "different settings" in ran.output


def test_other_versions_are_told(evaluation: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(evaluation, tmp_path / "copy"))
    content = json.loads((copy / "metrics.json").read_text())
    content["versions"]["smact"] = "3.0"
    (copy / "metrics.json").write_text(json.dumps(content))
    ran = compared(evaluation, copy)
    assert ran.exit_code == 0
    assert "other versions" in ran.output
    assert "smact" in ran.output


def test_one_evaluation_is_not_enough(evaluation: Path) -> None:
    ran = compared(evaluation)
    assert ran.exit_code == 1
    assert "two evaluations" in ran.output


def test_what_is_no_evaluation_is_refused(evaluation: Path, tmp_path: Path) -> None:
    ran = compared(evaluation, tmp_path)
    assert ran.exit_code == 1
    assert "crystalsweep evaluate" in ran.output


def test_runs_in_mlflow_are_compared_as_their_folders_are(
    checkpoint: Path, evaluation: Path, run_evaluate: Evaluate, tmp_path: Path
) -> None:
    storage = tmp_path / "store"
    storage.mkdir()
    uri = sqlite_uri(storage)
    runs = []
    for reference in (checkpoint, "ceiling"):
        folder = tmp_path / Path(str(reference)).name
        ran = run_evaluate("--checkpoint", reference, "--out", folder, "--tracking-uri", uri)
        assert ran.exit_code == 0, ran.output
        runs.append(ran.output.split("MLflow run: ")[1].split()[0])
    ran = compared(*runs, "--tracking-uri", uri, "--storage", storage)
    assert ran.exit_code == 0, ran.output
    assert "better" in ran.output
    logged = Tracker(uri).client.get_run(runs[0])
    assert logged.info.status == "FINISHED"
    expected = json.loads((evaluation / "metrics.json").read_text())["rows"]["pretrain"]["structural_validity"]["mean"]
    assert logged.data.metrics["evaluation/structural_validity"] == expected
    paths = {entry.path for entry in Tracker(uri).client.list_artifacts(runs[0], "evaluation")}
    assert {"evaluation/report.html", "evaluation/structures.parquet", "evaluation/plots"} <= paths
