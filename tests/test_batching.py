"""Which crystals are in which step: by crystals or by atoms, shared over workers, and made ready ahead in a thread."""

from __future__ import annotations

import json
import threading
import time
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crystalsweep.config import override
from crystalsweep.data import DataSet, load_data
from crystalsweep.structures.batch import collate
from crystalsweep.structures.crystal import Crystal
from crystalsweep.training import means
from crystalsweep.training.ahead import made_ahead, pinned
from crystalsweep.training.batching import by_atoms, by_crystals, share_of, shuffled
from crystalsweep.training.catalogue import preset, stage_builder
from crystalsweep.training.config import StageConfig
from crystalsweep.training.local import LocalSession
from crystalsweep.training.loop import DivergedError, epoch_batches, fit
from crystalsweep.training.means import EpochMeans

TINY = ("epochs=2", "width=8", "layers=1", "batch_size=4", "max_crystals=12")

SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=60)


@pytest.fixture(scope="module")
def data() -> DataSet:
    bundled = load_data("bundled")
    return replace(bundled, val=[crystal for crystal in bundled.val if len(crystal) < 6][:6])


def stage_of(stage: str, folder: Path, data: DataSet, *settings: str, device: str = "cpu", resume: bool = False) -> Any:
    session = LocalSession(folder, device=device, progress=False, resume=resume)
    return stage_builder(stage)(override(preset(stage, "smoke"), [*TINY, *settings]), data, session, {})


def rows(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


# By crystals and by atoms


def test_the_order_is_that_of_seed_and_epoch_alone() -> None:
    orders = [tuple(shuffled(50, seed, epoch)) for seed, epoch in ((0, 0), (0, 1), (1, 0), (0, 0))]
    assert orders[0] == orders[3]
    assert len(set(orders)) == 3
    assert sorted(orders[0]) == list(range(50))


def test_batches_by_crystals_leave_the_rest_to_the_last() -> None:
    assert by_crystals([3, 1, 2, 0, 4], 2) == [[3, 1], [2, 0], [4]]


@given(sizes=SIZES, budget=st.integers(1, 100), least=st.integers(1, 4))
def test_batches_by_atoms_keep_the_budget_and_every_crystal_once_in_order(
    sizes: list[int], budget: int, least: int
) -> None:
    order = shuffled(len(sizes), 0, 0)
    batches = by_atoms(order, sizes, budget, least)
    assert [index for batch in batches for index in batch] == order
    for batch, after in zip(batches, [*batches[1:], None], strict=True):
        atoms = [sizes[index] for index in batch]
        assert sum(atoms) <= budget or len(batch) <= max(least, 1)
        assert after is None or len(batch) >= least
        if after is not None:  # no batch ends early
            assert sum(atoms) + sizes[after[0]] > budget


def test_a_crystal_beyond_the_budget_is_alone() -> None:
    assert by_atoms([0, 1, 2, 3], [4, 50, 4, 4], 10) == [[0], [1], [2, 3]]


# Over workers


@given(sizes=SIZES, workers=st.integers(1, 5))
def test_workers_share_a_batch_evenly_and_wholly(sizes: list[int], workers: int) -> None:
    batch = shuffled(len(sizes), 1, 0)
    shares = [share_of(batch, sizes, rank, workers) for rank in range(workers)]
    assert sorted(index for share in shares for index in share) == sorted(batch)
    lengths = [len(share) for share in shares]
    assert max(lengths) - min(lengths) <= 1
    if len(batch) % workers == 0:
        atoms = [sum(sizes[index] for index in share) for share in shares]
        assert max(atoms) - min(atoms) <= max(sizes)
    places = {index: place for place, index in enumerate(batch)}
    assert all([places[i] for i in share] == sorted(places[i] for i in share) for share in shares)


def test_shares_are_more_alike_in_atoms_than_every_other_crystal_is() -> None:
    """Over real crystals, 32 per step over 4 workers."""
    atoms = [len(crystal) for crystal in load_data("bundled").train]
    batches = by_crystals(shuffled(len(atoms), 0, 0), 32)[:20]

    def excess(shares: list[list[int]]) -> float:
        """How much longer all wait for the slowest than for the mean."""
        sums = [sum(atoms[index] for index in share) for share in shares]
        return max(sums) / np.mean(sums) - 1

    dealt = np.mean([excess([share_of(batch, atoms, rank, 4) for rank in range(4)]) for batch in batches])
    strided = np.mean([excess([batch[rank::4] for rank in range(4)]) for batch in batches])
    assert dealt < strided / 2


def test_every_worker_has_a_crystal_in_every_step_by_atoms(data: DataSet, tmp_path: Path) -> None:
    stage = stage_of("pretrain", tmp_path, data, "batch_atoms=5", "max_crystals=31")
    sessions: list[Any] = [SimpleNamespace(rank=rank, world_size=3) for rank in range(3)]
    steps = [epoch_batches(stage, session, 0) for session in sessions]
    assert len({len(each) for each in steps}) == 1
    assert all(share for each in steps for share in each)
    seen = [index for each in steps for share in each for index in share]
    assert len(seen) == len(set(seen)) >= 29  # a rest too small for three is left out


def test_workers_are_not_limited_by_batches_that_are_filled_by_atoms() -> None:
    assert StageConfig(batch_size=1).least_batch_size == 1
    assert StageConfig(batch_size=1, batch_atoms=500).least_batch_size == 500


def test_training_by_atoms_repeats_and_resumes_exactly(data: DataSet, tmp_path: Path) -> None:
    for name, more in (("whole", ()), ("cut", ("max_minutes=1e-9",))):
        stage = stage_of("gan", tmp_path / name, data, "batch_atoms=20", *more)
        fit(stage, stage.session)
    resumed = stage_of("gan", tmp_path / "cut", data, "batch_atoms=20", resume=True)
    fit(resumed, resumed.session)
    assert (tmp_path / "whole" / "metrics.jsonl").read_bytes() == (tmp_path / "cut" / "metrics.jsonl").read_bytes()
    assert rows(tmp_path / "whole")[0]["step"] > 3


# Ahead of the step


@pytest.mark.parametrize("stage", ["pretrain", "finetune", "gan"])
def test_numbers_are_the_same_ahead_and_in_the_step(stage: str, data: DataSet, tmp_path: Path) -> None:
    for ahead in (0, 3):
        built = stage_of(stage, tmp_path / str(ahead), data, f"ahead={ahead}")
        fit(built, built.session)
    assert (tmp_path / "0" / "metrics.jsonl").read_bytes() == (tmp_path / "3" / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize("ahead", [0, 1, 2, 9])
def test_items_come_in_order_and_no_more_than_asked_for_are_made_ahead(ahead: int) -> None:
    made: list[int] = []

    def make(number: int) -> int:
        made.append(number)
        return number * number

    with closing(made_ahead(make, 5, ahead)) as items:
        assert made == []
        assert next(items) == 0
        assert len(made) <= 1 + ahead
        assert list(items) == [1, 4, 9, 16]
    assert made == [0, 1, 2, 3, 4]
    assert list(made_ahead(make, 0, ahead)) == []


def test_items_are_made_while_the_caller_is_busy() -> None:
    second = threading.Event()

    def make(number: int) -> int:
        if number == 1:
            second.set()
        return number

    with closing(made_ahead(make, 3, 1)) as items:
        next(items)
        assert second.wait(5)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("ahead")]


def test_an_error_ahead_is_raised_where_its_batch_is_asked_for() -> None:
    def make(number: int) -> int:
        if number == 2:
            raise ValueError("bad crystal mp-1")
        return number

    taken = []
    with pytest.raises(ValueError, match="bad crystal mp-1"), closing(made_ahead(make, 9, 3)) as items:
        for item in items:
            taken.append(item)
    assert taken == [0, 1]
    assert threads() == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_no_thread_is_left_when_a_step_is_interrupted(
    error: type[BaseException], data: DataSet, tmp_path: Path
) -> None:
    stage = stage_of("pretrain", tmp_path, data, "ahead=4", "batch_size=1")

    def step(*_: object) -> dict[str, float]:
        raise error

    stage.step = step
    with pytest.raises(error) as raised:
        fit(stage, stage.session)
    assert threads() == []  # though the traceback still holds the loop's frames
    assert raised.traceback


def test_what_is_being_made_is_waited_for_on_closing() -> None:
    done: list[int] = []

    def make(number: int) -> int:
        time.sleep(0.05)
        done.append(number)
        return number

    with closing(made_ahead(make, 100, 5)) as items:
        next(items)
    before = list(done)
    time.sleep(0.15)
    assert done == before
    assert len(done) <= 4


# What waits on the device


def test_divergence_is_told_by_the_step_it_began_in(
    data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, whose losses are read every 32 steps: a later step fails on positions that are not finite."""
    monkeypatch.setitem(means.READ_EVERY, "cpu", 32)
    stage = stage_of("pretrain", tmp_path, data, "ahead=2")

    def step(*told: Any) -> dict[str, torch.Tensor]:
        if told[-1] == 2:
            raise ValueError("positions are not finite")
        return {"loss": torch.tensor(float("inf") if told[-1] else 1.0)}

    stage.step = step
    with pytest.raises(DivergedError, match="loss is inf in epoch 1, step 2; lower learning_rate"):
        fit(stage, stage.session)


@dataclass(frozen=True)
class Parts:
    inner: torch.Tensor
    crystals: tuple[Crystal, ...]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_batch_is_pinned_at_any_depth_and_its_crystals_are_left_alone(data: DataSet) -> None:
    batch = collate(data.val)
    found = pinned(Parts(inner=torch.zeros(3), crystals=batch.crystals), torch.device("cuda"))
    assert found.inner.is_pinned()
    assert found.crystals is batch.crystals
    assert pinned(batch, torch.device("cuda")).cart.is_pinned()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_adding_to_means_does_not_wait_for_the_gpu() -> None:
    found = EpochMeans(0, torch.device("cuda"))
    value = torch.ones((), device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step in range(means.READ_EVERY["cuda"] - 1):
            found.add({"loss": value}, step)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert found.over_ranks(1) == {"loss": 1.0}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("stage", ["pretrain", "finetune", "gan"])
def test_training_on_a_gpu_is_the_same_ahead_and_in_the_step(stage: str, data: DataSet, tmp_path: Path) -> None:
    """To the order of its sums."""
    for ahead in (0, 3):
        built = stage_of(stage, tmp_path / str(ahead), data, f"ahead={ahead}", "epochs=1", device="cuda")
        fit(built, built.session)
    assert rows(tmp_path / "0")[0]["loss"] == pytest.approx(rows(tmp_path / "3")[0]["loss"], rel=1e-4)
