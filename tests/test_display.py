"""What a sweep shows: on real pseudo-terminals, in real pipes, as JSON that a strict parser reads."""

from __future__ import annotations

import fcntl
import json
import math
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyte
import pytest
from click.testing import CliRunner
from rich.console import Console

from crystalsweep.sweeping.display.changes import Finishes
from crystalsweep.sweeping.display.display import display
from crystalsweep.sweeping.display.json_lines import as_json
from crystalsweep.sweeping.display.snapshot import Snapshot, Status, TrainingRow
from crystalsweep.sweeping.display.table import Frame, chosen
from crystalsweep.sweeping.display.text import duration, unescaped

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 30
"""Seconds before a wait is given up."""

PRELUDE = """
import os, subprocess, sys, time
from crystalsweep.sweeping.display.display import Snapshot, TrainingRow, display

def row(number, status="running", epoch=1, **more):
    value = {} if epoch == 0 else {"value": 0.5 + number / 100, "low": 0.48 + number / 100, "high": 0.52 + number / 100}
    given = {"shown": f"σ=0.{number} w_W=1", "epochs": 4, "losses": "L_species 0.913 L_position 0.204"} | value | more
    return TrainingRow(key=f"{number:04d}-s0", status=status, epoch=epoch, **given)

def picture(*rows, **more):
    given = {"title": "joint", "stage": "gan", "objective": "Score", "planned": len(rows)} | more
    return Snapshot(rows=list(rows), **given)
"""
TELL = """
with display(json=False) as shown:
    for epoch in range(1, 4):
        rows = [row(0, epoch=epoch, rate=412.0), row(1, epoch=epoch), row(2, status="waiting", epoch=0)]
        shown.show(picture(*rows, elapsed=epoch, left=60.0))
        shown.epoch(rows[0])
    shown.say("the data are \\x1b[32mread\\x1b[0m")
    lost = row(1, status="failed", epoch=3, note="\\x1b[31mValueError\\x1b[0m: NaN loss\\nat step 12")
    shown.show(picture(row(0, status="complete", epoch=4), lost, row(2), best=row(0, epoch=4), elapsed=5, behind=12))
    shown.say("no such trial", error=True)
    shown.result({"plots": ["a.png", "b.png"], "cost": {"cpu_hours": 0.25}})
"""


def environment(**changes: str) -> dict[str, str]:
    ours = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "PYTHONUNBUFFERED", "PYTHONIOENCODING")
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return kept | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'platform'}", "TERM": "xterm-256color"} | changes


def piped(code: str, *, stdout: int = subprocess.PIPE, **changes: str) -> subprocess.CompletedProcess[str]:
    """A process whose stdout is no terminal."""
    command = [sys.executable, "-c", PRELUDE + code]
    return subprocess.run(
        command, env=environment(**changes), stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=PATIENCE
    )


class Terminal:
    """A process on a pseudo-terminal of its own, and what stands on its screen."""

    def __init__(self, code: str, *, columns: int = 100, lines: int = 30, **changes: str) -> None:
        self.raw = b""
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self._modes = termios.tcgetattr(slave)
        self._slave = slave
        self.process = subprocess.Popen(
            [sys.executable, "-c", PRELUDE + code],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment(**changes),
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )

    @property
    def text(self) -> str:
        """What stands on the screen."""
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip()

    @property
    def sane(self) -> bool:
        """Whether the next command would find the terminal as this one did."""
        return termios.tcgetattr(self._slave) == self._modes and not self.screen.cursor.hidden

    def read(self, condition: Callable[[], bool]) -> None:
        """Take in what the process writes, until the condition holds."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"waited {PATIENCE} s; on the screen:\n{self.text}")
            if select.select([self._master], [], [], 0.05)[0]:
                some = os.read(self._master, 1 << 16)
                self.raw += some
                self._stream.feed(some)

    def end(self) -> int:
        """Take in all until the process has ended; its exit status."""
        self.read(lambda: self.process.poll() is not None and not select.select([self._master], [], [], 0)[0])
        return self.process.returncode

    def press(self, key: bytes) -> None:
        os.write(self._master, key)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)
        os.close(self._slave)


@pytest.fixture
def terminal(request: pytest.FixtureRequest) -> Callable[..., Terminal]:
    def start(code: str, **settings: Any) -> Terminal:
        started = Terminal(code, **settings)
        request.addfinalizer(started.close)
        return started

    return start


# One live table


def test_one_table_is_redrawn_in_place_and_lines_scroll_above_it(terminal: Callable[..., Terminal]) -> None:
    shown = terminal(TELL)
    assert shown.end() == 0
    lines = [re.sub(" {2,}", "  ", line) for line in shown.text.splitlines()]
    assert lines == [
        "the data are read",
        "gan 0001-s0 σ=0.1 w_W=1 FAILED in epoch 4: ValueError: NaN loss at step 12",
        "no such trial",
        lines[3],
        "  trial  settings  epoch  Score  rate  status",
        "★ 0000-s0  σ=0.0 w_W=1  ━━━━━━━━ 4/4  0.500 [0.480, 0.520]  complete",
        "  0001-s0  σ=0.1 w_W=1  ━━━━━━── 3/4  ValueError: NaN loss at …  failed",
        "  0002-s0  σ=0.2 w_W=1  ━━────── 1/4  0.520 [0.500, 0.540]  running",
        "1/3 finished, 1 running, 1 failed; 1800 trainings/h",
        "★ best Score 0.500 [0.480, 0.520] by 0000-s0 σ=0.0 w_W=1",
        "MLflow is 12 behind",
    ]
    assert re.fullmatch(r"joint · gan  ━+─+  75%  5 s, time left not known yet", lines[3])
    assert shown.sane


def test_table_moves_on_while_the_sweep_only_shows_pictures(terminal: Callable[..., Terminal]) -> None:
    code = "shown = display(json=False)\nfor epoch in range(1, 100000):\n"
    shown = terminal(code + "    shown.show(picture(row(0, epoch=epoch, epochs=100000)))\n    time.sleep(0.01)\n")
    shown.read(lambda: " 1/100000 " in shown.text)
    shown.read(lambda: re.search(r" [1-9]\d+/100000 ", shown.text) is not None)
    assert shown.text.count("joint · gan") == 1
    assert shown.process.poll() is None


def test_what_others_print_stands_above_the_table(terminal: Callable[..., Terminal]) -> None:
    code = "with display(json=False) as shown:\n    shown.show(picture(row(0)))\n    print('[a] library speaks')\n"
    shown = terminal(code + "    print('and warns', file=sys.stderr)\n    shown.show(picture(row(0, epoch=2)))\n")
    assert shown.end() == 0
    assert shown.text.splitlines()[:2] == ["[a] library speaks", "and warns"]
    assert shown.text.count("joint · gan") == 1


def test_a_new_stage_begins_a_new_table(terminal: Callable[..., Terminal]) -> None:
    code = "with display(json=False) as shown:\n    shown.show(picture(row(0, 'complete', 4), stage='pretrain'))\n"
    shown = terminal(code + "    shown.show(picture(row(0), row(1)))\n")
    assert shown.end() == 0
    titles = [line.split("  ")[0] for line in shown.text.splitlines() if line.startswith("joint")]
    assert titles == ["joint · pretrain", "joint · gan"]


@pytest.mark.parametrize(("columns", "lines"), [(100, 24), (50, 10)])
def test_many_trainings_fit_a_small_terminal(columns: int, lines: int, terminal: Callable[..., Terminal]) -> None:
    code = """
states = ["complete"] * 40 + ["running"] * 2 + ["waiting"] * 18
with display(json=False) as shown:
    for finished in range(3):
        states[40 + finished:43 + finished] = ["complete", "running", "running"]
        rows = [row(number, status) for number, status in enumerate(states)]
        shown.show(picture(*rows, planned=100, best=rows[7]))
        time.sleep(0.6)
"""
    shown = terminal(code, columns=columns, lines=lines)
    assert shown.end() == 0
    found = shown.text.splitlines()
    assert found[0].startswith("joint · gan")  # nothing scrolled away, nothing of earlier drawings left
    assert shown.text.count("joint · gan") == 1
    keys = re.findall(r"^(.) (\d{4})-s0", shown.text, re.MULTILINE)
    assert ("★", "0007") in keys
    assert {number for _, number in keys} >= {"0043", "0044", "0042"}  # running, and the newest that ended
    more = next(line for line in found if "… and " in line)
    assert int(more.split()[2]) == 100 - len(keys)


def test_ctrl_c_leaves_the_terminal_sane(terminal: Callable[..., Terminal]) -> None:
    code = "with display(json=False) as shown:\n    shown.show(picture(row(0)))\n    time.sleep(60)\n"
    shown = terminal(code)
    shown.read(lambda: "running" in shown.text)
    shown.press(b"\x03")
    assert shown.end() == -signal.SIGINT
    assert shown.sane
    assert shown.text.splitlines()[-1].endswith("KeyboardInterrupt")  # below the table, on a line of its own
    assert "0000-s0" in shown.text


def test_a_display_that_nobody_closed_leaves_the_terminal_sane(terminal: Callable[..., Terminal]) -> None:
    shown = terminal("shown = display(json=False)\nshown.show(picture(row(0)))\nshown.show(picture(row(0, epoch=3)))\n")
    assert shown.end() == 0
    assert shown.sane
    assert "3/4" in shown.text
    assert shown.screen.cursor.x == 0


def test_kill_9_leaves_the_terminal_sane(terminal: Callable[..., Terminal]) -> None:
    shown = terminal("shown = display(json=False)\nshown.show(picture(row(0)))\ntime.sleep(60)\n")
    shown.read(lambda: "running" in shown.text)
    shown.process.kill()
    assert shown.end() == -signal.SIGKILL
    assert shown.sane


COLOURS = re.compile(rb"\x1b\[(?:[\d;]*;)?(?:3[0-79]|38;|4[0-79]|9[0-7])[\d;]*m")


def test_no_color_is_respected(terminal: Callable[..., Terminal]) -> None:
    plain, coloured = terminal(TELL, NO_COLOR="1"), terminal(TELL)
    assert plain.end() == coloured.end() == 0
    assert COLOURS.search(coloured.raw)
    assert not COLOURS.search(plain.raw)
    assert plain.text == coloured.text


def test_a_terminal_that_cannot_redraw_gets_lines(terminal: Callable[..., Terminal]) -> None:
    shown = terminal(TELL, TERM="dumb")
    assert shown.end() == 0
    assert b"\x1b" not in shown.raw
    assert "epoch 2/4" in shown.text


def test_a_terminal_without_unicode_gets_a_table(terminal: Callable[..., Terminal]) -> None:
    shown = terminal(TELL, PYTHONIOENCODING="ascii")
    assert shown.end() == 0
    assert "* 0000-s0" in shown.text
    assert "====" in shown.text


def test_errors_reach_a_stderr_that_is_a_file(terminal: Callable[..., Terminal], tmp_path: Path) -> None:
    log = tmp_path / "errors"
    shown = terminal(f"os.dup2(os.open({str(log)!r}, os.O_CREAT | os.O_WRONLY), 2)\n{TELL}")
    assert shown.end() == 0
    assert log.read_text() == "no such trial\n"
    assert "no such trial" in shown.text


# Plain lines


def test_pipes_get_a_line_per_epoch_failures_at_once_and_no_escape_codes() -> None:
    ran = piped(TELL)
    told = "  gan 0000-s0 σ=0.0 w_W=1  epoch {}/4  L_species 0.913 L_position 0.204  Score 0.500 [0.480, 0.520]  412/s"
    assert ran.stdout.splitlines() == [
        "[   1 s] gan: 0/3 finished, 2 running; 17% done, about 60 s left",
        told.format(1),
        told.format(2),
        told.format(3),
        "the data are read",
        "  gan 0001-s0 σ=0.1 w_W=1 FAILED in epoch 4: ValueError: NaN loss at step 12",
        "[   5 s] gan: 1/3 finished, 1 running, 1 failed; 75% done, time left not known yet; MLflow is 12 behind",
    ]
    assert ran.stderr == "no such trial\n"
    assert ran.returncode == 0


def test_a_budget_of_minutes_is_told_in_minutes() -> None:
    code = "shown = display(json=False)\nshown.epoch(row(0, epoch=3, minutes=0.314, budget_minutes=2, value=None))\n"
    expected = "  0000-s0 σ=0.0 w_W=1  epoch 3, 0.31 of 2 min  L_species 0.913 L_position 0.204\n"
    assert piped(code).stdout == expected


def test_summaries_come_no_more_often_than_asked_for() -> None:
    code = """
from crystalsweep.sweeping.display.plain import PlainLines
for every in (3600.0, 0.0):
    with PlainLines(every) as shown:
        for epoch in range(1, 5):
            shown.show(picture(row(0, epoch=epoch), elapsed=100 * epoch))
"""
    seconds = [int(found) for found in re.findall(r"^\[ *(\d+) s\]", piped(code).stdout, re.MULTILINE)]
    assert seconds == [100, 400, 100, 200, 300, 400]


def test_a_resumed_sweep_does_not_repeat_old_failures() -> None:
    code = """
with display(json=False) as shown:
    before = row(0, "failed", note="NaN loss")
    shown.show(picture(before, row(1), row(2)))
    shown.show(picture(before, row(1, "failed", note="out of memory"), row(2)))
    shown.show(picture(before, row(1, "failed", note="out of memory"), row(2, "pruned", epoch=2)))
"""
    told = [line for line in piped(code).stdout.splitlines() if line.startswith("  gan")]
    assert told == [
        "  gan 0001-s0 σ=0.1 w_W=1 FAILED in epoch 2: out of memory",
        "  gan 0002-s0 σ=0.2 w_W=1 pruned after epoch 2",
    ]


def test_a_log_without_unicode_is_written() -> None:
    ran = piped(TELL, PYTHONIOENCODING="ascii")
    assert ran.returncode == 0, ran.stderr
    assert "  gan 0000-s0 ?=0.0 w_W=1  epoch 3/4" in ran.stdout


# Output that cannot be written

LONG = """
with display(json={json}) as shown:
    for epoch in range(5000):
        shown.epoch(row(0, epoch=epoch))
    shown.say("on the disk", error=True)
    open({done!r}, "w").close()
"""


@pytest.mark.parametrize("as_json", [False, True], ids=["plain", "json"])
def test_a_full_disk_does_not_stop_a_sweep(as_json: bool, tmp_path: Path) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    ran = piped(LONG.format(json=as_json, done=str(tmp_path / "done")), stdout=full)
    os.close(full)
    assert (tmp_path / "done").exists(), ran.stderr
    assert "on the disk" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("as_json", [False, True], ids=["plain", "json"])
def test_a_reader_that_leaves_does_not_stop_a_sweep(as_json: bool, tmp_path: Path) -> None:
    code = PRELUDE + LONG.format(json=as_json, done=str(tmp_path / "done"))
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stderr
        assert "0000-s0" in process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == "on the disk\n"
    assert process.returncode == 0
    assert (tmp_path / "done").exists()


def test_a_terminal_that_is_gone_does_not_stop_a_sweep(tmp_path: Path) -> None:
    code = f"""
import signal
signal.signal(signal.SIGHUP, signal.SIG_IGN)
with display(json=False) as shown:
    shown.show(picture(row(0)))
    while not os.path.exists({str(tmp_path / "gone")!r}):
        time.sleep(0.01)
    shown.show(picture(row(0, epoch=2)))
    time.sleep(0.6)
    shown.say("a line")
open({str(tmp_path / "done")!r}, "w").close()
"""
    left = Terminal(code)
    left.read(lambda: "running" in left.text)
    os.close(left._master)
    os.close(left._slave)
    (tmp_path / "gone").touch()
    assert left.process.wait(PATIENCE) == 0
    assert (tmp_path / "done").exists()


# JSON


def strictly(text: str) -> list[dict[str, Any]]:
    """Every line, as a parser reads it that knows JSON and nothing else."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def test_json_is_one_object_per_line_and_all_else_goes_to_stderr() -> None:
    code = """
with display(json=True) as shown:
    nan = float("nan")
    rows = [row(0, value=nan, low=nan, high=nan), row(1, "waiting", 0)]
    shown.show(picture(*rows, planned=3, elapsed=1.5, used="1 of 2 CPU-hours"))
    shown.show(picture(*rows, planned=3, elapsed=1.6))
    shown.epoch(rows[0])
    print("a library prints")
    os.write(1, b"so does C\\n")
    subprocess.run(["echo", "and a child"])
    shown.say("read \\x1b[32m1600\\x1b[0m crystals")
    shown.say("too large", error=True)
    shown.show(picture(row(0, "failed", note="NaN loss"), rows[1], planned=3, best=rows[0], elapsed=2.0, left=3.0))
    shown.result({"best": {"run": "abc", "score": float("inf")}, "plots": ("a.png",)})
print("closed")
"""
    ran = piped(code)
    assert ran.returncode == 0, ran.stderr
    *lines, last = ran.stdout.splitlines()
    assert last == "closed"
    events = strictly("\n".join(lines))
    assert [event["event"] for event in events] == ["state", "epoch", "message", "message", "state", "result"]
    first, epoch, said, error, second, result = events
    assert [row["status"] for row in first["changed"]] == ["running", "waiting"]
    assert first["counts"] == {"running": 1, "waiting": 2}
    assert (first["elapsed"], first["left"], first["best"], first["used"]) == (1.5, None, None, "1 of 2 CPU-hours")
    assert (epoch["key"], epoch["epoch"], epoch["epochs"], epoch["value"]) == ("0000-s0", 1, 4, None)
    assert (said["text"], said["error"], error["text"], error["error"]) == (
        "read 1600 crystals",
        False,
        "too large",
        True,
    )
    assert [(row["key"], row["status"], row["note"]) for row in second["changed"]] == [
        ("0000-s0", "failed", "NaN loss")
    ]
    assert second["best"]["key"] == "0000-s0"
    assert result == {"event": "result", "best": {"run": "abc", "score": None}, "plots": ["a.png"]}
    for text in ("a library prints", "so does C", "and a child", "1600", "too large"):
        assert text in ran.stderr


def test_json_in_a_file_stays_clean_while_stderr_is_a_pipe(tmp_path: Path) -> None:
    code = (
        "with display(json=True) as shown:\n    print('a library prints')\n    shown.say('σ = 0.1')\nprint('closed')\n"
    )
    with (tmp_path / "lines").open("w+") as file:
        ran = piped(code, stdout=file.fileno())
    assert ran.returncode == 0, ran.stderr
    assert sorted(ran.stderr.splitlines()) == ["a library prints", "σ = 0.1"]
    event, closed = (tmp_path / "lines").read_text().splitlines()
    assert strictly(event) == [{"event": "message", "text": "σ = 0.1", "error": False}]
    assert closed == "closed"


def test_json_under_a_runner_that_replaces_stdout() -> None:
    @click.command()
    def tell() -> None:
        with display(json=True) as shown:
            click.echo("to a person")
            shown.say("read")
        click.echo("closed")

    ran = CliRunner().invoke(tell)
    assert ran.exit_code == 0
    event, closed = ran.stdout.splitlines()
    assert strictly(event) == [{"event": "message", "text": "read", "error": False}]
    assert (closed, ran.stderr) == ("closed", "to a person\nread\n")


def test_json_on_a_terminal_is_no_table(terminal: Callable[..., Terminal]) -> None:
    shown = terminal(
        "with display(json=True) as shown:\n    shown.show(picture(row(0), used='x'))\n", columns=1000, lines=5
    )
    assert shown.end() == 0
    assert [event["event"] for event in strictly(shown.raw.decode())] == ["state"]


def test_numbers_of_all_kinds_become_plain_ones() -> None:
    content = {
        "numpy": [np.float64(0.25), np.float32("nan"), np.int64(3), np.bool_(True), np.arange(2)],
        "path": Path("a") / "b",
        7: -math.inf,
        "row": TrainingRow(key="0000-s0", shown="", status="running"),
    }
    found = as_json(content)
    assert found["numpy"] == [0.25, None, 3, True, [0, 1]]
    assert [type(value) for value in found["numpy"]] == [float, type(None), int, bool, list]
    assert (found["path"], found["7"], found["row"]["key"]) == (str(Path("a") / "b"), None, "0000-s0")


# How far it is, and what fits


def trained(key: str, status: Status = "running", **more: Any) -> TrainingRow:
    return TrainingRow(key=key, shown="σ=0.1", status=status, **more)


@pytest.mark.parametrize(
    ("row", "share"),
    [
        (trained("a", epoch=1, epochs=4), 0.25),
        (trained("a", epoch=1, epochs=4, minutes=1.5, budget_minutes=2), 0.75),
        (trained("a", epoch=3, epochs=4, minutes=0.5, budget_minutes=2), 0.75),
        (trained("a", epoch=1, epochs=4, minutes=3, budget_minutes=2), 1.0),
        (trained("a", "pruned", epoch=1, epochs=4), 1.0),
        (trained("a", "stopped", epoch=1, epochs=4), 0.25),
        (trained("a", epoch=9), 0.0),
    ],
)
def test_a_trainings_way_is_measured_by_what_goes_faster(row: TrainingRow, share: float) -> None:
    assert row.share == share
    picture = Snapshot(title="", stage="", objective="", rows=[row], planned=2)
    assert picture.share == share / 2


def test_lines_go_to_running_failed_best_and_newest_in_this_order() -> None:
    states: tuple[Status, ...] = ("complete", "complete", "waiting", "complete", "failed", "running", "pruned")
    rows = [trained(str(number), status) for number, status in enumerate(states)]
    picture = Snapshot(title="", stage="", objective="", rows=rows, planned=7, best=rows[1])
    ended = {"0": 4, "1": 0, "3": 1, "4": 2, "6": 3}
    got = ["".join(row.key for row in chosen(picture, room, ended)) for room in range(8)]
    assert got == ["", "5", "45", "145", "0145", "01456", "013456", "0123456"]


def test_trainings_an_hour_leave_out_those_of_an_earlier_process() -> None:
    finishes = Finishes()
    keys = "abcdef"
    for minute in (0, 30, 60):
        over = 3 + minute // 30
        rows = [trained(key, "complete" if place < over else "running") for place, key in enumerate(keys)]
        picture = Snapshot(title="", stage="gan", objective="", rows=rows, planned=6, elapsed=60 * minute)
        finishes.add(picture)
    assert finishes.hourly(picture) == 2.0
    assert [key for key, _ in sorted(finishes.order.items(), key=lambda item: item[1])] == ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize("width", [20, 40, 63, 71, 80, 99, 120, 240])
@pytest.mark.parametrize("height", [8, 24, 60])
def test_no_line_is_wider_and_no_frame_higher_than_the_terminal(width: int, height: int, tmp_path: Path) -> None:
    states: tuple[Status, ...] = ("complete", "running", "failed", "pruned", "waiting", "stopped")
    rows = [
        TrainingRow(
            key=f"{number:04d}-s{number % 3}",
            shown=f"w_pos={number} σ=0.2 w_W=0.1 lr_D/lr_G=0.{number} 晶体",
            status=states[number % 6],
            epoch=number,
            epochs=1000,
            value=math.nan if number % 5 == 0 else 10.0**number,
            low=-1.5,
            high=1e7,
            rate=1e6,
            note="torch.OutOfMemoryError: CUDA out of memory. " * 5,
        )
        for number in range(40)
    ]
    used = "1.31 of 20 GPU-hours, 41 of 500 MB"
    long = Snapshot(
        title="gan_noise", stage="gan", objective="Structural validity, highest σ", rows=rows, planned=50, best=rows[6]
    )
    long.used, long.behind, long.elapsed, long.left = used, 1234, 1e5, 2e6
    with (tmp_path / "out").open("w+") as file:
        console = Console(file=file, width=width, height=height, force_terminal=True, color_system=None, markup=False)
        lines = console.render_lines(Frame(picture=long, ended={}, hourly=1.25), pad=False)
    assert len(lines) <= height - 1
    assert max(sum(segment.cell_length for segment in line) for line in lines) <= width


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (89.4, "89 s"), (90, "2 min"), (5399, "1 h 30 min"), (11100, "3 h 05 min"), (190000, "2 d 5 h")],
)
def test_durations_as_a_person_says_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_escape_codes_are_taken_out() -> None:
    assert unescaped("\x1b[1;31mred\x1b[0m \x1b]0;title\x07and\x1b[2K [plain]") == "red and [plain]"
