"""`crystalsweep verify` of damaged versions: exit code 3 and why, whatever the damage; 1 where nothing can be asked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from crystalsweep.artifacts.seal import SEAL, seal
from crystalsweep.cli.registry import registry, verify
from crystalsweep.inference.locate import locate
from crystalsweep.tracking.tracker import Tracker, sqlite_uri

pytestmark = pytest.mark.server  # a store, and evaluations in processes of their own

CHAMPION = "models:/crystal-generator@champion"
DOSSIER = "dossier/dossier.json"
WEIGHTS = "checkpoint/generator.safetensors"
Damage = Callable[[Path], object]


def verified(store: Path, reference: object, code: int) -> str:
    where = ("--workers", "1", "--storage", str(store), "--tracking-uri", sqlite_uri(store))
    result = CliRunner().invoke(verify, [str(reference), *where])
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    assert ("NO LONGER HOLDS" in result.output) == (code == 3)
    return result.output


@pytest.fixture
def version(promoted: Path, tmp_path: Path) -> Path:
    """A copy of the champion's files, to damage."""
    folder = tmp_path / "version"
    shutil.copytree(locate(CHAMPION, Tracker(sqlite_uri(promoted)), promoted / "downloads").root, folder)
    return folder


def change_a_bit(folder: Path) -> None:
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-3] ^= 1
    (folder / WEIGHTS).write_bytes(content)


def forget_its_suite(folder: Path) -> None:
    """A dossier that lacks a field, sealed anew: consistent, and none."""
    content = json.loads((folder / DOSSIER).read_text())
    del content["suite"]
    (folder / DOSSIER).write_text(json.dumps(content))
    seal(folder)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda folder: (folder / DOSSIER).unlink(), "has no dossier"),
        (lambda folder: (folder / DOSSIER).write_text("{"), "was changed"),
        (lambda folder: (folder / DOSSIER).write_bytes(b"\xff\xfe"), "was changed"),
        (forget_its_suite, "suite"),
        (lambda folder: (folder / WEIGHTS).write_bytes(b""), "no safetensors file"),
        (lambda folder: (folder / WEIGHTS).unlink(), "generator.safetensors"),
        (lambda folder: (folder / "checkpoint" / "checkpoint.json").write_text("[]"), "is no JSON object"),
        (lambda folder: (folder / "dossier" / "evaluation" / "metrics.json").unlink(), "metrics.json"),
        (lambda folder: (folder / "FILES.json").unlink(), "has no FILES.json"),
        (lambda folder: (folder / "more.txt").write_text("more"), "'more.txt'"),
        (lambda folder: (folder / "link").symlink_to("/etc/passwd"), "is a link"),
        (change_a_bit, "'checkpoint/generator.safetensors' was changed"),
    ],
)
def test_a_damaged_version_no_longer_holds(promoted: Path, version: Path, damage: Damage, told: str) -> None:
    damage(version)
    assert told in " ".join(verified(promoted, version, 3).split())


def test_files_that_were_changed_in_the_store_no_longer_hold(promoted: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    result = CliRunner().invoke(
        registry, ["export", CHAMPION, str(tmp_path / "a.zip"), "--tracking-uri", sqlite_uri(promoted)]
    )
    assert result.exit_code == 0, result.output
    where = ["--storage", str(store), "--tracking-uri", sqlite_uri(store)]
    result = CliRunner().invoke(registry, ["import", str(tmp_path / "a.zip"), "--to", "champion", *where])
    assert result.exit_code == 0, result.output
    (mlmodel,) = (store / "mlflow-artifacts").rglob("MLmodel")
    kept = (mlmodel.parent / WEIGHTS).read_bytes()
    change_a_bit(mlmodel.parent)
    assert "'checkpoint/generator.safetensors' was changed" in " ".join(verified(store, CHAMPION, 3).split())
    seal(mlmodel.parent)
    assert "the registry has" in verified(store, CHAMPION, 3)
    (mlmodel.parent / WEIGHTS).write_bytes(kept)
    seal(mlmodel.parent)
    verified(store, CHAMPION, 0)
    Tracker(sqlite_uri(store)).client.delete_model_version_tag("crystal-generator", "1", SEAL)
    assert "the registry has no seal of version 1" in " ".join(verified(store, CHAMPION, 3).split())


def test_a_damaged_archive_no_longer_holds(promoted: Path, tmp_path: Path) -> None:
    file = tmp_path / "champion.zip"
    CliRunner().invoke(registry, ["export", CHAMPION, str(file), "--tracking-uri", sqlite_uri(promoted)])
    whole = file.read_bytes()
    changed = bytearray(whole)
    changed[len(changed) // 2] ^= 1
    for content in (bytes(changed), whole[:-100], b""):
        file.write_bytes(content)
        assert "champion.zip" in verified(promoted, file, 3)


def test_what_cannot_be_asked_is_no_verdict(promoted: Path, tmp_path: Path) -> None:
    assert "has no dossier" in verified(promoted, Path(__file__).parents[1] / "fixtures" / "generators" / "control", 1)
    assert "nor a name that is understood" in verified(promoted, tmp_path / "nothing.zip", 1)
    assert "crystal-generator" in verified(promoted, "models:/crystal-generator/7", 1)
