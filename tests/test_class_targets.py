"""Classes as targets: read from a file, learnt, predicted with a set of classes, and evaluated beside baselines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from crystalsweep.cli.evaluate import evaluate
from crystalsweep.cli.predict import predict
from crystalsweep.cli.train import train
from crystalsweep.data import DataError, read, write
from crystalsweep.data.bundled import load_bundled
from crystalsweep.data.classes import class_values, classes_of
from crystalsweep.data.labels import has_label
from crystalsweep.inference.predicting import load_predictor
from crystalsweep.inference.target_records import TargetRecord
from crystalsweep.structures.crystal import Crystal
from crystalsweep.structures.targets import target_of

NAMES = ("gas", "metal", "other")


def family(crystal: Crystal) -> str:
    """A class that the composition decides, of three."""
    heaviest = int(crystal.species.max())
    return NAMES[0] if heaviest < 30 else NAMES[1] if heaviest < 57 else NAMES[2]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Crystals with a column of texts; every tenth cell is empty."""
    folder = tmp_path_factory.mktemp("classes")
    crystals = [replace(each, labels={}) for each in load_bundled() if len(each) <= 6][:200]
    write(crystals, folder / "plain.parquet")
    table = pd.read_parquet(folder / "plain.parquet")
    table["class(family)"] = [None if i % 10 == 0 else family(each) for i, each in enumerate(crystals)]
    table["class(heavy)"] = [bool(each.species.max() > 40) for each in crystals]
    table.to_parquet(folder / "mine.parquet")
    return folder / "mine.parquet"


def test_texts_and_booleans_are_read_as_classes(file: Path, tmp_path: Path) -> None:
    crystals = read(file).crystals
    assert classes_of([crystals], "family") == NAMES
    assert classes_of([crystals], "heavy") == ("false", "true")
    found = class_values(crystals, "family", NAMES)
    expected = [np.nan if i % 10 == 0 else NAMES.index(family(each)) for i, each in enumerate(crystals)]
    assert np.array_equal(found, expected, equal_nan=True)
    assert (has_label(crystals, "family") == ~np.isnan(expected)).all()
    write(crystals, tmp_path / "again.parquet")  # as columns of ones, `family=gas`
    again = class_values(read(tmp_path / "again.parquet").crystals, "family", NAMES)
    assert np.array_equal(again, found, equal_nan=True)


def test_a_csv_has_classes_too(tmp_path: Path) -> None:
    cif = Path("docs/examples/NaCl.cif")
    text = (Path(__file__).parents[1] / cif).read_text()
    rows = {"id": ["a", "b", "c"], "cif": [text] * 3, "class(magnetic)": ["True", "false", ""], "k": [1.0, 2.0, 3.0]}
    pd.DataFrame(rows).to_csv(tmp_path / "mine.csv", index=False)
    crystals = read(tmp_path / "mine.csv").crystals
    assert [dict(each.labels) for each in crystals] == [
        {"k": 1, "magnetic=true": 1},
        {"k": 2, "magnetic=false": 1},
        {"k": 3},
    ]


def test_more_classes_than_can_be_learnt_are_refused(file: Path, tmp_path: Path) -> None:
    table = pd.read_parquet(file)
    table["class(family)"] = [f"x{i}" for i in range(len(table))]
    table.to_parquet(tmp_path / "many.parquet")
    with pytest.raises(DataError, match=r"class\(family\) has more than 64 different classes"):
        read(tmp_path / "many.parquet")


def test_a_crystal_of_two_classes_or_a_strange_one_is_named() -> None:
    one = Crystal.of("one", [11], np.eye(3) * 4, [[0, 0, 0]])
    both, strange = (
        replace(one, id="both", labels={"o=a": 1.0, "o=b": 1.0}),
        replace(one, id="odd", labels={"o=c": 1.0}),
    )
    with pytest.raises(ValueError, match="1 crystal is of two classes, as both"):
        class_values([one, both], "o", ("a", "b"))
    with pytest.raises(ValueError, match="none of a, b: c, as odd"):
        class_values([one, strange], "o", ("a", "b"))


@pytest.mark.parametrize("classes", [(), ("a",), ("a", "a")])
def test_a_record_of_fewer_than_two_classes_is_refused(classes: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="with the classes"):
        TargetRecord(name="class(o)", mean=0, std=1, trained_on=1, classes=classes)
    with pytest.raises(ValueError, match="with the classes"):
        TargetRecord(name="o", mean=0, std=1, trained_on=1, classes=("a", "b"))


def test_classes_are_learnt_predicted_and_evaluated(file: Path, tmp_path: Path) -> None:
    """As a user does it: from a file with a column of texts to a table of predictions and an evaluation."""
    run, sizes = tmp_path / "run", ("epochs=12", "width=16", "layers=1", "batch_size=16", "learning_rate=0.01")
    options = ["--preset", "smoke", "--data", str(file), "--target", "class(family)", "--out", str(run)]
    settings = [part for size in (*sizes, "max_crystals=null") for part in ("--set", size)]
    trained = CliRunner().invoke(train, ["finetune", *options, *settings], catch_exceptions=False)
    assert trained.exit_code == 0, trained.output
    predictor = load_predictor(next(run.rglob("targets.json")).parent)
    (record,) = predictor.records
    assert record.target == target_of("class(family)")
    assert record.classes == NAMES
    assert sum(record.counts) == record.trained_on > 0
    out = tmp_path / "predictions.csv"
    asked = CliRunner().invoke(predict, [str(file), "--model", str(run), "--out", str(out)], catch_exceptions=False)
    assert asked.exit_code == 0, asked.output
    assert "are of the commonest class" in asked.output
    table = pd.read_csv(out, keep_default_na=False)
    assert list(table.columns) == ["id", "family", "family probability", "family set"]
    assert set(table["family"]) <= set(NAMES)
    assert ((table["family probability"] > 1 / 3) & (table["family probability"] <= 1)).all()
    crystals = read(file).crystals
    known = has_label(crystals, "family")
    right = (table["family"].to_numpy() == np.array([family(each) for each in crystals]))[known]
    assert right.mean() > 0.7
    folder = tmp_path / "evaluation"
    judged = CliRunner().invoke(
        evaluate, ["--checkpoint", str(run), "--data", str(file), "--out", str(folder)], catch_exceptions=False
    )
    assert judged.exit_code == 0, judged.output
    assert "gas or metal or other" in judged.output
    assert "composition only" in judged.output
    page = (folder / "report.html").read_text()
    assert "Confusion matrices" in page


def test_a_class_that_is_asked_for_as_a_number_says_how_to_ask(file: Path, tmp_path: Path) -> None:
    options = [
        "finetune",
        "--preset",
        "smoke",
        "--data",
        str(file),
        "--target",
        "family",
        "--out",
        str(tmp_path / "run"),
    ]
    ran = CliRunner().invoke(train, options)
    assert ran.exit_code
    assert "ask for class(family)" in ran.output
