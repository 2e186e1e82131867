"""The shape of the code: imports point one way, `platform` stays the stdlib's, configs stay light."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {
    "crystalsweep": ROOT / "platform" / "crystalsweep",
    "trainables": ROOT / "trainables",
    "sweeps": ROOT / "sweeps",
}
SOURCES = {name: sorted(folder.rglob("*.py")) for name, folder in PACKAGES.items()}
ALL = [path for paths in SOURCES.values() for path in paths]
NO_HOME = {"utils", "util", "helpers", "helper", "common", "misc", "tools"}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path) -> Iterator[str]:
    """Dotted names of everything a file imports, at its top or inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{relative(path)}: relative import in line {node.lineno}"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def importers(package: str, forbidden: set[str]) -> list[str]:
    """Files of a package that import anything of the forbidden packages."""
    return [
        f"{relative(path)} imports {name}"
        for path in SOURCES[package]
        for name in imports(path)
        if name.split(".")[0] in forbidden
    ]


def python(code: str, *paths: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter with these folders on its PYTHONPATH, first come first."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=cwd, capture_output=True, text=True, check=False
    )


def test_there_is_something_to_check() -> None:
    assert all(len(paths) > 3 for paths in SOURCES.values())


# Imports point one way


def test_library_imports_nothing_that_is_built_on_it() -> None:
    assert importers("crystalsweep", {"trainables", "sweeps"}) == []


def test_trainables_import_no_sweep() -> None:
    assert importers("trainables", {"sweeps"}) == []


LOOPS = [
    ROOT / "trainables" / "loop.py",
    ROOT / "trainables" / "stage.py",
    ROOT / "trainables" / "session.py",
    ROOT / "trainables" / "local.py",
    ROOT / "trainables" / "stored.py",
    ROOT / "trainables" / "alone.py",
    ROOT / "trainables" / "job.py",
    *sorted((ROOT / "trainables").glob("*/train.py")),
]


@pytest.mark.parametrize("path", LOOPS, ids=relative)
def test_training_loops_know_neither_ray_nor_mlflow(path: Path) -> None:
    assert [name for name in imports(path) if name.split(".")[0] in {"ray", "mlflow", "optuna"}] == []


def test_one_file_of_the_library_knows_ray() -> None:
    found = {entry.split(" imports ")[0] for entry in importers("crystalsweep", {"ray"})}
    assert found == {"platform/crystalsweep/evaluation/spread.py"}


def test_every_stage_has_a_loop() -> None:
    assert {path.parent.name for path in LOOPS} >= {"pretrain", "finetune", "gan"}


def test_nothing_imports_the_tests() -> None:
    assert [entry for package in PACKAGES for entry in importers(package, {"tests", "pytest", "hypothesis"})] == []


# Names


def test_every_module_says_what_it_is() -> None:
    assert [relative(path) for path in ALL if not ast.get_docstring(ast.parse(path.read_text()))] == []


def test_files_are_named_after_what_they_hold() -> None:
    assert [relative(path) for path in ALL if path.stem.strip("_") in NO_HOME] == []


def test_no_file_mentions_a_place_on_somebodys_disk() -> None:
    places = (f"{ROOT}/", "/home" + "/", "/Users" + "/")
    files = [*ALL, *(path for path in (ROOT / "tests").rglob("*.py"))]
    assert [relative(path) for path in files if any(place in path.read_text() for place in places)] == []


# platform/ is a source root, not a package


def test_platform_holds_packages_only() -> None:
    assert [path.name for path in (ROOT / "platform").iterdir() if path.suffix == ".py"] == []
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_platform_is_the_stdlibs_with_the_root_on_the_path(tmp_path: Path) -> None:
    ran = python("import platform, uuid; print(platform.__file__); uuid.uuid4()", ROOT, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert Path(ran.stdout.strip()).parent == Path(sysconfig.get_path("stdlib"))


# What is light stays light

HELP = """
from click.testing import CliRunner
from crystalsweep.cli.main import main
ran = CliRunner().invoke(main, ["--help"])
assert ran.exit_code == 0 and "Usage" in ran.output, ran.output
"""


@pytest.mark.parametrize(
    "code",
    ["import crystalsweep.training.catalogue, crystalsweep.hyperparameters", HELP],
    ids=["configs", "crystalsweep --help"],
)
def test_imports_without_torch(code: str, tmp_path: Path) -> None:
    heavy = "import sys; print(sorted({'torch', 'ray', 'mlflow', 'pymatgen'} & set(sys.modules)))"
    ran = python(f"{code}\n{heavy}", ROOT, ROOT / "platform", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "[]"


# One tree's code at a time


def other_tree(folder: Path) -> Path:
    """Another copy of the library, as an installed one would be."""
    ignore = shutil.ignore_patterns("__pycache__", "bundled", "*.parquet")
    shutil.copytree(PACKAGES["crystalsweep"], folder / "crystalsweep", ignore=ignore)
    return folder


def test_trainables_refuse_another_trees_library(tmp_path: Path) -> None:
    other = other_tree(tmp_path / "other")
    ran = python("import crystalsweep, trainables", other, ROOT, cwd=tmp_path)
    assert ran.returncode != 0
    assert "ImportError: crystalsweep was imported from" in ran.stderr
    assert "two copies of the code are mixed" in ran.stderr


@pytest.mark.parametrize("first", ["trainables", "sweeps"])
def test_trainables_imported_first_bring_their_own_library(first: str, tmp_path: Path) -> None:
    other = other_tree(tmp_path / "other")
    ran = python(f"import {first}, crystalsweep; print(crystalsweep.__file__)", other, ROOT, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert Path(ran.stdout.strip()).resolve().is_relative_to(PACKAGES["crystalsweep"])


@pytest.mark.parametrize("name", sorted(path.stem for path in PACKAGES["sweeps"].glob("[a-z]*.py")))
def test_sweeps_run_with_the_library_beside_them(name: str, tmp_path: Path) -> None:
    """As a submitted job does, where another copy is installed."""
    path = PACKAGES["sweeps"] / f"{name}.py"
    code = f"import runpy, sys; sys.argv = [{name!r}, '--help']; runpy.run_path({str(path)!r}, run_name='__main__')"
    ran = python(code, other_tree(tmp_path / "other"), ROOT, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "--preset" in ran.stdout
