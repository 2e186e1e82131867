"""What is given away: the wheel has all that completing a crystal needs; the documentation builds without a warning."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.long
def test_the_wheel_completes_a_crystal_on_its_own(tmp_path: Path) -> None:
    """In an environment with the dependencies and without the source: the wheel's files come first, and nothing of the
    checkout is on the path."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)], check=True, timeout=600)
    (wheel,) = tmp_path.glob("crystalsweep-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert "crystalsweep/py.typed" in names
    assert wheel.stat().st_size < 15_000_000
    target = tmp_path / "installed"
    subprocess.run([*pip, "install", "--no-deps", "--target", str(target), str(wheel)], check=True, timeout=600)
    code = "import crystalsweep; print(crystalsweep.__file__); from crystalsweep.cli.main import main; main()"
    given = ["-c", code, "complete", str(ROOT / "docs" / "examples" / "BaTiO3.cif"), "--mask", "Ti", "--top", "3"]
    environment = os.environ | {"PYTHONPATH": str(target), "CRYSTALSWEEP_STORAGE": str(tmp_path / "store")}
    ran = subprocess.run(
        [sys.executable, *given], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith(str(target))
    assert "BaTiO3" in ran.stdout


NOTEBOOKS = {
    "complete_and_predict": "BaTiO3 ",
    "cifs_to_generator": "200 crystals, 0 rejects",
    "sweep_to_champion": "control",
}
"""Each with something that it prints."""


def test_every_tutorial_is_a_notebook() -> None:
    assert {file.stem for file in (ROOT / "docs" / "notebooks").glob("*.py")} == NOTEBOOKS.keys()


@pytest.mark.parametrize(
    "notebook",
    [name if name == "complete_and_predict" else pytest.param(name, marks=pytest.mark.long) for name in NOTEBOOKS],
)
def test_a_notebook_runs_from_top_to_bottom(notebook: str, tmp_path: Path) -> None:
    """In a folder that has what a clone has, with a store of its own."""
    for name in ("docs", "sweeps", "trainables", "platform"):
        (tmp_path / name).symlink_to(ROOT / name)
    environment = os.environ | {
        "CRYSTALSWEEP_STORAGE": str(tmp_path / "store"),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
    }
    environment.pop("MLFLOW_TRACKING_URI", None)
    script = [sys.executable, str(ROOT / "docs" / "notebooks" / f"{notebook}.py")]
    ran = subprocess.run(script, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=1200)
    assert ran.returncode == 0, ran.stderr
    assert NOTEBOOKS[notebook] in ran.stdout


@pytest.mark.long
def test_the_documentation_builds_strictly(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="`make docs` installs what it takes")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    settings = (tmp_path / "site" / "reference" / "settings.html").read_text()
    assert "w_pos" in settings and "{{" not in settings
    assert "control arm" in (tmp_path / "site" / "glossary.html").read_text()
    for page in (tmp_path / "site").rglob("*.html"):
        assert not [each for each in ("fonts.googleapis", "cdn.", "unpkg") if each in page.read_text()], page
