"""`crystalsweep evaluate` of a property model: files, reproducibility, and data that is not the run's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from crystalsweep.cli.main import main
from crystalsweep.data import load_bundled, write
from crystalsweep.evaluation.interface import compare
from crystalsweep.evaluation.properties.outcome import read_property_outcome
from crystalsweep.structures.crystal import Crystal
from crystalsweep.tracking.tracker import sqlite_uri

NO_SERVER = {"MLFLOW_TRACKING_URI": None}


def run(*options: object) -> Result:
    return CliRunner().invoke(main, list(map(str, options)), env=NO_SERVER)


def small(part: str, n: int) -> list[Crystal]:
    return [c for c in load_bundled(part) if len(c) <= 8 and "e_above_hull" in c.labels][:n]  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("data")
    write(small("train", 120), folder / "train.parquet")
    write(
        [*small("test", 60), *[c for c in load_bundled("test") if "e_above_hull" not in c.labels][:5]],
        folder / "val.parquet",
    )
    return f"{folder / 'train.parquet'},{folder / 'val.parquet'}"


@pytest.fixture(scope="module")
def trained(data: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folders = []
    for seed in (0, 1):
        folder = tmp_path_factory.mktemp("runs") / "finetune"
        settings = ["--set", f"seed={seed}", "--set", "max_crystals=100", "--device", "cpu"]
        ran = run("train", "finetune", "--preset", "smoke", "--data", data, "--out", folder, *settings)
        assert ran.exit_code == 0, ran.output
        folders.append(folder)
    return folders[0], folders[1]


@pytest.fixture(scope="module")
def evaluated(data: str, trained: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluations") / "a"
    ran = run("evaluate", "--checkpoint", trained[0], "--scratch", trained[1], "--data", data, "--out", folder)
    assert ran.exit_code == 0, ran.output
    assert "of 60 labelled crystals. 5 without a label" in ran.output
    assert "composition only" in ran.output
    assert "from scratch: its settings are others: seed" in ran.output
    return folder


def test_the_folder_has_a_row_per_crystal_and_row(evaluated: Path) -> None:
    table = pd.read_csv(evaluated / "predictions.csv", keep_default_na=False)
    assert len(table) == 65 * 5
    assert set(table["label"]) == {"", "stable", "unstable"}
    outcome = read_property_outcome(evaluated)
    (found,) = outcome.targets.values()
    assert found.trained_on == 100  # the run's own sample
    own = table[(table["row"] == outcome.name) & (table["label"] != "")]
    accuracy = (own["label"] == own["prediction"]).mean()
    assert found.rows[outcome.name]["accuracy"].mean == pytest.approx(accuracy)
    assert "<img" in (evaluated / "report.html").read_text()


def test_the_same_twice_gives_the_same_files(
    data: str, trained: tuple[Path, Path], evaluated: Path, tmp_path: Path
) -> None:
    ran = run("evaluate", "--checkpoint", trained[0], "--scratch", trained[1], "--data", data, "--out", tmp_path / "b")
    assert ran.exit_code == 0, ran.output
    for name in ("metrics.json", "predictions.csv"):
        assert (tmp_path / "b" / name).read_bytes() == (evaluated / name).read_bytes()


def test_data_that_the_run_was_not_trained_on_needs_a_reference(
    data: str, trained: tuple[Path, Path], tmp_path: Path
) -> None:
    refused = run("evaluate", "--checkpoint", trained[0], "--out", tmp_path / "a")
    assert refused.exit_code == 1
    assert "baselines are fitted on the run's training crystals" in refused.output
    other = tmp_path / "other.parquet"
    write([*small("val", 20), *small("train", 3)], other)
    ran = run("evaluate", "--checkpoint", trained[0], "--data", other, "--reference", data, "--out", tmp_path / "b")
    assert ran.exit_code == 0, ran.output
    assert "3 of 23 crystals are among the training crystals, by id" in ran.output or "2 of 23" in ran.output


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--calculator", "chgnet"], "--calculator is of generators"),
        (["--name", "composition only"], "is what a row beside every model is called"),
    ],
)
def test_mistakes(options: list[str], told: str, data: str, trained: tuple[Path, Path], tmp_path: Path) -> None:
    ran = run("evaluate", "--checkpoint", trained[0], "--data", data, "--out", tmp_path / "x", *options)
    assert ran.exit_code == 1
    assert told in ran.output


def test_two_property_models_are_compared_crystal_by_crystal(
    data: str, trained: tuple[Path, Path], evaluated: Path, tmp_path: Path
) -> None:
    ran = run("evaluate", "--checkpoint", trained[1], "--data", data, "--out", tmp_path / "b", "--name", "other")
    assert ran.exit_code == 0, ran.output
    frame, notes = compare(evaluated, tmp_path / "b", all_metrics=True)
    assert set(frame["n"]) == {60}
    first, second = (read_property_outcome(folder) for folder in (evaluated, tmp_path / "b"))
    (row,) = frame[frame["metric"] == "e_above_hull<=0: ROC-AUC"].to_dict("records")
    means = [each.targets["e_above_hull<=0"].rows[each.name]["roc_auc"].mean for each in (first, second)]
    assert row["difference"] == pytest.approx(means[1] - means[0], abs=1e-6)  # type: ignore[operator]
    assert any("was trained on other crystals" in note for note in notes)  # another sample of max_crystals
    shown = run("compare", evaluated, tmp_path / "b")
    assert "Paired by crystal; 95 % intervals (uncorrected) and p values from a bootstrap over crystals" in shown.output
    assert "parents" not in shown.output
    itself, _ = compare(evaluated, shutil.copytree(evaluated, tmp_path / "c"))
    assert set(itself["verdict"]) == {"not resolved"}


def test_arms_of_several_seeds_are_compared_over_crystals_and_seeds(
    data: str, trained: tuple[Path, Path], evaluated: Path, tmp_path: Path
) -> None:
    second = tmp_path / "second"
    ran = run("evaluate", "--checkpoint", trained[1], "--data", data, "--out", second)
    assert ran.exit_code == 0, ran.output
    again = [shutil.copytree(folder, tmp_path / f"again-{folder.name}") for folder in (second, evaluated)]
    arms = [f"one={evaluated},{second}", f"other={again[0]},{again[1]}"]
    frame, _ = compare(*arms, all_metrics=True)
    assert set(frame["seeds"]) == {2}
    assert set(frame["n"]) == {60}
    accuracy = frame[frame["metric"] == "e_above_hull<=0: Accuracy"].iloc[0]
    assert accuracy["difference"] == pytest.approx(0)  # the same two trainings, the other way round
    seeds = [compare(evaluated, second, all_metrics=True)[0], compare(second, evaluated, all_metrics=True)[0]]
    of_seeds = [each[each["metric"] == "e_above_hull<=0: Accuracy"]["difference"].iloc[0] for each in seeds]
    assert accuracy["seed_deviation"] == pytest.approx(pd.Series(of_seeds).std())
    shown = run("compare", *arms)
    assert "over crystals and training seeds" in " ".join(shown.output.split())
    uneven = run("compare", arms[0], f"other={','.join(map(str, [*again, shutil.copytree(second, tmp_path / 'c')]))}")
    assert "give both as many" in uneven.output


def test_a_generator_is_not_compared_with_a_property_model(evaluated: Path, tmp_path: Path) -> None:
    (tmp_path / "gan").mkdir()
    (tmp_path / "gan" / "metrics.json").write_text('{"kind": "checkpoint"}')
    with pytest.raises(ValueError, match="predicts properties and gan restores crystals"):
        compare(evaluated, tmp_path / "gan")


def test_gates_of_a_model_that_learned_next_to_nothing(data: str, trained: tuple[Path, Path], tmp_path: Path) -> None:
    where = ("--storage", tmp_path, "--tracking-uri", sqlite_uri(tmp_path))
    judged = run("promote", trained[0], "--dry-run", "--trained-on", data, "--json", *where)
    assert judged.exit_code == 3, judged.output
    dossier = json.loads(judged.stdout)
    passed = {gate["name"]: all(check["passed"] for check in gate["checks"]) for gate in dossier["gates"]}
    assert passed == {"leakage": True, "gain": False}  # refused, and not run again
    assert dossier["targets"]["e_above_hull<=0"]["headline"] == "accuracy"
    assert dossier["model"] == "crystal-property-e_above_hull-le-0"
    unknown = run("promote", trained[0], "--dry-run", *where)
    assert unknown.exit_code == 1
    assert "name it with --trained-on" in unknown.output


@pytest.mark.server
def test_the_leaderboard_ranks_models_of_one_property(data: str, trained: tuple[Path, Path], tmp_path: Path) -> None:
    where = ("--tracking-uri", sqlite_uri(tmp_path))
    for name, folder in zip("ab", trained, strict=True):
        ran = run("evaluate", "--checkpoint", folder, "--data", data, "--name", name, "--out", tmp_path / name, *where)
        assert ran.exit_code == 0, ran.output
    board = ("leaderboard", "--target", "e_above_hull<=0.0", "--storage", tmp_path, *where)
    shown = run(*board, "--out", tmp_path / "board.html", "--csv", tmp_path / "board.csv")
    assert shown.exit_code == 0, shown.output
    assert "e_above_hull<=0: Accuracy on 60 labelled crystals" in shown.output
    assert "Rows were trained on different crystals" in " ".join(shown.output.split())
    told = json.loads(run(*board, "--json").stdout)
    own = {name: read_property_outcome(tmp_path / name).targets["e_above_hull<=0"].rows[name] for name in "ab"}
    assert [row["mean"] for row in told["rows"]] == sorted((own[n]["accuracy"].mean for n in "ab"), reverse=True)
    assert told["comparisons"] == 1
    assert {row["name"] for row in told["baselines"]} >= {"composition only", "nearest in structure"}
    assert len(pd.read_csv(tmp_path / "board.csv")) == 2 + len(told["baselines"])
    page = (tmp_path / "board.html").read_text()
    assert "composition only" in page
    assert "http" not in page.replace("http-equiv", "")
    other = run("leaderboard", "--target", "band_gap", "--storage", tmp_path, *where)
    assert "evaluations there are of e_above_hull<=0" in other.output
    assert "--metric is of generators" in run(*board, "--metric", "score").output
