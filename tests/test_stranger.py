"""Text of strangers reaches the terminal as text: no command lets through what a terminal obeys or does not show."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from crystalsweep.cli.main import main
from crystalsweep.data.loading import load_data
from crystalsweep.data.writing import write
from crystalsweep.evaluation.outcome import Evaluation
from crystalsweep.evaluation.results import METRICS_FILE
from crystalsweep.evaluation.text import headline_text
from crystalsweep.registry.attempts import (
    ALIAS,
    CANDIDATE_TAG,
    MODEL_TAG,
    PROMOTION,
    REASONS,
    VERDICT,
    VERSION_TAG,
    attempts_of,
)
from crystalsweep.tracking.tags import KIND
from crystalsweep.tracking.tracker import Tracker, sqlite_uri
from crystalsweep.wording.stranger import in_a_line, plain, tabulated
from sweeps.gan_noise import main as sweep

ROOT = Path(__file__).resolve().parent.parent
CONTROL = ROOT / "tests" / "fixtures" / "generators" / "control"
EVIL = "a\x1b[2J\x1b]0;owned\x07b\x9b31mc\u202ed\u2066e\u200bf\ufeffg\x08\x7fh\U000e0041i"
"""Clears the screen, names the window, colours, turns text around, hides, deletes."""
LINES = f"{EVIL}\r\nwritten: forged"
"""Also begins a line of its own."""


def require_plain(said: bytes) -> str:
    """Hold raw output to what a terminal shows as it is; a progress bar has \\r and moves up."""
    text = re.sub(r"\r|\x1b\[A", "", said.decode())
    unseen = {each for each in text if unicodedata.category(each) in ("Cc", "Cf", "Cs", "Zl", "Zp")} - {"\n", "\t"}
    assert not unseen, (unseen, text)
    assert not re.search(r"^written: forged", text, re.MULTILINE), text
    return text


def run(*arguments: str, cwd: Path, **environment: str) -> tuple[int, str]:
    """Run a command in a process of its own, as on a terminal; its exit code and raw output."""
    paths = {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'platform'}", "MLFLOW_TRACKING_URI": ""}
    ran = subprocess.run(
        [sys.executable, "-m", "crystalsweep", *arguments],
        cwd=cwd,
        env=os.environ | paths | environment,
        capture_output=True,
        check=False,
        timeout=300,
    )
    return ran.returncode, require_plain(ran.stdout) + require_plain(ran.stderr)


# The text itself


@pytest.mark.parametrize("character", ["\x00", "\x07", "\x08", "\r", "\x0b", "\x1b", "\x7f", "\x85", "\x9b", "\x9d"])
@pytest.mark.parametrize("form", [plain, in_a_line])
def test_controls_are_shown(character: str, form: Any) -> None:
    assert form(f"a{character}b") == f"a{json.dumps(character)[1:-1]}b"
    assert json.loads(f'"{form(character)}"') == character


@pytest.mark.parametrize(
    "character", "\u200b\u200d\u200e\u202a\u202e\u2060\u2066\u2069\ufeff\u2028\u2029\u00ad\u3164\u2800"
)
def test_what_is_not_seen_is_shown(character: str) -> None:
    assert plain(f"a{character}b") == f"a\\u{ord(character):04x}b"


def test_half_characters_and_tags_are_shown() -> None:
    """Names of files that are no UTF-8 have the former."""
    assert plain("a\udcff") == "a\\udcff"
    assert plain("a\U000e0041") == "a\\udb40\\udc41"


def test_other_text_stays() -> None:
    text = "σ = 0.1 Å⁻¹, ΔE ≤ 0.05; café, 晶体, ★ ━─ …\n\tby hand 🙂"
    assert plain(text) == text
    assert in_a_line("a\n\tb") == "a\\n\\tb"


def test_json_stays_what_it_was() -> None:
    content = {"id": LINES, "other": "σ"}
    assert json.loads(plain(json.dumps(content, ensure_ascii=False, indent=2))) == content


def test_cells_and_heads_stay_in_their_line() -> None:
    shown = tabulated([[LINES, 1.0], ("b", None)], headers=["\x1b[1mname", "n"])
    assert len(shown.splitlines()) == 4
    require_plain(shown.encode())
    require_plain(tabulated([{LINES: LINES}], headers="keys").encode())


def test_commands_write_through_one_door() -> None:
    """And tables and warnings through theirs."""
    library = ROOT / "platform" / "crystalsweep"
    doors = {
        r"click\.s?echo\(|(?<!\.)\bprint\(|sys\.std(out|err)\.write": {"cli/echo.py", "wording/stranger.py"},
        r"\btabulate\(": {"wording/stranger.py"},
        r"\.from_ansi\(|secho\(": set(),
    }
    sources = {str(path.relative_to(library)): path.read_text() for path in library.rglob("*.py")}
    for pattern, allowed in doors.items():
        assert {name for name, text in sources.items() if re.search(pattern, text)} <= allowed, pattern


# Commands


@pytest.fixture
def hostile_data(tmp_path: Path) -> Path:
    """Crystals with hostile ids, two of them the same and one rejected, in a file with a hostile name."""
    crystals = [*load_data("bundled").test[:3]]
    named = [replace(crystal, id=f"{LINES}{i}") for i, crystal in enumerate([*crystals, crystals[0]])]
    file = tmp_path / "d\x1b[31ma\u202eta.extxyz"
    write(named, file)
    return file


def test_data_info_and_import(hostile_data: Path, tmp_path: Path) -> None:
    code, said = run("data", "info", hostile_data.name, cwd=tmp_path)
    assert code == 0, said
    assert "\\u001b[31ma\\u202eta" in said
    code, said = run("data", "import", hostile_data.name, "o\x1b[2Jut.parquet", cwd=tmp_path)
    assert code == 0, said


def test_rejects_of_hostile_files(tmp_path: Path) -> None:
    for name in ("a\x1b[2J.cif", "b\u202e.cif", "c\r\nwritten: forged.cif"):
        (tmp_path / name).write_text(f"data_{EVIL}\n_symmetry {LINES}\nloop_\n", encoding="utf-8")
    table = f'id,cif,{EVIL}\n"{LINES}","nonsense {LINES}",3\n'
    (tmp_path / "t\x9b1m.csv").write_text(table, encoding="utf-8")
    for source in (".", "t\x9b1m.csv", "absent\x1b[2J.csv"):
        run("data", "info", source, cwd=tmp_path)


@pytest.mark.parametrize(
    "arguments",
    [
        ("\x1b[2J",),
        ("evaluate", "--\x1b[2J"),
        ("evaluate", "--checkpoint", LINES),
        ("evaluate", "--structures", EVIL),
        ("evaluate", "--set", f"{EVIL}=1"),
        ("compare", LINES, EVIL),
        ("registry", "import", EVIL),
        ("registry", "export", EVIL, f"{EVIL}.zip"),
        ("leaderboard", "--top", EVIL),
        ("train", "pretrain", "--data", LINES),
        ("train", "pretrain", "--set", f"backbone.{LINES}=1"),
        ("history", "--tracking-uri", f"foo://{EVIL}"),
        ("model", "info", f"{EVIL}"),
        ("rescore", EVIL),
    ],
    ids=repr,
)
def test_errors_repeat_names_plainly(arguments: tuple[str, ...], tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    ran = CliRunner().invoke(main, arguments)
    assert ran.exit_code in (1, 2), ran.output
    require_plain(ran.stdout_bytes)
    require_plain(ran.stderr_bytes)


def test_errors_of_a_sweeps_options_are_plain(tmp_path: Path) -> None:
    for options in (["--search", EVIL], ["--set", f"{EVIL}=1"], ["--resume", EVIL], ["--data", EVIL]):
        ran = CliRunner().invoke(sweep, ["--storage", str(tmp_path), *options])
        assert ran.exit_code in (1, 2)
        require_plain(ran.stderr_bytes + ran.stdout_bytes)


def test_what_nobody_foresaw_and_warnings_are_plain() -> None:
    code = f"""
import warnings
from crystalsweep.cli.main import main
@main.command("burst")
def burst():
    warnings.warn({LINES!r})
    class Odd(Exception): pass
    from crystalsweep.artifacts.addresses import Address
    raise Odd({EVIL!r} + Address("http://me:geheim8@host").with_password())
main.get_command = lambda context, name: burst
main(["burst"])
"""
    paths = {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'platform'}"}
    ran = subprocess.run([sys.executable, "-c", code], env=os.environ | paths, capture_output=True, check=False)
    assert ran.returncode == 1
    said = require_plain(ran.stderr.replace(b"\nwritten: forged", b""))
    assert "Odd: a\\u001b[2J" in said
    assert "geheim8" not in said


@pytest.mark.server
def test_hostile_histories_and_boards(tmp_path: Path) -> None:
    tracker = Tracker(sqlite_uri(tmp_path))
    experiment = tracker.experiment(f"gan_noise {EVIL}", tmp_path / "artifacts")
    for kind in ("trial", "sweep", "gan"):
        run_id = tracker.start(experiment, LINES, kind=kind, params={"a": LINES}, tags={KIND: kind, "stage": EVIL})
        tracker.log(run_id, {"val/score": 0.5}, 1)
        tracker.finish(run_id, "FINISHED", LINES)
    promotions = tracker.experiment("promotions", tmp_path / "artifacts")
    names = (ALIAS, VERDICT, VERSION_TAG, REASONS, CANDIDATE_TAG, "mlflow.user")
    tags = dict.fromkeys(names, LINES) | {MODEL_TAG: "crystal-generator"}
    tracker.finish(tracker.start(promotions, LINES, kind=PROMOTION, tags=tags), "FINISHED", LINES)
    assert [each.reasons for each in attempts_of(tracker, "crystal-generator")] == [LINES]
    place = ("--storage", str(tmp_path))
    code, said = run("history", *place, cwd=tmp_path)
    assert code == 0
    assert "\\u001b[2J" in said
    for command in (
        ("history", "--json"),
        ("leaderboard",),
        ("leaderboard", f"gan_noise {EVIL}"),
        ("demote", "champion"),
    ):
        run(*command, *place, cwd=tmp_path)


@pytest.mark.server
def test_what_an_evaluation_says_of_strangers(tmp_path: Path, hostile_data: Path) -> None:
    options = ("--data", hostile_data.name, "--workers", "1", "--calculator", "none", "--max-atoms", "12", "--out")
    code, said = run("evaluate", "--checkpoint", "identity", *options, "a", cwd=tmp_path)
    assert code == 0, said
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    file = tmp_path / "b" / METRICS_FILE
    content = json.loads(file.read_text())
    content["flags"] = {LINES: [LINES]}
    content["failures"] = {LINES: {LINES: 3}}
    content["name"] = content["name"] + EVIL
    content["rows"][content["name"]] = next(iter(content["rows"].values()))
    file.write_text(json.dumps(content))
    for command in (("compare", "a", "b"), ("compare", "b", "a"), ("rescore", "b", "--preset", "paper")):
        run(*command, cwd=tmp_path)
    require_plain(headline_text(Evaluation.model_validate(content)).encode())


# A sweep


@pytest.mark.parametrize("how", ["PlainLines", "JsonLines", "LiveTable"])
def test_what_a_sweep_shows(how: str) -> None:
    code = f"""
import os, sys
from crystalsweep.sweeping.display import display, plain, json_lines, live
from crystalsweep.sweeping.display.display import Snapshot, TrainingRow
kind = {{"PlainLines": plain.PlainLines, "JsonLines": json_lines.JsonLines, "LiveTable": live.LiveTable}}[{how!r}]
evil = {LINES!r}
with kind() as shown:
    rows = [
        TrainingRow(key=evil, shown=evil, status=status, epoch=1, epochs=2, note=evil, value=0.5, losses=evil)
        for status in ("running", "failed", "pruned")
    ]
    names = dict.fromkeys(("title", "stage", "objective", "used"), evil)
    shown.show(Snapshot(rows=rows, planned=3, best=rows[0], elapsed=1, **names))
    shown.epoch(rows[0])
    shown.say({EVIL!r})
    shown.say({EVIL!r}, error=True)
    shown.result({{"best": {EVIL!r}, "others": [{EVIL!r}]}})
"""
    paths = {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'platform'}", "COLUMNS": "400", "LINES": "40"}
    ran = subprocess.run([sys.executable, "-c", code], env=os.environ | paths, capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr.decode()
    own = rb"\x1b\[[\d;]*m|\x1b\[\d*[AK]|\x1b\[2K" if how == "LiveTable" else rb"(?!)"
    for said in (ran.stdout, ran.stderr):
        text = require_plain(re.sub(own, b"", said))
        assert "\x1b" not in text
        if how == "JsonLines" and said is ran.stdout:
            assert all(json.loads(line)["event"] for line in text.splitlines())
