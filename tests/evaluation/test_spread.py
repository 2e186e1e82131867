"""An evaluation on several workers: real Ray, real processes; the same file as on one, whatever happens to a worker."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from crystalsweep.data import load_data, write
from crystalsweep.evaluation.run import ROWS, STRUCTURES
from tests.ray.conftest import ROOT, descendants, until

pytestmark = pytest.mark.slow

PATIENCE = 300
"""Seconds before a wait is given up."""


class Started:
    """A process in a session of its own, and everything it started."""

    def __init__(self, command: list[str], log: Path, library: Path = ROOT) -> None:
        self.log, self.below = log, dict[int, str]()
        outside = ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")
        with log.open("w") as output:
            self.process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={k: v for k, v in os.environ.items() if k not in outside}
                | {"PYTHONPATH": f"{library / 'platform'}:{library}"},
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self.log.read_text()

    def workers(self) -> list[int]:
        """Pids of Ray's workers that score parts."""
        found = descendants(self.process.pid)
        self.below |= {pid: name for pid, name in found.items() if name}  # one that is ending has lost its name
        return [pid for pid, command in found.items() if "ray::Worker" in command]

    def wait(self) -> int:
        """Its exit code; notes what it starts until then."""
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            self.workers()
            assert time.monotonic() < deadline, self.output
            time.sleep(0.2)
        return self.process.returncode

    def leaves_nothing(self) -> bool:
        """Whether everything it started has ended; fails after a while if not."""
        assert any("raylet" in command for command in self.below.values()), "Ray was never there"
        until(lambda: not [pid for pid in self.below if _runs(pid)], "Ray's processes to end")
        return True


def _runs(pid: int) -> bool:
    try:
        return "(zombie)" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Crystals to evaluate, for a few parts of 256 cases, and some to be new against."""
    bundled, folder = load_data("bundled"), tmp_path_factory.mktemp("data")
    chosen = {
        "test": [crystal for crystal in bundled.test if 2 <= len(crystal) <= 6][:40],
        "train": [crystal for crystal in bundled.train if len(crystal) <= 6][:30],
    }
    for part, crystals in chosen.items():
        write(crystals, folder / f"{part}.parquet")
    return {part: folder / f"{part}.parquet" for part in chosen}


Begin = Callable[..., Started]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Starts a command; ends what a failed test leaves running."""
    started: list[Started] = []

    def start(*command: object, library: Path = ROOT) -> Started:
        log = tmp_path / f"log{len(started)}"
        started.append(Started([sys.executable, *map(str, command)], log, library))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.send_signal(signal.SIGINT)
            each.process.wait(60)


def command(data: dict[str, Path], out: Path, workers: int) -> list[object]:
    return [
        *("-m", "crystalsweep", "evaluate", "--checkpoint", "most-common", "--out", out, "--workers", workers),
        *("--data", data["test"], "--reference", data["train"], "--calculator", "none", "--device", "cpu"),
        *("--set", "protocol.sigma_noise=[0.1]", "--set", "protocol.draws=15"),
    ]


def parts(out: Path) -> list[Path]:
    return [path for path in (out / ROWS).glob("*") if path.suffix != ".incomplete"]


@pytest.fixture(scope="module")
def alone(data: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The evaluation in one process, without Ray."""
    folder = tmp_path_factory.mktemp("alone")
    one = Started([sys.executable, *map(str, command(data, folder / "evaluation", 1))], folder / "log")
    assert one.wait() == 0, one.output
    assert not [found for found in one.below.values() if "ray" in found]
    return folder / "evaluation"


def same(one: Path, other: Path) -> bool:
    """Figures byte for byte, tables value for value."""
    for name in (STRUCTURES, "references.parquet"):
        pd.testing.assert_frame_equal(pd.read_parquet(one / name), pd.read_parquet(other / name), check_exact=True)
    return (one / "metrics.json").read_bytes() == (other / "metrics.json").read_bytes()


@pytest.mark.long
def test_more_workers_than_cpus_give_the_same_result(
    data: dict[str, Path], alone: Path, begin: Begin, tmp_path: Path
) -> None:
    workers = (os.cpu_count() or 1) + 1
    running = begin(*command(data, tmp_path / "spread", workers))
    assert running.wait() == 0, running.output
    assert sum("ray::" in name for name in running.below.values()) >= 2
    assert "ERROR" not in running.output
    assert same(alone, tmp_path / "spread")
    assert running.leaves_nothing()


def test_a_killed_worker_does_not_lose_the_evaluation(
    data: dict[str, Path], alone: Path, begin: Begin, tmp_path: Path
) -> None:
    running = begin(*command(data, tmp_path / "spread", 2))
    until(lambda: parts(tmp_path / "spread") and len(running.workers()) == 2, "a part and both workers")
    n_parts, victim = len(parts(tmp_path / "spread")), running.workers()[0]
    os.kill(victim, signal.SIGKILL)
    assert n_parts < -(-len(pd.read_parquet(alone / STRUCTURES)) // 256), "killed too late"
    assert running.wait() == 0, running.output
    assert same(alone, tmp_path / "spread")
    assert running.leaves_nothing()


@pytest.mark.long
@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "killed"])
def test_a_stopped_evaluation_leaves_no_process_and_goes_on_without_ray(
    data: dict[str, Path], alone: Path, begin: Begin, tmp_path: Path, by: signal.Signals
) -> None:
    running = begin(*command(data, tmp_path / "spread", 2))
    until(lambda: parts(tmp_path / "spread") and running.workers(), "a part")
    if by is signal.SIGINT:
        os.killpg(running.process.pid, by)  # as a terminal does
    else:
        running.process.kill()
    running.wait()
    assert parts(tmp_path / "spread"), "stopped too late"
    if by is signal.SIGINT:
        assert running.process.returncode == 1
        assert "Aborted!" in running.output
        assert "Traceback" not in running.output
    assert running.leaves_nothing()
    again = begin(*command(data, tmp_path / "spread", 1))
    assert again.wait() == 0, again.output
    assert same(alone, tmp_path / "spread")


SCRIPT = """
import os, sys, traceback
import click, pandas as pd
from crystalsweep.cli.errors import told_in_a_line
from crystalsweep.evaluation.spread import on_ray
from crystalsweep.provenance import code_sha256
from pathlib import Path

class Task:
    def score(self, part):
        {score}
        return {{"model": pd.DataFrame({{"part": [part]}})}}

code_sha256()
{before}
try:
    with told_in_a_line():
        for index, tables in on_ray(Task(), {{index: index for index in range(6)}}, 2, gpu={gpu}):
            print("finished", index, tables["model"]["part"].tolist())
except click.ClickException as error:
    cause = error.__cause__
    print("TOLD", error.message)
    print("KIND", type(cause).__module__, type(cause).__name__)
    print("NOTES", *getattr(cause, "__notes__", []))
"""


@pytest.fixture
def spread_script(begin: Begin, tmp_path: Path) -> Callable[..., Started]:
    """Parts 0…5 on two workers, with a task of a few lines."""

    def run(score: str = "pass", before: str = "", library: Path = ROOT, *, gpu: bool = False) -> Started:
        script = tmp_path / "script.py"
        script.write_text(SCRIPT.format(score=score, before=before, gpu=gpu))
        started = begin(script, library=library)
        assert started.wait() == 0, started.output
        assert started.leaves_nothing()
        return started

    return run


Script = Callable[..., Started]


def line(started: Started, word: str) -> str:
    found = [line for line in started.output.splitlines() if line.startswith(word)]
    assert len(found) == 1, started.output
    return found[0].removeprefix(word).strip()


@pytest.mark.long
def test_an_exception_in_a_worker_is_told_as_it_is(spread_script: Script) -> None:
    ran = spread_script("if part == 4: raise ValueError('crystal mp-7 has no atoms')")
    assert line(ran, "TOLD") == "crystal mp-7 has no atoms"
    assert line(ran, "KIND") == "builtins ValueError"
    assert "ray::Worker.score()" in line(ran, "NOTES")


@pytest.mark.long
def test_a_part_that_kills_every_worker_ends_in_one_line(spread_script: Script) -> None:
    ran = spread_script("if part == 4: os.kill(os.getpid(), 9)")
    assert line(ran, "TOLD").startswith("a worker died more than 3 times")
    assert "start again to go on" in line(ran, "TOLD")


@pytest.mark.long
def test_workers_with_other_code_refuse(spread_script: Script, tmp_path: Path) -> None:
    library = tmp_path / "library"
    for folder in ("platform/crystalsweep", "trainables"):
        shutil.copytree(ROOT / folder, library / folder, ignore=shutil.ignore_patterns("__pycache__"))
    source = library / "platform" / "crystalsweep" / "crystal.py"
    ran = spread_script(before=f"with open({str(source)!r}, 'a') as f: f.write('# edited since\\n')", library=library)
    assert line(ran, "TOLD").startswith(f"this worker runs other code ({library}")
    assert "install the same version on every node" in line(ran, "TOLD")
    assert "finished" not in ran.output


@pytest.mark.long
def test_without_a_gpu_that_is_said(spread_script: Script) -> None:
    ran = spread_script(before="os.environ['CUDA_VISIBLE_DEVICES'] = ''", gpu=True)
    assert "the Ray cluster has no GPU: give --device cpu" in line(ran, "TOLD")
