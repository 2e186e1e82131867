"""A finished sweep whose ledger is damaged, gone, or held: what has ended stays ended, also in MLflow's store."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.ray.conftest import Starter
from tests.ray.remains import histories, known, query_runs, require_whole, trials

pytestmark = pytest.mark.long

KEYS = {"0000-s0", "0001-s0"}
EPOCHS = 2


def lose_the_file(folder: Path) -> None:
    (folder / "study.db").write_bytes(b"x" * 100 + (folder / "study.db").read_bytes()[100:])


def lose_the_copy_too(folder: Path) -> None:
    (folder / "study.db").unlink()
    (folder / "study.copy.db").unlink()


def lose_all_but_checkpoints(folder: Path) -> None:
    lose_the_copy_too(folder)
    for name in ("trainings", "histories"):
        shutil.rmtree(folder / name)


def left(folder: Path) -> list[Any]:
    """Of each trial what a report needs."""
    return [(t.number, t.state, t.values, t.params, t.user_attrs["settings"]) for t in trials(folder)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    starter = Starter(tmp_path_factory.mktemp("logs"))
    storage = tmp_path_factory.mktemp("store")
    settings = ("--set", f"epochs={EPOCHS}", "--set", "max_crystals=32")
    ran = starter("w_pos", storage, "--num-samples", "2", *settings)
    assert ran.wait() == 0, ran.output
    require_whole(ran.folder, KEYS, EPOCHS)
    return ran.folder


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lose_the_file, "again what it was when a training ended last"),
        (lose_the_copy_too, "2 trainings had ended"),
        (lose_all_but_checkpoints, "2 trainings had ended"),
    ],
)
def test_what_has_ended_is_neither_trained_nor_written_again(
    finished: Path, sweep: Starter, damage: Callable[[Path], None], words: str
) -> None:
    before, runs = left(finished), query_runs(finished)
    curves = {key: known(finished, key)["curve"] for key in KEYS}
    damage(finished)
    resumed = sweep("w_pos", finished.parents[1], "--resume", "latest")
    assert resumed.wait() == 0, resumed.output
    assert words in resumed.output
    assert f"epoch {EPOCHS}/{EPOCHS}" not in resumed.output
    assert left(finished) == before
    assert {key: known(finished, key)["curve"] for key in KEYS} == curves
    assert query_runs(finished) == runs
    assert len(histories(finished)) in (0, len(KEYS))


def test_a_held_ledger_ends_in_a_line_and_leaves_mlflow_alone(finished: Path, sweep: Starter) -> None:
    runs = query_runs(finished, parent=True)
    with closing(sqlite3.connect(finished / "study.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        refused = sweep("w_pos", finished.parents[1], "--resume", "latest")
        assert refused.wait() == 1
    (line,) = refused.output.splitlines()
    assert line.startswith("Error: the ledger ")
    assert line.endswith(f"such as optuna-dashboard: end that, then --resume {finished.name}")
    assert query_runs(finished, parent=True) == runs


def test_a_finished_run_stays_so_where_nothing_tells_of_its_training(finished: Path, sweep: Starter) -> None:
    """It is trained again, for its checkpoints are gone; its run in MLflow tells what was."""
    runs = query_runs(finished)
    lose_the_copy_too(finished)
    for name in ("trainings", "histories"):
        shutil.rmtree(finished / name, ignore_errors=True)
    shutil.rmtree(finished / "checkpoints" / "0001-s0")
    resumed = sweep("w_pos", finished.parents[1], "--resume", "latest")
    assert resumed.wait() == 0, resumed.output
    assert "0001-s0" in resumed.output
    assert "pretrain 0000-s0" not in resumed.output
    assert query_runs(finished) == runs
