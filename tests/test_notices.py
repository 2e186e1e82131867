"""Known notices of libraries stay off the terminal, and nothing else does."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from crystalsweep.wording.notices import LINES, without_known_lines


def python(code: str, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *flags, "-c", code], capture_output=True, text=True, check=False)


NOBLE = "import crystalsweep\nfrom pymatgen.core import Composition\nComposition('NeHeArO').reduced_formula"


def test_noble_gases_are_written_without_a_warning() -> None:
    ran = python(NOBLE)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "No Pauling electronegativity for Ne" in python(NOBLE.replace("import crystalsweep\n", "")).stderr


def test_other_warnings_are_shown() -> None:
    ran = python(
        "import crystalsweep, warnings\nwarnings.warn('No Pauling at all')\nwarnings.warn('odd', RuntimeWarning)"
    )
    assert "UserWarning: No Pauling at all" in ran.stderr
    assert "RuntimeWarning: odd" in ran.stderr


def test_whoever_asks_for_all_warnings_gets_them() -> None:
    ran = python(NOBLE, "-W", "error::UserWarning")
    assert "UserWarning: No Pauling electronegativity" in ran.stderr


@pytest.mark.parametrize("backbone", ["escn_md", "equiformer_v2"])
def test_a_network_of_fairchem_is_built_without_a_word(backbone: str) -> None:
    """Its Warp says that there is no GPU."""
    code = (
        f"from crystalsweep.cli.main import main\nmain(['model', 'info', '--backbone', '{backbone}', '--counts-only'])"
    )
    ran = python(code)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_lines_that_are_not_known_follow(capfd: pytest.CaptureFixture[str]) -> None:
    with without_known_lines():
        os.write(2, b"before\n" + LINES[0] + b" GPU execution will not be available.\nafter\n")
    assert capfd.readouterr().err == "before\nafter\n"
    with pytest.raises(ImportError), without_known_lines():
        os.write(2, b"why it failed\n")
        raise ImportError
    assert capfd.readouterr().err == "why it failed\n"
