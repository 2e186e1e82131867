"""Commands to type next on a store: they name the store in use, and no password."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from crystalsweep.artifacts.addresses import Address
from crystalsweep.tracking.next_steps import store_options, use_commands
from crystalsweep.tracking.tracker import sqlite_uri

TARGET = "crystal-generator@champion"


def test_the_usual_store_needs_no_option_but_in_mlflow_s_own_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRYSTALSWEEP_STORAGE", str(tmp_path))
    told = use_commands(TARGET, Address(sqlite_uri(tmp_path)), tmp_path)
    assert f'crystalsweep.load("models:/{TARGET}")' in told[2]
    assert not any("--storage" in line or "--tracking-uri" in line for line in told)
    assert f"MLFLOW_TRACKING_URI={sqlite_uri(tmp_path)} " in told[3]


def test_another_store_is_named_in_every_command_and_quoted(tmp_path: Path) -> None:
    storage = tmp_path / "a store"
    storage.mkdir()
    told = use_commands(TARGET, Address(sqlite_uri(storage)), storage)
    for line in (told[1], told[4]):
        assert shlex.split(line)[-2:] == ["--storage", str(storage)]
    assert f"tracking_uri='{sqlite_uri(storage)}'" in told[2]


def test_no_command_has_a_password() -> None:
    address = Address("http://me:hush-hush@host:5000")
    told = "\n".join(use_commands(TARGET, address, Path("/x")))
    assert "hush" not in told
    assert "MLFLOW_TRACKING_URI" in told.splitlines()[-1]
    assert "hush" not in store_options(address, "s3://bucket/x")
