"""The generator that is used where nobody names one: the registry's champion, else the one of the package."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import crystalsweep
from crystalsweep.artifacts.seal import BrokenSealError
from crystalsweep.cli.registry import verify
from crystalsweep.data import absolute_source, load_data, read
from crystalsweep.evaluation.freezing import require_same_crystals
from crystalsweep.evaluation.suite import find_suite
from crystalsweep.inference import champion
from crystalsweep.inference.champion import SHIPPED, shipped_champion
from crystalsweep.inference.locate import locate
from crystalsweep.registry.dossier import read_dossier
from crystalsweep.structures.batch import is_stable
from crystalsweep.structures.crystal import MASK, Crystal
from crystalsweep.tracking.tracker import sqlite_uri

FCC = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
ROCK_SALT = Crystal.of("NaCl", [11] * 4 + [MASK] * 4, 5.64 * np.eye(3), np.concatenate([FCC, (FCC + 0.5) % 1]))


def test_without_a_registry_the_champion_is_the_packages_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("CRYSTALSWEEP_STORAGE", str(tmp_path / "none"))
    restorer = crystalsweep.load()
    assert (restorer.reference, restorer.run, restorer.version) == (SHIPPED, None, None)
    assert capsys.readouterr().err == f"generator: {champion.CHAMPION}, which comes with the package\n"
    assert not (tmp_path / "none").exists()
    assert restorer.complete(ROCK_SALT).crystal.species.tolist() == [11] * 4 + [17] * 4
    assert crystalsweep.load(SHIPPED).info == restorer.info
    assert capsys.readouterr().err == ""


@pytest.mark.server
def test_the_champion_of_the_registry_comes_first(promoted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    restorer = crystalsweep.load(tracking_uri=sqlite_uri(promoted), storage=promoted)
    assert (restorer.reference, restorer.version) == ("models:/crystal-generator@champion", "1")
    assert "models:/crystal-generator@champion, version 1" in capsys.readouterr().err


@pytest.mark.server
def test_a_registry_without_a_champion_leaves_the_packages(promoted: Path, tmp_path: Path) -> None:
    shutil.copytree(promoted, tmp_path / "store")
    found = champion.open_tracker(sqlite_uri(tmp_path / "store"), tmp_path)
    assert found is not None
    found.client.delete_registered_model_alias("crystal-generator", "champion")
    assert champion.champion_in_use(sqlite_uri(tmp_path / "store"), tmp_path) == SHIPPED


def test_a_server_that_is_away_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no MLflow server answers"):
        crystalsweep.load(tracking_uri="http://127.0.0.1:1", storage=tmp_path)


def test_a_file_of_that_name_is_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert locate(SHIPPED, None, tmp_path).root == shipped_champion()
    (tmp_path / SHIPPED).mkdir()
    with pytest.raises(ValueError, match="shipped holds no checkpoint"):
        locate(SHIPPED, None, tmp_path)


def test_a_changed_champion_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(shipped_champion(), tmp_path / champion.CHAMPION)
    monkeypatch.setattr(champion, "_CHAMPIONS", tmp_path)
    (tmp_path / champion.CHAMPION / "MODEL_CARD.md").write_text("the best there is")
    with pytest.raises(BrokenSealError, match=r"MODEL_CARD\.md.*install crystalsweep again"):
        crystalsweep.load(SHIPPED)
    ran = CliRunner().invoke(verify, [SHIPPED, "--workers", "1"])
    assert (ran.exit_code, "NO LONGER HOLDS" in ran.output) == (3, True)


def test_it_was_promoted_by_every_gate_on_crystals_that_it_was_not_trained_on() -> None:
    dossier = read_dossier(shipped_champion())
    assert dossier.verdict == "promoted" and not dossier.forced
    assert {gate.name for gate in dossier.gates if gate.passed} == {"physics", "leakage", "gain", "reproducibility"}
    assert dossier.suite == find_suite("mp2018-200")
    size = sum(file.stat().st_size for file in shipped_champion().rglob("*") if file.is_file())
    assert size <= 12_000_000
    kinds = {file.suffix for file in shipped_champion().rglob("*") if file.is_file()}
    assert kinds == {".json", ".safetensors", ".md"}


@pytest.mark.server  # an evaluation of 2,616 crystals
def test_its_dossier_holds() -> None:
    ran = CliRunner().invoke(verify, [SHIPPED, "--workers", "1"])
    assert ran.exit_code == 0, ran.output
    assert "holds" in ran.output and "NO LONGER" not in ran.output
    told = " ".join(ran.output.split())
    assert "name it with --trained-on" in told or "0 of 200 held-out crystals" in told, "where the data lies as it did"


def test_held_out_crystals_are_those_of_the_suite_and_in_no_bundled_composition() -> None:
    held_out = read(Path("mp2018-heldout")).crystals
    assert len(held_out) == 200 and all(is_stable(crystal) and len(crystal) <= 60 for crystal in held_out)
    known = {crystal.reduced_formula for crystal in load_data("bundled").crystals}
    assert not known & {crystal.reduced_formula for crystal in held_out}
    require_same_crystals(find_suite("mp2018-200"))
    assert absolute_source("mp2018-heldout") == "mp2018-heldout"
