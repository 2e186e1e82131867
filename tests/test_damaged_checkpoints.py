"""A training whose newest checkpoint is damaged goes on from the newest whole one, to the same numbers, and says so."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from crystalsweep.artifacts.checkpoint_store import CheckpointStore
from crystalsweep.artifacts.sums import SUMS
from crystalsweep.config import override
from crystalsweep.data import load_data
from crystalsweep.networks.checkpoint import damage, load_generator, read_info, read_weights
from crystalsweep.sweeping import trial
from crystalsweep.training.catalogue import preset, stage_builder
from crystalsweep.training.job import Job
from crystalsweep.training.local import LocalSession, train_here
from crystalsweep.training.loop import fit
from crystalsweep.training.records import recorded
from crystalsweep.training.stored import StoredSession

EPOCHS = 3
SMOKE = override(preset("pretrain", "smoke"), [f"epochs={EPOCHS}", "max_crystals=16", "evaluation.max_crystals=2"])
FILES = ("checkpoint.json", "evaluation.parquet", "generator.safetensors", "history.jsonl", SUMS, "training.pt")

Damage = Callable[[Path, Path], None]


def store_at(folder: Path) -> CheckpointStore:
    return CheckpointStore(folder, keep_last=EPOCHS)


def train(store: CheckpointStore) -> list[float]:
    """Return the epochs that were trained."""
    told: list[float] = []
    session = StoredSession(store, torch.device("cpu"), lambda metrics, _: told.append(metrics["epoch"]))
    fit(stage_builder("pretrain")(SMOKE, load_data("bundled"), session, {}), session)
    return told


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    assert train(store_at(folder)) == [1, 2, 3]
    assert sorted(path.name for path in (folder / "epoch_00003").iterdir()) == sorted(FILES)
    return folder


@pytest.fixture
def training(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "training"))


def untimed(rows: list[dict[str, float]]) -> str:
    return json.dumps([{key: value for key, value in row.items() if "time/" not in key} for row in rows])


def assert_same_end(training: Path, whole: Path) -> None:
    ours, theirs = (read_weights(folder / "epoch_00003", "generator") for folder in (training, whole))
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())
    rows = [
        [{k: v for k, v in row.items() if "time/" not in k} for row in store_at(f).history()] for f in (training, whole)
    ]
    assert json.dumps(rows[0]) == json.dumps(rows[1])


def truncated(file: Path, _: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def emptied(file: Path, _: Path) -> None:
    file.write_bytes(b"")


def flipped(file: Path, _: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-len(content) // 3] ^= 0x10
    file.write_bytes(content)


def removed(file: Path, _: Path) -> None:
    file.unlink()


def swapped(file: Path, other: Path) -> None:
    file.write_bytes(other.read_bytes())


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("do", [truncated, emptied, flipped, removed, swapped])
def test_what_is_damaged_is_known(training: Path, do: Damage, name: str) -> None:
    newest = training / "epoch_00003"
    assert damage(newest, 3) == ""
    do(newest / name, training / "epoch_00002" / name)
    wrong = damage(newest, 3)
    if (do, name) == (removed, SUMS):  # as of older checkpoints, which are read instead
        assert wrong == ""
    else:
        assert wrong
        assert "\n" not in wrong


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("do", [truncated, emptied])
def test_a_training_goes_on_from_the_checkpoint_before(
    training: Path, whole: Path, do: Damage, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    do(training / "epoch_00003" / name, training / "epoch_00002" / name)
    as_it_was = {path.name: path.read_bytes() for path in (training / "epoch_00003").iterdir()}
    with caplog.at_level(logging.WARNING):
        assert train(store_at(training)) == [3]
    assert_same_end(training, whole)
    assert {path.name: path.read_bytes() for path in (training / "damaged-epoch_00003").iterdir()} == as_it_was
    (line,) = [record.message for record in caplog.records if "damaged" in record.message]
    assert f"the checkpoint of epoch 3 in {training} is damaged (" in line
    assert name in line
    assert line.endswith("and kept as damaged-epoch_00003; going back to epoch 2")


def test_two_damaged_ones_are_passed_over(training: Path, whole: Path, caplog: pytest.LogCaptureFixture) -> None:
    flipped(training / "epoch_00003" / "training.pt", training)
    removed(training / "epoch_00002" / "generator.safetensors", training)
    assert train(store_at(training)) == [2, 3]
    assert_same_end(training, whole)
    assert [line.rpartition("; ")[2] for line in caplog.messages if "damaged" in line] == [
        "going back to epoch 2",
        "going back to epoch 1",
    ]


def test_whole_checkpoints_that_changed_places_are_not_believed(training: Path, whole: Path) -> None:
    (training / "epoch_00003").rename(training / "x")
    (training / "epoch_00002").rename(training / "epoch_00003")
    (training / "x").rename(training / "epoch_00002")
    assert damage(training / "epoch_00003", 3) == "it is that of epoch 2, not of 3"
    assert train(store_at(training)) == [2, 3]
    assert_same_end(training, whole)


def test_where_none_is_left_training_begins_anew_and_says_so(
    training: Path, whole: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for epoch in (1, 2):
        shutil.rmtree(training / f"epoch_0000{epoch}")
    truncated(training / "epoch_00003" / "generator.safetensors", training)
    assert train(store_at(training)) == [1, 2, 3]
    assert_same_end(training, whole)
    assert "no other is there: training begins anew" in caplog.text
    assert (training / "damaged-epoch_00003").is_dir()


def test_the_same_epoch_may_be_damaged_twice(training: Path) -> None:
    for aside in ("damaged-epoch_00003", "damaged-epoch_00003-2"):
        truncated(training / "epoch_00003" / "training.pt", training)
        assert train(store_at(training)) == [3]
        assert (training / aside).is_dir()
    assert store_at(training).epochs() == [1, 2, 3]


def test_checkpoints_without_sums_are_read(training: Path) -> None:
    """Those of earlier versions."""
    for folder in training.iterdir():
        (folder / SUMS).unlink()
    assert train(store_at(training)) == []
    truncated(training / "epoch_00003" / "training.pt", training)
    assert train(store_at(training)) == [3]
    assert (training / "epoch_00003" / SUMS).exists()


def test_damage_does_not_pass_to_who_adopts_it(training: Path, tmp_path: Path) -> None:
    flipped(training / "epoch_00002" / "generator.safetensors", training)
    heir = CheckpointStore(tmp_path / "heir")
    heir.adopt(training / "epoch_00002", 2, SMOKE.model_dump(mode="json"))
    assert "'generator.safetensors' was changed" in damage(heir.fetch(2), 2)
    heir.adopt(training / "epoch_00001", 1, SMOKE.model_dump(mode="json"))
    assert damage(heir.fetch(1), 1) == ""


def test_a_run_alone_says_what_is_lost(tmp_path: Path) -> None:
    def resume() -> Path:
        session = LocalSession(tmp_path, resume=True, device="cpu", progress=False)
        return train_here("pretrain", SMOKE, load_data("bundled"), {}, session)

    train_here("pretrain", SMOKE, load_data("bundled"), {}, LocalSession(tmp_path, device="cpu", progress=False))
    before = shutil.copytree(tmp_path / "checkpoint", tmp_path / "previous")
    truncated(tmp_path / "checkpoint" / "training.pt", tmp_path)
    resume()
    assert len(recorded(tmp_path)) == EPOCHS
    assert list(tmp_path.glob("damaged-*"))
    assert not before.exists()
    truncated(tmp_path / "checkpoint" / "training.pt", tmp_path)
    with pytest.raises(
        ValueError, match=r"is damaged \(.*'training.pt' was changed.*keeps one.*3 epochs are lost"
    ) as raised:
        resume()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["checkpoint.json", "generator.safetensors"])
def test_a_flipped_bit_is_seen_by_whoever_loads(training: Path, name: str) -> None:
    """Weights whose sizes fit are finite after most flips: only the sum tells."""
    folder = training / "epoch_00003"
    load_generator(folder)
    file = folder / name
    if name == "checkpoint.json":
        file.write_text(file.read_text().replace('"cutoff": 5.0', '"cutoff": 4.0'))
    else:
        flipped(file, training)
    with pytest.raises(ValueError, match=rf"{name} was changed or damaged since the checkpoint was written"):
        load_generator(folder)


@pytest.mark.parametrize("content", ["[]", "{", '{"generator.safetensors": 3}', '{"generator.safetensors": {}}'])
def test_sums_that_are_none_are_refused_by_whoever_loads(training: Path, content: str) -> None:
    (training / "epoch_00003" / SUMS).write_text(content)
    with pytest.raises(ValueError, match=r"copy or download|is no JSON"):
        load_generator(training / "epoch_00003")


def job_at(folder: Path, **settings: float) -> Job:
    config = SMOKE.model_copy(update=settings).model_dump(mode="json")
    return Job(
        stage="pretrain", package="trainables.pretrain", config=config, source="bundled", code_sha256="",
        checkpoints=str(folder),
    )  # fmt: skip


def test_a_damaged_checkpoint_is_set_aside_before_its_settings_are_changed(
    training: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under population-based training, after a kill: damaged JSON would refuse the trial for good."""
    monkeypatch.setattr(trial, "_pointer", lambda: None)
    truncated(training / "epoch_00003" / "checkpoint.json", training)
    trial._take_over("0000-s0", job_at(training, learning_rate=1e-4), str(training.parent))
    assert store_at(training).epochs() == [2]
    assert (training / "damaged-epoch_00003").is_dir()
    assert read_info(training / "epoch_00002").config["learning_rate"] == 1e-4
    assert damage(training / "epoch_00002", 2) == ""


def test_nobody_takes_over_a_damaged_checkpoint(training: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Path(shutil.copytree(training, training.parent / "0001-s0"))
    monkeypatch.setattr(trial, "_pointer", lambda: {"key": training.name, "epoch": 3})
    flipped(training / "epoch_00003" / "generator.safetensors", training)
    trial._take_over("0001-s0", job_at(own), str(training.parent))
    assert store_at(own).epochs() == [1, 2, 3]
