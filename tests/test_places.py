"""Commands leave the folder that a user stands in as it was, unless a file in it is asked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from crystalsweep.artifacts.places import folder_name
from crystalsweep.cli.main import main
from crystalsweep.tracking.tracker import Tracker, sqlite_uri
from sweeps.gan_noise import main as gan_noise

CONTROL = Path(__file__).parent / "fixtures" / "generators" / "control"
COMMANDS = {"crystalsweep": main, "gan_noise": gan_noise}


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage with an MLflow store."""
    folder = tmp_path_factory.mktemp("storage")
    given = os.environ.get("MLFLOW_TRACKING_URI")
    tracker = Tracker(sqlite_uri(folder))
    tracker.start(tracker.experiment("gan_noise", folder / "artifacts"), "a run", kind="sweep")
    if given is None:
        os.environ.pop("MLFLOW_TRACKING_URI", None)  # MLflow sets it
    return folder


@pytest.fixture
def here(storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, in a folder of its own."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("CRYSTALSWEEP_STORAGE", str(storage))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.mark.parametrize(
    "line",
    [
        "crystalsweep data info bundled",
        "crystalsweep model info --counts-only",
        "crystalsweep history",
        "crystalsweep leaderboard gan_noise",
        "crystalsweep train pretrain --settings",
        "crystalsweep train pretrain --set epochs=0",
        "crystalsweep evaluate --checkpoint CONTROL --set max_atoms=0",
        "crystalsweep evaluate --checkpoint nobody",
        "crystalsweep promote CONTROL --suite none",
        "gan_noise --preset smoke --dry-run",
        "gan_noise --data missing.csv",
    ],
)
def test_the_working_directory_stays_as_it_was(line: str, here: Path) -> None:
    command, *arguments = line.replace("CONTROL", str(CONTROL)).split()
    CliRunner().invoke(COMMANDS[command], arguments, catch_exceptions=False)
    assert list(here.iterdir()) == []
    assert [path.name for path in here.parent.iterdir()] == ["here"]


def test_an_evaluation_is_written_where_asked(here: Path) -> None:
    out = here.parent / "out"
    asked = ["--checkpoint", "identity", "--max-crystals", "2", "--calculator", "none", "--workers", "1"]
    ran = CliRunner().invoke(main, ["evaluate", *asked, "--out", str(out)], catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    assert (out / "metrics.json").exists()
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("gan, all masks", "gan-all-masks"),
        ("../../x", "x"),
        ("/etc/passwd", "etc-passwd"),
        ("a\nb\0c", "a-b-c"),
        ("..", "unnamed"),
        ("Größe α", "Größe-α"),
        ("x" * 300, "x" * 80),
    ],
)
def test_a_folder_has_a_plain_name_of_one_level(text: str, name: str) -> None:
    assert folder_name(text) == name


def test_no_name_leads_out_of_the_evaluations(here: Path) -> None:
    asked = ["evaluate", "--checkpoint", "identity", "--max-crystals", "2", "--calculator", "none", "--workers", "1"]
    ran = CliRunner().invoke(main, [*asked, "--name", "../../outside"])
    assert ran.exit_code == 0, ran.output
    assert [path.name for path in here.iterdir()] == ["evaluations"]
    assert not [path for path in here.parent.parent.iterdir() if "outside" in path.name]
