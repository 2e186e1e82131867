"""A ledger that is damaged, gone, held or out of room: told in a line, brought back from its copy or made anew."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from crystalsweep.sweeping.notes import TrainingNote, begun_trainings, note_training, noted_trainings
from crystalsweep.sweeping.study_file import COPY_FILE, STUDY_FILE, LedgerError, fault_of, keep_copy, mend_study
from tests.test_study import GRID, begun, end, ledger

VALUES = {"0000-s0": [0.1, 0.4], "0001-s0": [0.2, 0.3]}


def trained(folder: Path, **changes: Any) -> None:
    """Two trainings that ended and one that is begun, with all that a sweep's folder keeps of them."""
    made = ledger(folder, **changes)
    made.enqueue(GRID[: 0 if changes else 3], 0)
    for training in begun(made):
        values = VALUES.get(training.key)
        if values:
            end(made, training, values)
        else:
            made.progress(training.key, 7.0)
        state = "complete" if values else "stopped"
        note_training(folder, training.key, TrainingNote(settings=training.settings, state=state, seconds=1.0))


def rows(key: str) -> list[dict[str, float]]:
    return [{"epoch": float(epoch), "val/score": value} for epoch, value in enumerate(VALUES[key], start=1)]


def seen(folder: Path, **changes: Any) -> list[tuple[Any, ...]]:
    """What a ledger has of its trials, however it came to it."""
    trials = ledger(folder, **changes).study.get_trials()
    return [
        (t.number, t.state, t.values, t.params, t.user_attrs["settings"], t.intermediate_values, set(t.user_attrs))
        for t in trials
    ]


def overwrite(at: int, size: int) -> Callable[[Path], None]:
    def damage(file: Path) -> None:
        with file.open("r+b") as stream:
            stream.seek(at)
            stream.write(bytes(size))

    return damage


def truncate(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.truncate(file.stat().st_size // 2)


def replace_by_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()
    (file / "what").touch()


def other_database(file: Path) -> None:
    file.unlink()
    with closing(sqlite3.connect(file)) as other:
        other.execute("CREATE TABLE t (a)")


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "header": (overwrite(0, 100), "is damaged (file is not a database)"),
    "pages": (overwrite(8192, 65536), "is damaged ("),
    "truncated": (truncate, "is damaged ("),
    "empty": (lambda file: file.write_bytes(b""), "is empty"),
    "text": (lambda file: file.write_text("# no database\n" * 400), "is damaged (file is not a database)"),
    "folder": (replace_by_folder, "is a folder"),
    "other": (other_database, "holds no study"),
    "gone": (Path.unlink, "is gone"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_ledger_comes_back_from_its_copy(tmp_path: Path, name: str) -> None:
    trained(tmp_path)
    before, (damage, words) = seen(tmp_path), DAMAGES[name]
    (tmp_path / f"{STUDY_FILE}-journal").write_bytes(b"of another file")
    damage(tmp_path / STUDY_FILE)
    told = mend_study(tmp_path, begun=True)
    assert words in told
    assert "\n" not in told
    assert told.endswith(f"when a training ended last ({COPY_FILE})")
    assert not (tmp_path / f"{STUDY_FILE}-journal").exists()
    assert len(list(tmp_path.glob(f"{STUDY_FILE}.damaged-*[0-9]"))) == (name != "gone")
    assert mend_study(tmp_path, begun=True) == ""
    again = ledger(tmp_path)
    again.recall(noted_trainings(tmp_path), rows)
    assert seen(tmp_path)[:2] == before[:2]
    assert [training.key for training in begun(again)] == ["0002-s0"]


@pytest.mark.parametrize("name", DAMAGES)
@pytest.mark.parametrize("changes", [{}, {"search": "random", "num_samples": 3}], ids=["grid", "random"])
def test_without_a_copy_it_is_made_anew_from_the_folder(tmp_path: Path, name: str, changes: dict[str, Any]) -> None:
    trained(tmp_path, **changes)
    before, (damage, words) = seen(tmp_path, **changes), DAMAGES[name]
    damage(tmp_path / STUDY_FILE)
    (tmp_path / COPY_FILE).write_bytes(b"damaged too")
    told = mend_study(tmp_path, begun=bool(begun_trainings(tmp_path)))
    assert words in told
    assert "its copy is damaged (file is not a database) too: it is made anew" in told
    again = ledger(tmp_path, **changes)
    again.enqueue(GRID[: 0 if changes else 3], 0)
    assert str(again.recall(noted_trainings(tmp_path), rows)) == "2 trainings had ended; 1 go on"
    assert seen(tmp_path, **changes) == before
    assert [training.key for training in begun(again)] == ["0002-s0"]
    assert str(again.recall(noted_trainings(tmp_path), rows)) == ""


def test_a_trial_whose_settings_are_known_nowhere_gives_its_name_to_no_other(tmp_path: Path) -> None:
    trained(tmp_path, search="random", num_samples=3)
    (tmp_path / STUDY_FILE).unlink()
    (tmp_path / "trainings" / "0001-s0.json").write_text("{ half")
    again = ledger(tmp_path, search="random", num_samples=3)
    recalled = again.recall({**noted_trainings(tmp_path), "0001-s0": None}, rows)
    assert str(recalled) == (
        "1 trainings had ended; 1 go on; trials 1 count as failed, for their settings are known nowhere"
    )
    assert [trial.state for trial in again.study.get_trials()] == [
        TrialState.COMPLETE,
        TrialState.FAIL,
        TrialState.RUNNING,
    ]
    assert [training.key for training in begun(again)] == ["0002-s0"]


def test_what_ended_just_before_a_kill_is_not_trained_again(tmp_path: Path) -> None:
    """Its note was written, the ledger not yet."""
    made = ledger(tmp_path)
    made.enqueue(GRID, 0)
    first = made.next()
    assert first
    note_training(tmp_path, first.key, TrainingNote(settings=first.settings, state="complete", seconds=2.0))
    resumed = ledger(tmp_path)
    assert str(resumed.recall(noted_trainings(tmp_path), rows)) == "1 trainings had ended"
    assert [training.key for training in begun(resumed)] == ["0001-s0", "0002-s0"]


def test_a_sweep_that_has_begun_no_training_needs_no_ledger(tmp_path: Path) -> None:
    assert mend_study(tmp_path, begun=False) == ""


def test_the_copy_of_a_sound_ledger_outlives_a_damaged_one(tmp_path: Path) -> None:
    trained(tmp_path)
    kept = (tmp_path / COPY_FILE).read_bytes()
    overwrite(8192, 65536)(tmp_path / STUDY_FILE)
    keep_copy(tmp_path)
    assert (tmp_path / COPY_FILE).read_bytes() == kept
    (tmp_path / STUDY_FILE).unlink()
    keep_copy(tmp_path)
    assert (tmp_path / COPY_FILE).read_bytes() == kept
    assert not (tmp_path / STUDY_FILE).exists()


def test_a_copy_that_cannot_be_kept_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trained(tmp_path)
    (tmp_path / COPY_FILE).unlink()
    (tmp_path / COPY_FILE / "in the way").mkdir(parents=True)
    for _ in range(2):
        keep_copy(tmp_path)
    (told,) = [record.getMessage() for record in caplog.records if COPY_FILE in record.getMessage()]
    assert "no copy of the study is kept" in told
    assert "the sweep goes on" in told


@contextmanager
def held(file: Path) -> Iterator[None]:
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield


def test_a_ledger_that_another_program_holds_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crystalsweep.artifacts.sqlite_files._BUSY_S", 0.2)
    trained(tmp_path)
    before = seen(tmp_path)
    with (
        held(tmp_path / STUDY_FILE),
        pytest.raises(LedgerError, match=r"study\.db is held by another program.*--resume"),
    ):
        mend_study(tmp_path, begun=True)
    assert seen(tmp_path) == before


def test_a_read_only_ledger_is_told_and_left_alone(disk: Callable[[str], Path], tmp_path: Path) -> None:
    small = disk("4m")
    trained(tmp_path)
    shutil.copytree(tmp_path, small, dirs_exist_ok=True)
    subprocess.run(["mount", "-o", "remount,ro", small], check=True)
    with pytest.raises(LedgerError, match=rf"study\.db cannot be written .*: make .* then --resume {small.name}"):
        mend_study(small, begun=True)


def test_a_full_disk_is_told_as_what_it_is_and_the_ledger_goes_on_once_there_is_room(
    disk: Callable[[str], Path],
) -> None:
    small = disk("1m")
    made = ledger(small)
    made.enqueue(GRID, 0)
    first, *_ = begun(made)
    end(made, first, [0.1, 0.4])
    filler = small / "filler"
    with filler.open("wb", buffering=0) as out, pytest.raises(OSError, match="No space"):
        while True:
            out.write(bytes(512))
    with pytest.raises(LedgerError) as told:
        for step in range(999):
            made.progress("0001-s0", float(step), {"w": float(step), "more": "x" * 1000 * step})
    assert str(told.value) == f"no space left in {small}; free some and --resume {small.name}"
    filler.unlink()
    assert mend_study(small, begun=True) == ""
    assert fault_of(small / COPY_FILE) == ""
    assert [training.key for training in begun(ledger(small))] == ["0001-s0", "0002-s0"]
