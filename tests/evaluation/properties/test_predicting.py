"""Properties of many crystals predicted on a cluster are those predicted here: real Ray, real processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from crystalsweep.cli.main import main
from crystalsweep.cli.predict import predict
from crystalsweep.data import load_bundled, write
from crystalsweep.evaluation.predicting import CRYSTALS_OF_A_PART, spread_predictions
from crystalsweep.inference.predicting import load_predictor

TARGETS = ("--target", "k_vrh", "--target", "e_above_hull<=0.1")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "finetune"
    asked = ["train", "finetune", "--preset", "smoke", *TARGETS, "--device", "cpu", "--out", str(folder)]
    ran = CliRunner().invoke(main, asked)
    assert ran.exit_code == 0, ran.output
    return folder


@pytest.mark.slow
def test_workers_predict_what_one_process_predicts(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    predictor = load_predictor(model / "checkpoint")
    crystals = [crystal for crystal in load_bundled("train") if len(crystal) <= 8][: 2 * CRYSTALS_OF_A_PART + 40]
    ready: list[int] = []
    spread = spread_predictions(predictor, crystals, 2, ready.append)
    assert sorted(ready) == [40, CRYSTALS_OF_A_PART, CRYSTALS_OF_A_PART]
    for name, here in predictor.predict(crystals).items():
        np.testing.assert_allclose(spread[name].value, here.value, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(spread[name].odds, here.odds, atol=1e-4)


def test_few_crystals_start_no_worker_whatever_address_is_set(
    model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # nobody listens there
    write(list(load_bundled("val"))[:3], tmp_path / "few.parquet")
    out = tmp_path / "p.csv"
    ran = CliRunner().invoke(predict, [str(tmp_path / "few.parquet"), "--model", str(model), "--out", str(out)])
    assert ran.exit_code == 0, ran.output
    assert len(pd.read_csv(out)) == 3
