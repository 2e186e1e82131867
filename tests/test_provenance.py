"""Two hashes: which code runs, and which code decides what a training computes."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from crystalsweep.provenance import user

ROOT = Path(__file__).resolve().parent.parent

HASHES = """
from crystalsweep.evaluation.settings import versions
from crystalsweep.provenance import code_sha256, training_sha256

print(code_sha256(), training_sha256("trainables.pretrain"), versions()["measuring_code"])
"""


def hashes(tree: Path) -> tuple[str, str, str]:
    """Of all code, of what decides a pre-training, of what measures: as a process of this tree has them."""
    path = os.pathsep.join((str(tree), str(tree / "platform")))
    environment = {**os.environ, "PYTHONPATH": path}
    ran = subprocess.run(
        [sys.executable, "-c", HASHES], cwd=tree, env=environment, capture_output=True, text=True, check=True
    )
    code, training, measuring = ran.stdout.split()
    return code, training, measuring


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[str, str, str]]:
    """A copy of the code, and its hashes."""
    tree = tmp_path_factory.mktemp("tree")
    ignore = shutil.ignore_patterns("__pycache__", "*.parquet")
    for part in ("platform", "trainables"):
        shutil.copytree(ROOT / part, tree / part, ignore=ignore)
    return tree, hashes(tree)


@pytest.mark.parametrize(
    ("file", "old", "new", "changed"),
    [
        ("platform/crystalsweep/plots/style.py", "#0072B2", "#0072B3", (True, False, False)),
        ("platform/crystalsweep/sweeping/report/words.py", "_NAMED = 4", "_NAMED = 5", (True, False, False)),
        (
            "platform/crystalsweep/losses/adversarial.py",
            "import annotations\n",
            "import annotations\nN = 1\n",
            (True, True, False),
        ),
        ("trainables/gan/config.py", "audit_every=1", "audit_every=2", (True, True, False)),
        (
            "platform/crystalsweep/metrics/geometry.py",
            "import annotations\n",
            "import annotations\nN = 1\n",
            (True, False, True),
        ),
        (
            "platform/crystalsweep/structures/corruption.py",
            "import annotations\n",
            "import annotations\nN = 1\n",
            (True, True, True),
        ),
        (
            "platform/crystalsweep/evaluation/report.py",
            "import annotations\n",
            "import annotations\nN = 1\n",
            (True, False, False),
        ),
    ],
    ids=["colour", "sentence", "loss", "preset", "metric", "corruption", "report"],
)
def test_a_change_trains_and_measures_anew_only_what_it_decides(
    before: tuple[Path, tuple[str, str, str]], file: str, old: str, new: str, changed: tuple[bool, bool, bool]
) -> None:
    """The second hash is part of a pre-training's key, by which it is found again: a colour leaves it as it is."""
    tree, known = before
    text = (tree / file).read_text()
    assert old in text
    (tree / file).write_text(text.replace(old, new, 1))
    found = hashes(tree)
    (tree / file).write_text(text)
    assert tuple(a != b for a, b in zip(known, found, strict=True)) == changed


def test_a_user_has_a_name_where_the_environment_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    assert user() == pwd.getpwuid(os.getuid()).pw_name
    monkeypatch.setattr(os, "getuid", lambda: 3_999_999)
    assert user() == "uid-3999999"
