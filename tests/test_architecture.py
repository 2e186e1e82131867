"""The shape of the code: rooms, names and docstrings; `platform` stays the stdlib's, configs stay light.

That imports point down the layers, and never in circles, import-linter holds (`make style`, pyproject.toml).
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from crystalsweep.provenance import DECIDES_TRAINING
from infra import draw_architecture

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


# Rooms

ROOMS = sorted(path for path in PACKAGES["crystalsweep"].iterdir() if (path / "__init__.py").exists())
INNER = sorted(path.parent for room in ROOMS for path in room.rglob("__init__.py") if path.parent != room)
ON_CALL = {
    "platform/crystalsweep/cli",
    "platform/crystalsweep/sweeping/command.py",
    "platform/crystalsweep/__init__.py",
}
"""What a command runs is imported when it is called, and what a user exports when it is asked for: both are heavy."""
DECIDES_NO_TRAINING = {
    "app",
    "artifacts",
    "cli",
    "cluster",
    "energies",
    "evaluation",
    "gallery",
    "inference",
    "leaderboard",
    "metrics",
} | {
    *(
        "pages",
        "plots",
        "registry",
        "sweeping",
        "tracking",
        "wording",
        "provenance.py",
        "serving.py",
        "__init__.py",
        "__main__.py",
    ),
}
"""Rooms and modules whose change trains nothing anew: they show, store or judge what was computed."""


def test_the_root_of_the_library_is_small() -> None:
    found = {path.stem for path in PACKAGES["crystalsweep"].glob("*.py")} - {"__init__"}
    assert found == {"__main__", "config", "hyperparameters", "provenance", "seeding", "serving"}


def test_sweeps_hold_questions_and_axes() -> None:
    found = {path.name for path in PACKAGES["sweeps"].iterdir()} - {"__pycache__"}
    questions = {path.name for path in PACKAGES["sweeps"].glob("*.py") if "SWEEP = SweepSpec(" in path.read_text()}
    assert found - questions == {"__init__.py", "axes.py", "README.md"}
    assert len(questions) >= 6


@pytest.mark.parametrize("room", [*ROOMS, *INNER, PACKAGES["trainables"], PACKAGES["sweeps"]], ids=relative)
def test_every_room_says_what_it_is_for(room: Path) -> None:
    text = (room / "README.md").read_text()
    assert 5 <= len(text.splitlines()) <= 30
    named = re.findall(r"`([a-z_/]+\.py)`", text)
    assert named, "it says where to start reading"
    library = PACKAGES["crystalsweep"]
    places = (room, library, library.parent, ROOT)
    assert [name for name in named if not any((place / name).exists() for place in places)] == []


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    yield from (
        n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def test_what_is_imported_inside_a_function_is_a_heavy_third_party() -> None:
    ours = [
        f"{relative(path)}: {name}"
        for path in ALL
        if not any(relative(path).startswith(place) for place in ON_CALL)
        for function in functions(path)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [each.name for each in node.names])
        if name.split(".")[0] in PACKAGES
    ]
    assert ours == []


def test_every_room_says_whether_it_decides_a_training() -> None:
    library = PACKAGES["crystalsweep"]
    rooms = {path.name for path in (*ROOMS, *library.glob("*.py"))}
    assert rooms == set(DECIDES_TRAINING) | DECIDES_NO_TRAINING
    assert not set(DECIDES_TRAINING) & DECIDES_NO_TRAINING


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


VERBS = set((ROOT / "tests" / "verbs.txt").read_text().split())
"""Verbs that docstrings of functions begin with; a new one is added with its first use."""


DESCRIBED_ELSEWHERE = {"end", "edge_degree_scatter"}
"""Methods whose parameters an interface describes: `sweeping.watch.Source`, fairchem's `ExecutionBackend`."""


def test_docstrings_begin_with_a_verb() -> None:
    """Of functions and methods; a property's says what it is, and a test's says what is special about it."""
    fragments = [
        f"{relative(path)}:{function.lineno} {function.name}: {text.splitlines()[0]}"
        for path in ALL
        for function in functions(path)
        if (text := ast.get_docstring(function)) and text.split()[0].strip(",.;:") not in VERBS
        if not function.name.startswith("test_")
        if not any(isinstance(d, ast.Name) and d.id in ("property", "cached_property") for d in function.decorator_list)
    ]
    assert fragments == []


def test_public_functions_with_many_parameters_describe_them() -> None:
    bare = [
        f"{relative(path)}:{function.lineno} {function.name}"
        for path in ALL
        for function in functions(path)
        if "cli" not in path.parts  # a command's parameters are its options, each with its help
        if not function.name.startswith("_") and (text := ast.get_docstring(function))
        if function.name not in DESCRIBED_ELSEWHERE
        if len(named := _parameters(function)) >= 5
        if "Args:" not in text or any(f"{name}:" not in text for name in named)
    ]
    assert bare == []


def _parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    arguments = function.args
    named = [each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return [name for name in named if name not in ("self", "cls")]


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
    ["import crystalsweep.training.catalogue, crystalsweep.hyperparameters", "import crystalsweep", HELP],
    ids=["configs", "crystalsweep", "crystalsweep --help"],
)
def test_imports_without_torch(code: str, tmp_path: Path) -> None:
    heavy = "import sys; print(sorted({'torch', 'ray', 'mlflow', 'pymatgen'} & set(sys.modules)))"
    ran = python(f"{code}\n{heavy}", ROOT, ROOT / "platform", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("command", "at_most"),
    [("from crystalsweep.cli.main import main", 1), ("from sweeps.gan_noise import main", 2)],
    ids=["crystalsweep", "a sweep"],
)
def test_help_comes_at_once(command: str, at_most: float, tmp_path: Path) -> None:
    """In seconds of CPU, which a busy machine does not change much."""
    code = f"{command}\nimport atexit, time\natexit.register(lambda: print(time.process_time()))\nmain(['--help'])"
    ran = python(code, ROOT, ROOT / "platform", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert float(ran.stdout.splitlines()[-1]) <= at_most


def test_help_of_all_commands_is_their_own(tmp_path: Path) -> None:
    """What is read from the source is what click would say of the command itself."""
    code = """
import click
from crystalsweep.cli import main as module
for name, entry in module.Discovered._found().items():
    assert module._short_help(entry, 60) == entry.load().get_short_help_str(60), name
"""
    ran = python(code, ROOT, ROOT / "platform", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr


def test_the_drawn_map_has_every_room() -> None:
    assert {room for layer in draw_architecture.layers() for room in layer} == draw_architecture.ROOMS.keys()


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


@pytest.mark.parametrize("name", sorted(path.stem for path in PACKAGES["sweeps"].glob("[b-z]*.py")))
def test_sweeps_run_with_the_library_beside_them(name: str, tmp_path: Path) -> None:
    """As a submitted job does, where another copy is installed."""
    path = PACKAGES["sweeps"] / f"{name}.py"
    code = f"import runpy, sys; sys.argv = [{name!r}, '--help']; runpy.run_path({str(path)!r}, run_name='__main__')"
    ran = python(code, other_tree(tmp_path / "other"), ROOT, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "--preset" in ran.stdout
