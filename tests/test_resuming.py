"""What `--resume` refuses, and what it mends."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from crystalsweep.cli.train import train
from crystalsweep.data import load_data
from crystalsweep.training import machine
from crystalsweep.training.catalogue import preset, stage_builder
from crystalsweep.training.local import LocalSession, train_here
from crystalsweep.training.loop import epoch_batches, fit
from crystalsweep.training.records import mend, record_epoch, recorded
from crystalsweep.training.resumption import _changed, resume

SMOKE = preset("pretrain", "smoke")


def session(folder: Path, *, resume: bool = False) -> LocalSession:
    return LocalSession(folder, resume=resume, device="cpu", progress=False)


def test_a_line_lost_between_checkpoint_and_metrics_is_written_on_resuming(tmp_path: Path) -> None:
    train_here("pretrain", SMOKE, load_data("bundled"), {}, session(tmp_path))
    metrics = tmp_path / "metrics.jsonl"
    whole = metrics.read_bytes()
    metrics.write_bytes(whole.splitlines(keepends=True)[0])
    train_here("pretrain", SMOKE, load_data("bundled"), {}, session(tmp_path, resume=True))
    assert metrics.read_bytes() == whole


@pytest.mark.parametrize("broken", [b'{"epoch": 2, "lo', b"\xff\xfe", b"[1]", b'{"loss": 1.0}'])
def test_a_damaged_line_is_told_by_file_and_number(tmp_path: Path, broken: bytes) -> None:
    record_epoch(tmp_path, {"epoch": 1.0, "loss": 2.0, "time/seconds": 1.0})
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(broken)
    with pytest.raises(ValueError, match=r"line 2 of .*metrics\.jsonl"):
        recorded(tmp_path)


def test_a_checkpoint_whose_record_is_gone_is_not_trained_over(tmp_path: Path) -> None:
    train_here("pretrain", SMOKE, load_data("bundled"), {}, session(tmp_path))
    (tmp_path / "metrics.jsonl").write_bytes(b"")
    before = (tmp_path / "checkpoint" / "checkpoint.json").read_bytes()
    with pytest.raises(ValueError, match=r"metrics\.jsonl is gone or empty, and .* is of epoch 2"):
        train_here("pretrain", SMOKE, load_data("bundled"), {}, session(tmp_path, resume=True))
    assert (tmp_path / "checkpoint" / "checkpoint.json").read_bytes() == before


def test_another_split_of_the_same_data_is_refused(tmp_path: Path) -> None:
    train_here("pretrain", SMOKE, load_data("bundled"), {}, session(tmp_path))
    resumed = session(tmp_path, resume=True)
    stage = stage_builder("pretrain")(SMOKE, replace(load_data("bundled"), split_sha256="other"), resumed, {})
    with pytest.raises(ValueError, match="other stage or data"):
        fit(stage, resumed)


def test_a_run_of_the_other_kind_is_refused(tmp_path: Path) -> None:
    train_here("pretrain", SMOKE, load_data("bundled"), {}, session(tmp_path))
    (tmp_path / "checkpoint").rename(tmp_path / "epoch_00002")
    with pytest.raises(ValueError, match="trained on Ray"):
        train_here("pretrain", SMOKE, load_data("bundled"), {}, session(tmp_path, resume=True))


def test_more_workers_than_crystals_per_step_are_refused(tmp_path: Path) -> None:
    many = session(tmp_path)
    config = SMOKE.model_copy(update={"batch_size": {0: 1, 25: 3}})
    stage = stage_builder("pretrain")(config, load_data("bundled"), many, {})
    many.world_size = 2
    with pytest.raises(ValueError, match="batch_size 1 leaves some of 2 workers"):
        epoch_batches(stage, many, 0)


def test_another_backbone_than_the_checkpoint_is_refused_on_the_command_line(tmp_path: Path) -> None:
    train_here("pretrain", SMOKE, load_data("bundled"), {}, session(tmp_path / "g"))
    asked = ["finetune", "--preset", "smoke", "--generator", str(tmp_path / "g"), "--out", str(tmp_path / "d")]
    refused = CliRunner().invoke(train, [*asked, "--set", "backbone.width=99"])
    assert refused.exit_code == 1
    assert "backbone.width is 16 in" in refused.output


def epoch(number: int, loss: float) -> dict[str, float]:
    return {"epoch": number, "loss": loss, "time/epoch_s": 2.0 * number}


def test_a_record_is_mended_from_the_history_of_the_last_checkpoint(tmp_path: Path) -> None:
    """Line 2 was lost with the worker that reported it, line 4 has no checkpoint."""
    for number in (1, 3, 4):
        record_epoch(tmp_path, epoch(number, loss=0.5))
    mend(tmp_path, [epoch(number, loss=0.5) for number in (1, 2, 3)])
    assert recorded(tmp_path) == [epoch(number, loss=0.5) for number in (1, 2, 3)]


def test_a_record_is_left_alone_where_no_checkpoint_tells_more(tmp_path: Path) -> None:
    """Nor are lines of epochs that the history does not reach back to given up."""
    record_epoch(tmp_path, epoch(1, loss=0.5))
    mend(tmp_path, [])
    mend(tmp_path, [epoch(2, loss=0.25)])
    assert recorded(tmp_path) == [epoch(1, loss=0.5), epoch(2, loss=0.25)]


def test_settings_that_a_checkpoint_is_too_old_to_know_had_their_default_and_removed_ones_are_changes() -> None:
    config = preset("pretrain", "smoke")
    before = config.model_dump(mode="json")
    del before["reconstruction"]["position_error"]
    assert _changed(config, before) == []
    before["corruption"]["mask_types"] = {"species": 0.5, "random15": 0.5, "random30": 0.5}
    assert _changed(config, before) == ["corruption.mask_types.random30"]


TINY = (
    *("epochs=1", "max_crystals=8", "max_atoms=4", "width=8", "layers=1", "batch_size=4"),
    "evaluation.max_crystals=2",
)


def command(*arguments: str, settings: tuple[str, ...] = ()) -> Result:
    told = [part for setting in settings for part in ("--set", setting)]
    return CliRunner().invoke(train, [*arguments, *told, "--device", "cpu"])


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A run of one epoch that started from another run's generator."""
    first = command("pretrain", "--preset", "smoke", "--out", str(tmp_path / "first"), settings=TINY)
    assert first.exit_code == 0, first.output
    started = ("--generator", str(tmp_path / "first"), "--out", str(tmp_path / "run"))
    second = command("pretrain", "--preset", "smoke", *started, settings=TINY)
    assert second.exit_code == 0, second.output
    return tmp_path / "run"


def test_a_run_goes_on_with_what_it_was_begun_with(begun: Path) -> None:
    resumed = command("pretrain", "--resume", "--out", str(begun), settings=("epochs=2",))
    assert resumed.exit_code == 0, resumed.output
    assert [row["epoch"] for row in recorded(begun)] == [1, 2]
    config = json.loads((begun / "config.json").read_text())
    assert (config["epochs"], config["batch_size"], config["max_crystals"]) == (2, 4, 8)


def test_a_refused_resumption_leaves_the_run_as_it_was(begun: Path) -> None:
    before = {path: path.read_bytes() for path in begun.rglob("*") if path.is_file()}
    other = command("pretrain", "--resume", "--out", str(begun), settings=("epochs=2", "learning_rate=0.5"))
    assert "was trained with other settings learning_rate" in other.output
    wrong = command("finetune", "--resume", "--out", str(begun))
    assert "is a run of pretrain: resume it with" in wrong.output
    assert {path: path.read_bytes() for path in begun.rglob("*") if path.is_file()} == before


def test_another_start_is_not_taken_for_that_of_the_run(begun: Path, tmp_path: Path) -> None:
    mine = command("pretrain", "--preset", "smoke", "--out", str(tmp_path / "mine"), settings=(*TINY, "seed=1"))
    assert mine.exit_code == 0, mine.output
    more = ("--resume", "--out", str(begun))
    other = command("pretrain", *more, "--generator", str(tmp_path / "mine"), settings=("epochs=2",))
    assert f"the run started from {tmp_path / 'first' / 'checkpoint'}, and the weights in" in other.output
    assert "leave --generator out to resume" in other.output
    moved = (tmp_path / "first").rename(tmp_path / "moved")
    gone = command("pretrain", *more, settings=("epochs=2",))
    assert "which is gone; say with --generator where it is now" in gone.output
    found = command("pretrain", *more, "--generator", str(moved), settings=("epochs=2",))
    assert found.exit_code == 0, found.output


def test_a_run_that_is_not_there_is_not_resumed(tmp_path: Path) -> None:
    result = command("pretrain", "--resume", "--out", str(tmp_path / "mistyped"))
    assert "mistyped holds no run to resume; check --out" in result.output
    assert not (tmp_path / "mistyped").exists()


def test_a_run_that_was_asked_for_in_full_begins_where_there_is_none(tmp_path: Path) -> None:
    """As scripts ask that are started again and again."""
    asked = ("pretrain", "--preset", "smoke", "--resume", "--out", str(tmp_path / "run"))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "slurm.log").write_text("")
    first = command(*asked, settings=TINY)
    assert first.exit_code == 0, first.output
    assert "holds no run yet: it begins" in first.output
    assert command(*asked, settings=TINY).exit_code == 0
    assert (tmp_path / "run" / "origin.json").exists()
    other = command("pretrain", "--resume", "--backbone", "escn_md", "--out", str(tmp_path / "run"))
    assert "has the backbone painn; leave --backbone escn_md out" in other.output


def test_a_run_goes_on_though_what_it_started_from_went_on(begun: Path, tmp_path: Path) -> None:
    parent = command("pretrain", "--resume", "--out", str(tmp_path / "first"), settings=("epochs=2",))
    assert parent.exit_code == 0, parent.output
    resumed = command("pretrain", "--resume", "--out", str(begun), settings=("epochs=2",))
    assert resumed.exit_code == 0, resumed.output
    assert "has other weights by now; it goes on with its own" in resumed.output


def test_a_run_without_its_record_is_not_trained_over(begun: Path) -> None:
    (begun / "metrics.jsonl").unlink()
    again = command("pretrain", "--preset", "smoke", "--out", str(begun), settings=TINY)
    assert "already holds a run; pass --resume" in again.output


def test_a_resumed_run_computes_as_it_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its length, which decides whether a network is compiled, may have been changed."""
    train_here("pretrain", SMOKE, load_data("bundled"), {}, session(tmp_path))
    monkeypatch.setattr(machine, "expected_seconds", lambda _: 1e9)
    monkeypatch.setattr(machine, "can_compile", lambda: True)
    longer = stage_builder("pretrain")(SMOKE, load_data("bundled"), session(tmp_path, resume=True), {})
    assert machine.worth_compiling(longer) == machine.backbones(longer)
    resume(longer, tmp_path / "checkpoint")
    assert machine.worth_compiling(longer) == []
