"""The best epoch by validation is kept, and training stops for want of a better one; both resume exactly."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from crystalsweep.artifacts.checkpoint_store import CheckpointStore
from crystalsweep.artifacts.kept import KEPT, KEPT_STEP, kept_row
from crystalsweep.artifacts.places import checkpoint_folder
from crystalsweep.cli.train import train
from crystalsweep.config import override
from crystalsweep.data import DataSet, load_data
from crystalsweep.networks.checkpoint import read_info, read_weights
from crystalsweep.sweeping.space.outcome import TrainingOutcome
from crystalsweep.training.best import best_epoch, patience_is_over
from crystalsweep.training.catalogue import preset, stage_builder
from crystalsweep.training.config import StageConfig
from crystalsweep.training.local import LocalSession
from crystalsweep.training.loop import early_end, fit
from crystalsweep.training.stored import StoredSession

TINY = ("epochs=5", "width=8", "layers=1", "batch_size=4", "max_crystals=8", "learning_rate=0.01")
EPOCHS = [0.3, 0.5, 0.4, 0.5, 0.2]
"""Scores that the tests pretend: best in the second epoch."""


@pytest.fixture(scope="module")
def data() -> DataSet:
    bundled = load_data("bundled")
    return replace(bundled, val=[crystal for crystal in bundled.val if len(crystal) < 6][:6])


def stage_of(data: DataSet, session: Any, *settings: str, scores: Sequence[float] = EPOCHS) -> Any:
    """A stage whose epochs score as told; all else of it is real."""
    stage = stage_builder("pretrain")(override(preset("pretrain", "smoke"), [*TINY, *settings]), data, session, {})
    begun = len(session.history())
    validate, left = stage.validate, iter(scores[begun:])
    stage.validate = lambda: {**validate(), "val/score": next(left)}
    return stage


def trained(
    folder: Path, data: DataSet, *settings: str, resume: bool = False, progress: bool = False, **pretend: Any
) -> Any:
    session = LocalSession(folder, resume=resume, device="cpu", progress=progress)
    stage = stage_of(data, session, *settings, **pretend)
    fit(stage, session)
    return stage


def rows(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def same(checkpoint: Path, other: Path) -> bool:
    ours, theirs = read_weights(checkpoint, "generator"), read_weights(other, "generator")
    tables = [(folder / "evaluation.parquet").read_bytes() for folder in (checkpoint, other)]
    return all(torch.equal(value, theirs[name]) for name, value in ours.items()) and tables[0] == tables[1]


# Which is best


def told(*values: float) -> list[dict[str, float]]:
    return [{"epoch": number, "val/score": value} for number, value in enumerate(values, start=1)]


@pytest.mark.parametrize(
    ("values", "mode", "expected"),
    [
        ((0.1, 0.3, 0.2), "max", 2),
        ((0.1, 0.3, 0.2), "min", 1),
        ((0.3, 0.3, 0.1), "max", 1),
        ((math.nan, 0.1), "max", 2),
        ((math.nan, math.nan), "min", 1),
    ],
)
def test_best_epoch_is_the_earliest_of_the_best(values: tuple[float, ...], mode: str, expected: int) -> None:
    assert best_epoch(told(*values), StageConfig.model_validate({"best_mode": mode})) == expected


@pytest.mark.parametrize(
    ("metric", "better"),
    [
        ("val/score", "max"),
        ("val/loss", "min"),
        ("loss/adversarial", "min"),
        ("val/k_vrh/mae", "min"),
        ("val/e_above_hull/balanced_accuracy", "max"),
        ("val/formation_energy_per_atom/spearman", "max"),
        ("val/score_error/auc/low", "max"),
        ("val/high_noise/structural_validity", "max"),
    ],
)
def test_a_metric_is_better_as_its_name_says(metric: str, better: str) -> None:
    assert StageConfig(best_by=metric, keep_best=True).better == better
    other = "min" if better == "max" else "max"
    assert StageConfig.model_validate({"best_by": metric, "best_mode": other, "keep_best": True}).better == other


def test_a_metric_of_which_nothing_tells_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match=r"best_by=val/acuracy: .* set best_mode=max or best_mode=min too"):
        StageConfig(best_by="val/acuracy", keep_best=True)
    assert StageConfig(best_by="val/pairs", best_mode="max", keep_best=True).better == "max"


def test_patience_counts_epochs_since_the_best() -> None:
    config = StageConfig(patience=2)
    over = [patience_is_over(told(*EPOCHS[:n]), config) for n in range(6)]
    assert over == [False, False, False, False, True, True]
    assert not patience_is_over(told(*EPOCHS), StageConfig())


def test_kept_row_is_the_last_unless_another_is_named() -> None:
    assert kept_row([]) == {}
    assert kept_row(told(0.1, 0.2)) == {"epoch": 2, "val/score": 0.2}
    history = [{**row, KEPT: 1} for row in told(0.4, 0.2)]
    assert kept_row(history)["val/score"] == 0.4


def test_a_metric_that_is_not_there_is_told(data: DataSet, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"best_by is 'val/my_score'.* did you mean 'val/score'"):
        trained(tmp_path, data, "best_by=val/my_score", "keep_best=true")


# What is kept


def test_checkpoint_has_weights_and_table_of_the_best_epoch(data: DataSet, tmp_path: Path) -> None:
    trained(tmp_path / "best", data, "keep_best=true")
    trained(tmp_path / "second", data, "epochs=2")
    trained(tmp_path / "last", data)
    best, second, last = (tmp_path / name / "checkpoint" for name in ("best", "second", "last"))
    assert same(best, second)
    assert not same(best, last)
    info = read_info(best)
    assert (info.epoch, info.kept_epoch) == (5, 2)
    assert info.kept_step * 5 == info.step * 2, "every epoch makes as many steps"
    assert (read_info(last).kept_epoch, read_info(last).kept_step) == (5, info.step)
    found = rows(tmp_path / "best")
    assert [row.pop(KEPT) for row in found] == [1, 2, 2, 2, 2]
    assert [row.pop(KEPT_STEP) for row in found] == [found[epoch - 1]["step"] for epoch in (1, 2, 2, 2, 2)]
    assert found == rows(tmp_path / "last")  # what it trains on is the last epoch's
    assert {path.name for path in best.iterdir()} == {path.name for path in last.iterdir()}


@pytest.mark.parametrize("more", [(), ("ema_decay=0.9",)])
@pytest.mark.parametrize("cut", [1, 3])
def test_interrupted_run_resumes_to_the_same_bytes(
    data: DataSet, tmp_path: Path, more: tuple[str, ...], cut: int
) -> None:
    """Cut before the best epoch, and after it, where the checkpoint's weights are not those to go on with."""
    settings = ("keep_best=true", *more)
    whole = trained(tmp_path / "whole", data, *settings)
    with pytest.raises(StopIteration):
        trained(tmp_path / "cut", data, *settings, scores=EPOCHS[:cut])
    resumed = trained(tmp_path / "cut", data, *settings, resume=True)
    assert (tmp_path / "whole" / "metrics.jsonl").read_bytes() == (tmp_path / "cut" / "metrics.jsonl").read_bytes()
    assert same(tmp_path / "whole" / "checkpoint", tmp_path / "cut" / "checkpoint")
    for ours, theirs in (
        (whole.models["generator"], resumed.models["generator"]),
        (whole.evaluated("generator"), resumed.evaluated("generator")),
    ):
        state = theirs.state_dict()
        assert all(torch.equal(value, state[key]) for key, value in ours.state_dict().items())


def test_a_store_has_the_best_in_its_latest(data: DataSet, tmp_path: Path) -> None:
    """Whatever epochs it frees: sweeps, MLflow and later stages take the latest."""
    reported: list[bool] = []
    store = CheckpointStore(tmp_path / "store")
    session = StoredSession(store, torch.device("cpu"), lambda _, last: reported.append(last))
    fit(stage_of(data, session, "keep_best=true"), session)
    trained(tmp_path / "second", data, "epochs=2")
    assert store.epochs() == [5]
    assert same(checkpoint_folder(tmp_path / "store"), tmp_path / "second" / "checkpoint")
    assert reported == [False] * 4 + [True]
    outcome = TrainingOutcome(
        number=0, seed=0, key="0000-s0", state="complete", reason="", settings={}, control=False, run="",
        history=store.history(), checkpoint=store.fetch(5), seconds=1.0,
    )  # fmt: skip
    assert (outcome.metrics["epoch"], outcome.metrics["val/score"]) == (2, 0.5)


# When it stops


def test_training_stops_when_patience_is_over(data: DataSet, tmp_path: Path) -> None:
    trained(tmp_path / "whole", data)
    trained(tmp_path / "stopped", data, "patience=2")
    assert rows(tmp_path / "stopped") == rows(tmp_path / "whole")[:4]


def test_why_a_training_ends_early_is_told(data: DataSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained(tmp_path / "stopped", data, "patience=1", progress=True)
    assert "stopped after epoch 3 of 5: val/score is best after epoch 2 (patience=1)" in capsys.readouterr().out
    trained(tmp_path / "stopped", data, "patience=1", resume=True, progress=True)
    assert "not trained on: val/score is best after epoch 2" in capsys.readouterr().out
    trained(tmp_path / "short", data, "max_minutes=0.0001", progress=True)
    assert "stopped after epoch 1 of 5: max_minutes=0.0001 is over" in capsys.readouterr().out
    trained(tmp_path / "whole", data, progress=True)
    assert "stopped" not in capsys.readouterr().out


def test_why_a_run_ended_early_is_known_of_its_epochs() -> None:
    """As the driver of a run on Ray has them, whose workers log elsewhere."""
    config = StageConfig(epochs=5, max_minutes=2, patience=1)
    assert early_end(config, told(0.3, 0.4)) == "max_minutes=2 is over"
    assert early_end(config.model_copy(update={"max_minutes": None}), told(0.4, 0.3)).startswith(
        "val/score is best after"
    )
    assert early_end(config, told(*EPOCHS)) == early_end(config, []) == ""


def test_a_stopped_run_stays_stopped_and_goes_on_with_more_patience(data: DataSet, tmp_path: Path) -> None:
    trained(tmp_path / "whole", data)
    trained(tmp_path / "stopped", data, "patience=1")
    assert len(rows(tmp_path / "stopped")) == 3
    trained(tmp_path / "stopped", data, "patience=1", resume=True)
    assert len(rows(tmp_path / "stopped")) == 3
    trained(tmp_path / "stopped", data, "patience=9", resume=True)
    assert rows(tmp_path / "stopped") == rows(tmp_path / "whole")


def test_patience_that_was_interrupted_is_the_same(data: DataSet, tmp_path: Path) -> None:
    with pytest.raises(StopIteration):
        trained(tmp_path, data, "patience=2", scores=EPOCHS[:3])
    trained(tmp_path, data, "patience=2", resume=True)
    assert len(rows(tmp_path)) == 4


def test_the_command_line_says_which_epoch_is_kept(tmp_path: Path) -> None:
    small = ("epochs=2", "max_crystals=4", "max_atoms=3", "width=8", "layers=1", "keep_best=true")
    settings = [part for setting in small for part in ("--set", setting)]
    result = CliRunner().invoke(train, ["finetune", "--preset", "smoke", *settings, "--out", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    kept = rows(tmp_path / "run")[-1][KEPT]
    assert f"kept: epoch {kept} of 2, the best by val/loss" in result.output
    losses = [row["val/loss"] for row in rows(tmp_path / "run")]
    assert losses[kept - 1] == min(losses)
