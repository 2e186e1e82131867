"""Runs kept in a checkpoint store: the same numbers as alone, also after a kill, and told epoch by epoch."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from crystalsweep.artifacts.checkpoint_store import CheckpointStore, StorageError
from crystalsweep.artifacts.sums import write_sums
from crystalsweep.config import override
from crystalsweep.data import load_data
from crystalsweep.networks.checkpoint import read_info, read_weights
from crystalsweep.training.catalogue import preset, stage_builder
from crystalsweep.training.config import StageConfig
from crystalsweep.training.local import LocalSession, train_here
from crystalsweep.training.loop import DivergedError, fit
from crystalsweep.training.records import recorded
from crystalsweep.training.stored import StoredRun, StoredSession

SMOKE = override(preset("pretrain", "smoke"), ["epochs=4"])
CPU = torch.device("cpu")

Told = list[tuple[dict[str, float], bool]]


def trained(store: CheckpointStore, config: StageConfig = SMOKE) -> Told:
    """What a run in the store tells as it goes to its end."""
    told: Told = []
    session = StoredSession(store, CPU, lambda metrics, last: told.append((metrics, last)))
    fit(stage_builder("pretrain")(config, load_data("bundled"), session, {}), session)
    return told


def untimed(rows: list[dict[str, float]]) -> list[str]:
    """As text, in which NaN is equal to NaN."""
    return [
        json.dumps({k: float(v) for k, v in row.items() if not k.startswith("time/")}, sort_keys=True) for row in rows
    ]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the same run by `LocalSession`."""
    folder = tmp_path_factory.mktemp("alone")
    train_here("pretrain", SMOKE, load_data("bundled"), {}, LocalSession(folder, device="cpu", progress=False))
    return folder


def assert_same_run(store: CheckpointStore, alone: Path) -> None:
    assert untimed(store.history()) == untimed(recorded(alone))
    latest = store.latest()
    assert latest is not None
    ours, theirs = (read_weights(path, "generator") for path in (store.fetch(latest), alone / "checkpoint"))
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())


def test_a_stored_run_gives_the_numbers_of_a_local_one(alone: Path, tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, metric="val/score")
    told = trained(store)
    assert_same_run(store, alone)
    assert [(row["epoch"], last) for row, last in told] == [(1, False), (2, False), (3, False), (4, True)]
    assert untimed([row for row, _ in told]) == untimed(store.history())
    assert all(type(value) is float for row, _ in told for value in row.values())
    scores = [row["val/score"] for row, _ in told]
    assert store.best() == 1 + scores.index(max(scores))


RUN = """
import sys
from pathlib import Path
import torch
from crystalsweep.artifacts.checkpoint_store import CheckpointStore
from crystalsweep.config import override
from crystalsweep.data import load_data
from crystalsweep.training.catalogue import preset, stage_builder
from crystalsweep.training.loop import fit
from crystalsweep.training.stored import StoredSession

session = StoredSession(
    CheckpointStore(sys.argv[1]), torch.device("cpu"), lambda metrics, last: print(metrics["epoch"], flush=True)
)
config = override(preset("pretrain", "smoke"), ["epochs=4"])
fit(stage_builder("pretrain")(config, load_data("bundled"), session, {}), session)
"""


@pytest.mark.server
def test_a_killed_run_goes_on_to_the_same_numbers(alone: Path, tmp_path: Path) -> None:
    """Killed while the upload of its second epoch is wherever it is."""
    process = subprocess.Popen([sys.executable, "-c", RUN, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert [process.stdout.readline() for _ in range(2)] == ["1.0\n", "2.0\n"]
    process.send_signal(signal.SIGKILL)
    process.wait()
    store = CheckpointStore(tmp_path)
    assert store.latest() in (1, 2)
    trained(store)
    assert_same_run(store, alone)


@pytest.mark.parametrize("kept", [1, 2, 3])
def test_a_run_cut_after_any_epoch_goes_on_to_the_same_numbers(kept: int, alone: Path, tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep_last=4)
    trained(store)
    store.keep_only(range(1, kept + 1))
    told = trained(CheckpointStore(tmp_path))
    assert [row["epoch"] for row, _ in told] == list(range(kept + 1, 5))
    assert_same_run(store, alone)


def test_a_finished_run_trains_and_tells_nothing_more(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    trained(store)
    before = store.history()
    assert trained(store) == []
    assert untimed(store.history()) == untimed(before)


def test_the_epoch_in_which_the_time_ends_is_told_as_the_last(tmp_path: Path) -> None:
    told = trained(CheckpointStore(tmp_path), override(SMOKE, ["max_minutes=1e-9"]))
    assert [(row["epoch"], last) for row, last in told] == [(1, True)]


def test_time_before_a_restart_counts(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    limited = override(SMOKE, ["max_minutes=10", "epochs=9"])
    trained(store, override(limited, ["max_minutes=1e-9"]))
    assert trained(store, override(limited, ["max_minutes=1e-9"])) == []
    run = StoredRun(store)
    checkpoint = run.resume_from()
    assert checkpoint
    old = [{**row, "time/epoch_s": 599.999} for row in run.history]  # 1 ms is left
    (checkpoint / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in old))
    write_sums(checkpoint)
    told = trained(store, limited)
    assert [(row["epoch"], last) for row, last in told] == [(2, True)]


def test_an_adopted_checkpoint_trains_on_under_its_new_learning_rate(tmp_path: Path) -> None:
    """As that of a run whose every step is 1e-9 of the donor's: its weights stay where they were."""
    donor, heir = CheckpointStore(tmp_path / "donor"), CheckpointStore(tmp_path / "heir")
    trained(donor, override(SMOKE, ["epochs=2"]))
    slow = override(SMOKE, ["epochs=3", "learning_rate=1e-12"])
    with pytest.raises(ValueError, match="was trained with other settings learning_rate"):
        trained(donor, slow)
    source = donor.fetch(2)
    heir.adopt(source, 2, slow.model_dump(mode="json"))
    told = trained(heir, slow)
    assert [row["epoch"] for row, _ in told] == [3]
    assert [row["epoch"] for row in heir.history()] == [1, 2, 3]
    before, after = (read_weights(folder, "generator") for folder in (source, heir.fetch(3)))
    parameters = [name for name, value in before.items() if value.is_floating_point()]
    assert all(torch.allclose(before[name], after[name], atol=1e-8) for name in parameters)
    assert read_info(heir.fetch(3)).config["learning_rate"] == 1e-12


def test_a_diverged_run_keeps_its_last_good_checkpoint(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    trained(store, override(SMOKE, ["epochs=1"]))
    wild = override(SMOKE, ["learning_rate=1e30"])
    store.adopt(store.fetch(1), 1, wild.model_dump(mode="json"))
    with pytest.raises(DivergedError, match=r"in epoch 2, step \d+; lower learning_rate"):
        trained(store, wild)
    assert store.epochs() == [1]


# Storage that fails


@pytest.fixture
def small_disk(disk: Callable[[str], Path]) -> Path:
    return disk("64k")


def test_a_store_that_is_full_ends_the_run_with_the_reason(small_disk: Path) -> None:
    with pytest.raises(StorageError, match="No space left on device; free some space there, then resume"):
        trained(CheckpointStore(small_disk / "store"))


def test_a_full_temporary_folder_is_named(small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    with pytest.raises(StorageError, match=f"into the temporary folder {small_disk}: .*set TMPDIR to a folder on"):
        trained(CheckpointStore(tmp_path))
    assert list(small_disk.iterdir()) == []


def test_a_store_that_cannot_be_written_is_told_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="Not a directory"):
        trained(CheckpointStore(tmp_path / "file" / "store"))
