"""Checkpoints that sweeps start from: their keys, and where they are after a move."""

from __future__ import annotations

from pathlib import Path

import pytest

from crystalsweep.data import DataSet, load_data
from crystalsweep.sweeping.prerequisites import Prerequisite, home, kept, prerequisite_key
from crystalsweep.training.alone import fit_alone
from crystalsweep.training.catalogue import preset
from crystalsweep.training.job import Job, job_for

CONFIG = preset("pretrain", "smoke").model_copy(update={"epochs": 1, "max_crystals": 16})


@pytest.fixture(scope="module")
def data() -> DataSet:
    return load_data("bundled")


def made(storage: Path, key: str) -> Prerequisite:
    """As a sweep leaves one."""
    described = job_for("pretrain", CONFIG, "bundled")
    job = Job(**{**vars(described), "checkpoints": f"{home(str(storage), key)}/pretrain"})
    fit_alone(job, False, lambda *_: None)
    return Prerequisite(stage="pretrain", key=key, run="1", checkpoint=f"{job.checkpoints}/epoch_00001")


def test_whatever_made_it_is_in_its_key(data: DataSet) -> None:
    key = prerequisite_key("pretrain", CONFIG, data, {})
    assert key == prerequisite_key("pretrain", CONFIG, data, {})
    others = [
        prerequisite_key("finetune", CONFIG, data, {}),
        prerequisite_key("pretrain", CONFIG.model_copy(update={"seed": 1}), data, {}),
        prerequisite_key("pretrain", CONFIG, data, {"generator": "a"}),
        prerequisite_key("pretrain", CONFIG, data, {"generator": "b"}),
    ]
    assert len({key, *others}) == 5


def test_it_is_found_where_the_storage_was_moved_to_and_not_where_it_was(tmp_path: Path) -> None:
    before = made(tmp_path / "before", "k" * 64)
    assert kept(before, str(tmp_path / "before")) == before
    (tmp_path / "before").rename(tmp_path / "after")
    moved = kept(before, str(tmp_path / "after"))
    assert moved is not None
    assert Path(moved.checkpoint) == Path(home(str(tmp_path / "after"), before.key)) / "pretrain" / "epoch_00001"
    assert (Path(moved.checkpoint) / "generator.safetensors").exists()
    assert kept(before, str(tmp_path / "before")) is None
