"""`crystalsweep data`: what it prints, what it writes, and how it fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from crystalsweep.cli.data import data
from crystalsweep.data import load_bundled, read, write
from crystalsweep.structures.crystal import Crystal


@pytest.fixture(autouse=True)
def _inside_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*args: str) -> Result:
    return CliRunner().invoke(data, args)


@pytest.fixture
def cifs() -> str:
    """20 CIFs, one of them garbage."""
    write(load_bundled("test")[:19], Path("cifs"))
    Path("cifs/zzz.cif").write_text("garbage")
    return "cifs"


def test_info_bundled() -> None:
    result = run("info", "bundled")
    assert result.exit_code == 0, result.output
    for line in ("6,229 rows = 6,229 crystals + 0 rejects", "elements: 87", "2,276 of 3,911 (58.2 %)"):
        assert line in result.output
    assert list(Path().iterdir()) == []  # nothing is written that was not asked for


def test_info_tells_rejects(cifs: str) -> None:
    result = run("info", cifs, "--plot", "p.png", "--rejects", "r.txt")
    assert result.exit_code == 0, result.output
    assert "20 rows = 19 crystals + 1 reject\n" in result.output
    assert "zzz.cif, id zzz: unparsable CIF" in result.output
    assert Path("r.txt").read_text().startswith("zzz.cif")
    assert Path("p.png").exists()


def test_info_of_one_element_needs_no_fit() -> None:
    write([Crystal.of("a", [29], 2.5 * np.eye(3), [[0, 0, 0]])], Path("cu.parquet"))
    result = run("info", "cu.parquet", "--plot", "cu.png")
    assert result.exit_code == 0, result.output
    assert Path("cu.png").exists()
    assert "Cu 100.0 %" in result.output
    assert "labels: none" in result.output


def test_import_counts_add_up(cifs: str) -> None:
    result = run("import", cifs, "out.parquet")
    assert result.exit_code == 0, result.output
    assert "20 rows in = 19 crystals + 1 rejects" in result.output
    assert len(read(Path("out.parquet")).crystals) == 19


def test_import_strict_writes_nothing(cifs: str) -> None:
    result = run("import", cifs, "out.parquet", "--strict")
    assert result.exit_code == 1
    assert "zzz.cif" in result.output
    assert not Path("out.parquet").exists()


def test_import_primitive() -> None:
    both = [[0, 0, 0], [0.5, 0.5, 0.5]]
    conventional = Crystal.of("bcc", [26, 26], 2.87 * np.eye(3), both, total_energy=-16.5)
    write([conventional], Path("in.extxyz"))
    result = run("import", "in.extxyz", "out.csv", "--primitive")
    assert result.exit_code == 0, result.output
    (crystal,) = read(Path("out.csv")).crystals
    assert len(crystal) == 1
    assert crystal.volume == pytest.approx(conventional.volume / 2, rel=1e-5)
    assert crystal.labels == conventional.labels
    assert "cells became smaller and kept their labels (total_energy)" in result.output


def test_import_says_that_cifs_hold_no_labels() -> None:
    write(load_bundled("val")[:5], Path("in.parquet"))
    result = run("import", "in.parquet", "out")
    assert "left out: e_above_hull" in result.output


@pytest.mark.parametrize(
    "args",
    [
        ("info", "nowhere.csv"),
        ("info", "x.json"),
        ("import", "nowhere.csv", "out.parquet"),
        ("import", "bundled", "nowhere/out.parquet"),
        ("import", "bundled", "out.json"),
        ("info", "bundled", "--plot", "nowhere/p.png"),
        ("info", "bundled", "--rejects", "nowhere/r.txt"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_1(args: tuple[str, ...]) -> None:
    Path("x.json").write_text(json.dumps({}))
    result = run(*args)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    (line,) = [line for line in result.output.splitlines() if line.startswith("Error:")]
    assert "nowhere" in line or ".json" in line


def test_help_teaches_and_loads_nothing_heavy() -> None:
    assert "crystalsweep data info bundled" in run("info", "--help").output
    assert "--primitive" in run("import", "--help").output
    code = (
        "import sys; from crystalsweep.cli.data import data; "
        "print([m for m in ('torch', 'ray', 'mlflow', 'pandas', 'pymatgen', 'matplotlib') if m in sys.modules])"
    )
    env = os.environ | {"PYTHONPATH": str(Path(sys.modules["crystalsweep.data"].__path__[0]).parents[1])}
    assert subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True).stdout == "[]\n"
