"""Any label can be learnt, predicted with its interval, and evaluated beside what knows less."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from scipy.stats import norm
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score

import crystalsweep
from crystalsweep.cli.evaluate import evaluate
from crystalsweep.cli.predict import predict
from crystalsweep.cli.train import train
from crystalsweep.config import override
from crystalsweep.data import DataSet, load_data, write
from crystalsweep.data.target_values import require_labels, target_values
from crystalsweep.inference.predicting import columns_of_targets, load_predictor
from crystalsweep.inference.target_records import TargetRecord, read_targets
from crystalsweep.losses.properties import property_loss
from crystalsweep.metrics.calibration import calibration_error
from crystalsweep.metrics.conformal import conformal_quantile, halves
from crystalsweep.metrics.properties.baselines import BASELINES
from crystalsweep.metrics.property_scores import classification_scores, regression_scores
from crystalsweep.networks.architectures import PaiNNConfig
from crystalsweep.networks.checkpoint import read_info
from crystalsweep.structures.crystal import Crystal
from crystalsweep.structures.targets import target_of
from crystalsweep.tracking.tracker import Tracker, sqlite_uri
from crystalsweep.training.local import LocalSession
from crystalsweep.training.loop import fit
from trainables.finetune.config import FinetuneConfig
from trainables.finetune.train import build

BACKBONE = PaiNNConfig(width=16, layers=1, radial_functions=8, cutoff=4.0, max_neighbours=8)
TINY = FinetuneConfig(backbone=BACKBONE, batch_size=8, learning_rate=3e-3, epochs=2, max_atoms=8)


@pytest.fixture(scope="module")
def data() -> DataSet:
    """Bundled crystals that have a bulk modulus, and as many that have none."""
    whole = load_data("bundled")

    def some(part: str, n: int) -> list[Crystal]:
        small = [each for each in whole.part(part) if len(each) <= 8]  # type: ignore[arg-type]
        have = [each for each in small if "k_vrh" in each.labels][:n]
        return have + [each for each in small if "k_vrh" not in each.labels and "e_above_hull" in each.labels][:n]

    return replace(whole, train=some("train", 60), val=some("val", 40), test=some("test", 30))


def trained(data: DataSet, folder: Path, *settings: str) -> Path:
    session = LocalSession(folder, progress=False, device="cpu")
    fit(build(override(TINY, settings), data, session, {}), session)
    return folder / "checkpoint"


def doubled(crystal: Crystal) -> Crystal:
    """The same crystal in a cell twice as long."""
    shifted = [crystal.frac + np.array([shift, 0.0, 0.0]) for shift in (0, 1)]
    return Crystal.of(
        "double",
        np.tile(crystal.species, 2),
        crystal.lattice * np.array([[2.0], [1.0], [1.0]]),
        np.concatenate(shifted) / np.array([2.0, 1.0, 1.0]),
    )


# What is asked


@pytest.mark.parametrize(
    ("text", "name", "kind"),
    [
        ("k_vrh", "k_vrh", "regression"),
        (" log10( k_vrh )", "log10(k_vrh)", "regression"),
        ("e_above_hull <= 0.10", "e_above_hull<=0.1", "classification"),
        ("e_above_hull<=-1e-2", "e_above_hull<=-0.01", "classification"),
    ],
)
def test_a_target_is_written_in_one_way(text: str, name: str, kind: str) -> None:
    target = target_of(text)
    assert (target.name, target.kind) == (name, kind)
    assert target_of(target.name) == target


@pytest.mark.parametrize("text", ["", "a b", "k<5", "log(k)", "log10(k)<=1", "k<=", "k<=five"])
def test_what_is_no_target_is_told_what_one_is(text: str) -> None:
    with pytest.raises(ValueError, match="e_above_hull<=0"):
        target_of(text)


def test_values_are_labels_logarithms_and_answers(data: DataSet) -> None:
    known = [each for each in data.train if "k_vrh" in each.labels]
    labels = np.array([each.labels["k_vrh"] for each in known])
    assert target_values(known, target_of("k_vrh")) == pytest.approx(labels)
    assert target_values(known, target_of("log10(k_vrh)")) == pytest.approx(np.log10(labels))
    assert (target_values(known, target_of("k_vrh<=100")) == (labels <= 100)).all()
    assert np.isnan(target_values(data.train, target_of("k_vrh"))).sum() == len(data.train) - len(known)


def test_a_logarithm_of_what_has_none_names_the_crystals(data: DataSet) -> None:
    below = replace(data.train[0], id="odd-one", labels={"k_vrh": -3.0})
    with pytest.raises(ValueError, match=r"1 of 61 labels are not greater than 0, as of odd-one \(-3\)"):
        target_values([*data.train, below], target_of("log10(k_vrh)"))


def test_a_label_that_is_not_there_names_those_that_are(data: DataSet) -> None:
    with pytest.raises(
        ValueError, match=r"no train crystal has a label 'kvrh'; the labels there are: e_above_hull, .*k_vrh"
    ):
        require_labels(data.train, [target_of("kvrh")], "train")


# A question with one answer


@pytest.mark.parametrize(
    ("target", "told"),
    [
        (
            "k_vrh<=-5",
            "all 60 labelled training crystals answer no, for k_vrh is .* to .* there; ask with a threshold in",
        ),
        ("k_vrh<=9999", "all 60 labelled training crystals answer yes, .*; ask with a threshold in this range"),
        ("same<=1", "all 120 labelled training crystals answer no, for same is 3 in all; look at this column"),
        ("class(one)", "all 120 labelled training crystals answer a: .*; give crystals of another class too"),
    ],
)
def test_training_crystals_that_all_answer_alike_are_refused(
    target: str, told: str, data: DataSet, tmp_path: Path
) -> None:
    """Whatever is learnt of them has an accuracy of 1; a class that only validation crystals are of is not learnt."""

    def with_labels(crystals: Sequence[Crystal], name: str) -> list[Crystal]:
        return [replace(each, labels={**each.labels, "same": 3.0, f"one={name}": 1.0}) for each in crystals]

    labelled = replace(data, train=with_labels(data.train, "a"), val=with_labels(data.val, "b"))
    with pytest.raises(ValueError, match=f"^{re.escape(target)}: {told}"):
        trained(labelled, tmp_path, f'targets=["k_vrh", "{target}"]')


def test_validation_crystals_that_all_answer_alike_are_told(
    data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(LocalSession, "tell", lambda _, line: told.append(line))
    greatest = max(each.labels["k_vrh"] for each in data.train if "k_vrh" in each.labels)
    few = [replace(each, labels={"k_vrh": 2 * greatest}) for each in data.val]
    asked = ('targets=["k_vrh<=100"]', "epochs=1")
    trained(replace(data, val=few), tmp_path / "alike", *asked)
    (line,) = (each for each in told if "answer" in each)
    assert line.startswith(f"k_vrh<=100: all {len(few)} labelled validation crystals answer no;")
    told.clear()
    trained(data, tmp_path / "differing", *asked)
    assert not [each for each in told if "answer" in each]


# Losses and scores


def test_the_loss_leaves_out_what_is_not_labelled() -> None:
    answers = torch.tensor([[1.0], [2.0], [5.0]], requires_grad=True)
    wanted = torch.tensor([[0.0], [float("nan")], [1.0]])
    loss = property_loss(answers, wanted, "regression", "mse")
    assert float(loss) == pytest.approx((1 + 16) / 2)
    loss.backward()
    assert answers.grad is not None and answers.grad[1] == 0
    assert float(property_loss(answers, wanted, "regression", "l1")) == pytest.approx((1 + 4) / 2)
    assert float(property_loss(answers, wanted, "regression", "huber")) == pytest.approx((0.5 + 3.5) / 2)
    assert float(property_loss(answers, torch.full((3, 1), torch.nan), "regression", "mse")) == 0


def test_scores_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    probability = random.random(200)
    yes = (random.random(200) < probability).astype(float)
    found = classification_scores(yes, probability)
    called = probability >= 0.5
    assert found["auc"] == pytest.approx(roc_auc_score(yes, probability))
    assert found["f1"] == pytest.approx(f1_score(yes, called))
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(yes, called))
    assert found["daf"] == pytest.approx(found["precision"] / yes.mean())
    assert found["ece"] == calibration_error(probability, yes)


def test_what_is_undefined_is_nan_and_not_zero() -> None:
    one_class = classification_scores(np.ones(5), np.full(5, 0.7))
    assert math.isnan(one_class["auc"]) and math.isnan(one_class["average_precision"])
    constant = regression_scores(np.ones(5), np.arange(5.0))
    assert math.isnan(constant["r2"]) and math.isnan(constant["spearman"])
    assert math.isnan(regression_scores(np.arange(5.0), np.ones(5))["spearman"])


# Intervals that hold


def test_conformal_intervals_cover_what_they_say_on_average() -> None:
    """Over draws of the calibration crystals; a single draw may be off, as the binomial is."""
    random = np.random.default_rng(0)
    covered = []
    for _ in range(400):
        margin = conformal_quantile(np.abs(random.normal(size=50)), 0.9)
        covered.append(2 * norm.cdf(margin) - 1)
    assert np.mean(covered) == pytest.approx(46 / 51, abs=0.01)


def test_too_few_crystals_give_no_interval() -> None:
    assert conformal_quantile(np.arange(5.0), 0.9) == math.inf
    assert conformal_quantile(np.arange(9.0), 0.9) == 8
    first, second = halves(9, seed=0)
    assert sorted([*first, *second]) == list(range(9)) and len(first) == 5


# Training


def test_a_number_is_learnt_and_comes_back_in_its_own_unit(data: DataSet, tmp_path: Path) -> None:
    folder = trained(data, tmp_path, 'targets=["k_vrh"]', "epochs=40", "learning_rate=1e-2")
    metrics = read_info(folder).metrics
    known = [each for each in data.val if "k_vrh" in each.labels]
    found = load_predictor(folder).predict(known)["k_vrh"]
    labels = np.array([each.labels["k_vrh"] for each in known])
    assert np.abs(found.value - labels).mean() == pytest.approx(metrics["val/mae"], rel=1e-4)
    assert metrics["val/mae"] < 0.8 * metrics["val/mae_of_mean"]
    assert metrics["val/n"] == 40
    assert ((found.low <= found.value) & (found.value <= found.high)).all()


def test_several_targets_share_a_network_and_missing_labels_are_left_out(data: DataSet, tmp_path: Path) -> None:
    folder = trained(data, tmp_path, 'targets=["log10(k_vrh)", "e_above_hull<=0"]')
    records = read_targets(folder)
    assert [record.name for record in records] == ["log10(k_vrh)", "e_above_hull<=0"]
    assert records[0].trained_on == 60
    assert records[1].trained_on > 60
    metrics = read_info(folder).metrics
    assert metrics["val/log10(k_vrh)/n"] == 40
    assert metrics["val/e_above_hull<=0/n"] > 40
    found = load_predictor(folder).predict(data.test)
    assert (found["log10(k_vrh)"].value > 0).all()
    assert ((found["e_above_hull<=0"].value >= 0) & (found["e_above_hull<=0"].value <= 1)).all()


def test_the_same_seed_gives_the_same_file_and_resuming_goes_on_to_it(data: DataSet, tmp_path: Path) -> None:
    settings = ('targets=["k_vrh"]', "loss=huber")
    trained(data, tmp_path / "a", *settings)
    trained(data, tmp_path / "b", *settings)
    trained(data, tmp_path / "cut", *settings, "max_minutes=1e-9")
    session = LocalSession(tmp_path / "cut", progress=False, device="cpu", resume=True)
    fit(build(override(TINY, settings), data, session, {}), session)
    first, second, cut = (tmp_path / name for name in ("a", "b", "cut"))
    assert (first / "metrics.jsonl").read_text() == (second / "metrics.jsonl").read_text()
    assert (first / "metrics.jsonl").read_text() == (cut / "metrics.jsonl").read_text()
    for other in (second, cut):
        assert (first / "checkpoint/targets.json").read_bytes() == (other / "checkpoint/targets.json").read_bytes()


def test_a_sum_grows_with_the_cell_and_a_mean_does_not(data: DataSet, tmp_path: Path) -> None:
    crystal = next(each for each in data.test if 2 <= len(each) <= 4)
    double = doubled(crystal)
    for pooling in ("mean", "sum"):
        folder = trained(
            data, tmp_path / pooling, 'targets=["k_vrh"]', f"pooling={pooling}", "backbone.max_neighbours=500"
        )
        one, two = (load_predictor(folder).predict([each])["k_vrh"].value[0] for each in (crystal, double))
        assert two == pytest.approx(one * (2 if pooling == "sum" else 1), rel=1e-3)


def test_a_crystal_gets_the_same_answer_in_any_company(data: DataSet, tmp_path: Path) -> None:
    predictor = load_predictor(trained(data, tmp_path, 'targets=["k_vrh"]'))
    together = predictor.predict(data.test)["k_vrh"].value
    alone = [predictor.predict([each])["k_vrh"].value[0] for each in data.test[:5]]
    assert together[:5] == pytest.approx(alone, rel=1e-4)
    assert len(predictor.predict([])["k_vrh"].value) == 0


# A damaged or hostile checkpoint


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-20],
        lambda text: text.replace('"std": ', '"std": -'),
        lambda text: text.replace('"name": "k_vrh"', '"name": "k_vrh; rm"'),
        lambda text: text.replace('"mean"', '"mien"'),
        lambda text: '{"targets": []}',  # noqa: ARG005
    ],
)
def test_a_changed_targets_file_is_refused(change: object, data: DataSet, tmp_path: Path) -> None:
    folder = trained(data, tmp_path, 'targets=["k_vrh"]', "epochs=1")
    file = folder / "targets.json"
    file.write_text(change(file.read_text()))  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"targets\.json"):
        load_predictor(folder)
    (folder / "sums.json").unlink()  # as an older one has none
    with pytest.raises(ValueError):
        load_predictor(folder)


def test_a_generator_is_no_property_model() -> None:
    with pytest.raises(ValueError, match="train finetune"):
        load_predictor(Path(crystalsweep.__file__).parent / "champions" / "mp2018-painn")


# From the command line, on a column of one's own


METHANE = [[0.5, 0.5, 0.5], [0.55, 0.55, 0.55], [0.45, 0.45, 0.55], [0.45, 0.55, 0.45], [0.55, 0.45, 0.45]]


def test_a_users_own_column_from_training_to_predictions(
    data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for part in ("train", "val", "test"):
        mine = [
            replace(each, id=f"{part}-{i}", labels={"hardness": each.volume / len(each)})
            for i, each in enumerate(data.part(part))  # type: ignore[arg-type]
        ]
        write(mine, tmp_path / f"{part}.parquet")
    source = ",".join(str(tmp_path / f"{part}.parquet") for part in ("train", "val", "test"))
    tiny = [f"--set=backbone.{key}={value}" for key, value in BACKBONE.model_dump().items() if key in _SIZES]
    run = CliRunner().invoke
    made = ["finetune", "--preset", "smoke", "--target", "hardness", "--data", source, "--out", str(tmp_path / "run")]
    ran = run(train, [*made, "--set", "epochs=6", "--set", "max_crystals=null", *tiny])
    assert ran.exit_code == 0, ran.output
    assert "mae" in ran.output and "mae_of_mean" in ran.output
    told = run(
        predict, [str(tmp_path / "test.parquet"), "--model", str(tmp_path / "run"), "--out", str(tmp_path / "p.csv")]
    )
    assert told.exit_code == 0, told.output
    table = pd.read_csv(tmp_path / "p.csv")
    assert list(table.columns) == ["id", "hardness", "hardness low", "hardness high"]
    assert len(table) == len(data.test)
    assert "labelled crystals here: MAE" in told.output
    write([Crystal.of("methane", [6, 1, 1, 1, 1], 12 * np.eye(3), METHANE)], tmp_path / "box.extxyz")
    box = run(predict, [str(tmp_path / "box.extxyz"), "--model", str(tmp_path / "run")])
    assert "1 of 1 crystal is unlike those that the model learned from" in box.output, box.output
    about = json.loads((tmp_path / "p.json").read_text())
    assert about["targets"][0]["coverage"] == 0.9 and about["crystals"] == len(table)
    frame = crystalsweep.predict([data.test[0]], model=tmp_path / "run")
    assert frame["hardness"][0] == pytest.approx(table["hardness"][0], rel=1e-4)
    shown = run(evaluate, ["--checkpoint", str(tmp_path / "run"), "--data", source, "--out", str(tmp_path / "e")])
    assert shown.exit_code == 0, shown.output
    content = json.loads((tmp_path / "e" / "metrics.json").read_text())
    assert list(content["targets"]["hardness"]["rows"])[1:] == list(BASELINES["regression"])
    assert "data:image/png;base64," in (tmp_path / "e" / "report.html").read_text()
    first, store = (tmp_path / "e" / "metrics.json").read_bytes(), sqlite_uri(tmp_path)
    for _ in range(2):  # the same evaluation, which is logged once
        asked = ["--checkpoint", str(tmp_path / "run"), "--data", source, "--out", str(tmp_path / "e")]
        again = run(evaluate, [*asked, "--tracking-uri", store])
        assert again.exit_code == 0, (again.output, again.exception)
    assert (tmp_path / "e" / "metrics.json").read_bytes() == first
    client = Tracker(store).client
    (experiment,) = (each for each in client.search_experiments() if each.name == "evaluations")
    (logged,) = client.search_runs([experiment.experiment_id])
    (mae,) = (value for name, value in logged.data.metrics.items() if name.endswith("/mae"))
    assert math.isfinite(mae)


_SIZES = ("width", "layers", "radial_functions", "cutoff", "max_neighbours")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--target", "kvrh"], "the labels there are: e_above_hull"),
        (["--target", "k_vrh", "--target", "g_vrh", "--threshold", "3"], "--threshold is about one --target"),
        (["--target", "k_vrh", "--target", "k_vrh"], "each target once"),
        (["--target", "k vrh"], "none of: a label's name"),
        (["--target", "e_above_hull<=-5"], "e_above_hull<=-5: all 64 labelled training crystals answer no"),
    ],
)
def test_mistakes_are_told_in_a_line(arguments: list[str], told: str, tmp_path: Path) -> None:
    ran = CliRunner().invoke(train, ["finetune", "--preset", "smoke", "--out", str(tmp_path / "x"), *arguments])
    assert ran.exit_code == 1
    assert told in ran.output
    assert "Traceback" not in ran.output


def test_a_record_gives_labels_back() -> None:
    record = TargetRecord(name="log10(k_vrh)", mean=1.0, std=0.5, trained_on=3)
    values = np.array([0.5, 1.0, 2.0])
    assert record.label(record.scaled(values)) == pytest.approx(10**values)


def test_two_targets_of_one_label_have_columns_of_their_own() -> None:
    def columns(*names: str) -> list[list[str]]:
        records = [TargetRecord(name=name, mean=0.0, std=1.0, trained_on=3) for name in names]
        return [list(own) for own in columns_of_targets(records)]

    assert columns("k_vrh") == [["k_vrh", "k_vrh low", "k_vrh high"]]
    assert columns("k_vrh", "log10(k_vrh)", "g_vrh") == [
        ["k_vrh", "k_vrh low", "k_vrh high"],
        ["log10(k_vrh)", "log10(k_vrh) low", "log10(k_vrh) high"],
        ["g_vrh", "g_vrh low", "g_vrh high"],
    ]
