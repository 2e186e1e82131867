"""`crystalsweep evaluate` killed or stopped in the middle: the second start goes on and ends with the same file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest

from crystalsweep.artifacts.atomic import partial_name
from crystalsweep.data import load_data, write
from crystalsweep.evaluation.run import REQUEST, ROWS, open_folder, run_evaluation
from crystalsweep.evaluation.spread import Tables, Workers
from crystalsweep.structures.crystal import Crystal

PATIENCE = 120
"""Seconds before a wait is given up."""


def written_by_a_process_that_is_gone() -> str:
    with partial_name(REQUEST) as name:
        return name


@pytest.mark.parametrize("name", [f"{REQUEST}.incomplete", written_by_a_process_that_is_gone()])
def test_killed_before_the_request_was_written_leaves_nothing_in_the_way(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('{"kin')
    open_folder(tmp_path, {"kind": "checkpoint"})
    assert [path.name for path in tmp_path.iterdir()] == [REQUEST]


@pytest.mark.parametrize("content", [b"", b'{"kin', b"\xff\xfe"])
def test_a_damaged_request_is_told_by_its_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / REQUEST).write_bytes(content)
    with pytest.raises(ValueError, match=REQUEST):
        open_folder(tmp_path, {"kind": "checkpoint"})


class Counted:
    """A task that remembers which parts it was asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def score(self, part: int) -> Tables:
        self.asked.append(part)
        return {"model": pd.DataFrame({"part": [part]})}


@pytest.mark.parametrize("damage", ["emptied", "no tables"])
def test_a_part_that_a_power_failure_left_empty_is_computed_again(tmp_path: Path, damage: str) -> None:
    task = Counted()
    run_evaluation(task, [0, 1, 2], [1, 1, 1], tmp_path, Workers())
    table = tmp_path / ROWS / "00001" / "model.parquet"
    table.write_bytes(b"") if damage == "emptied" else table.unlink()
    again = run_evaluation(task, [0, 1, 2], [1, 1, 1], tmp_path, Workers())["model"]
    assert task.asked == [0, 1, 2, 1]
    assert again["part"].tolist() == [0, 1, 2]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Crystals to evaluate, for a few parts of 256 cases, and some to be new against."""
    bundled, folder = load_data("bundled"), tmp_path_factory.mktemp("data")
    chosen: dict[str, list[Crystal]] = {
        "test": [crystal for crystal in bundled.test if 2 <= len(crystal) <= 6][:30],
        "train": [crystal for crystal in bundled.train if len(crystal) <= 6][:30],
    }
    for part, crystals in chosen.items():
        write(crystals, folder / f"{part}.parquet")
    return {part: folder / f"{part}.parquet" for part in chosen}


Start = Callable[[Path], subprocess.Popen[str]]


def launch(data: dict[str, Path], out: Path) -> subprocess.Popen[str]:
    """The command of a user, in its own process."""
    options = {
        "--checkpoint": "most-common",
        "--data": data["test"],
        "--reference": data["train"],
        "--calculator": "none",
        "--workers": 1,
        "--device": "cpu",
        "--out": out,
    }
    given = [str(word) for option in options.items() for word in option]
    settings = ["--set", "protocol.sigma_noise=[0.1]", "--set", "protocol.draws=15"]
    return subprocess.Popen(
        [sys.executable, "-m", "crystalsweep", "evaluate", *given, *settings],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")},
        # As on a terminal; a test that runs in the background of a script inherits that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.fixture
def start(data: dict[str, Path]) -> Iterator[Start]:
    """Starts it into a folder; ends what a failed test leaves running."""
    started: list[subprocess.Popen[str]] = []

    def begin(out: Path) -> subprocess.Popen[str]:
        started.append(launch(data, out))
        return started[-1]

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()


def finished(out: Path) -> dict[str, int]:
    """Files of finished parts with the time they were written."""
    return {str(file): file.stat().st_mtime_ns for file in sorted((out / ROWS).glob("[0-9]*[0-9]/*.parquet"))}


def stopped(process: subprocess.Popen[str], out: Path, by: signal.Signals) -> str:
    """What an evaluation said that was stopped after its first part and before its end."""
    deadline = time.monotonic() + PATIENCE
    while not finished(out):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, f"no part in {PATIENCE} s"
        time.sleep(0.02)
    process.send_signal(by)
    output, _ = process.communicate(timeout=PATIENCE)
    assert finished(out), "stopped too late: the parts were put together"
    assert not (out / "metrics.json").exists(), "stopped too late: it was finished"
    return output


def completed(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output
    return output


def watched(process: subprocess.Popen[str], out: Path) -> dict[str, int]:
    """All files of parts that were there while an evaluation ran: they are removed once the tables are whole."""
    seen: dict[str, int] = {}
    while process.poll() is None:
        with suppress(FileNotFoundError):  # removed between being listed and being asked
            seen |= finished(out)
        time.sleep(0.02)
    return seen


@pytest.fixture(scope="module")
def unbroken(data: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Figures of the same evaluation, never stopped."""
    folder = tmp_path_factory.mktemp("unbroken") / "evaluation"
    completed(launch(data, folder))
    return (folder / "metrics.json").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGINT], ids=["killed", "ctrl-c"])
def test_a_stopped_evaluation_goes_on_and_ends_with_the_same_file(
    start: Start, unbroken: bytes, tmp_path: Path, by: signal.Signals
) -> None:
    folder = tmp_path / "evaluation"
    process = start(folder)
    output = stopped(process, folder, by)
    if by is signal.SIGINT:
        assert process.returncode == 1
        assert "Aborted!" in output
        assert "Traceback" not in output
    before = finished(folder)
    process = start(folder)
    seen = watched(process, folder)
    completed(process)
    assert set(before) < set(seen), "nothing was left to do"
    assert {file: seen[file] for file in before} == before, "a finished part was computed again"
    assert (folder / "metrics.json").read_bytes() == unbroken
    assert not (folder / ROWS).exists()
