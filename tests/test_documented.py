"""What README and the documentation tell a reader to type is run, page by page, in a folder with what it speaks of.

Smaller than written where it would take minutes: trainings and sweeps at the preset `smoke`, evaluations of eight
crystals. The other options are as they stand on the page.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from shutil import copytree

import pytest

from crystalsweep.data.loading import load_data
from crystalsweep.data.writing import write
from crystalsweep.structures.crystal import Crystal
from tests.documented import PAGES, ROOT, Block, blocks_of

GENERATORS = ROOT / "tests" / "fixtures" / "generators"
PLACES = {"runs/pretrain": "control", "runs/control": "control", "runs/gan": "adversarial"}
"""What a page uses and does not make itself."""
PROPERTIES = ("runs/bulk_modulus", "runs/dos")
"""Models of properties, whose predictions have no energies."""
EXAMPLE = ROOT / "docs" / "examples" / "BaTiO3.cif"
RUN_PAGES = [page for page in PAGES if any(block.why_not is None for block in blocks_of(page))]
SOURCES = os.pathsep.join((str(ROOT), str(ROOT / "platform")))


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_is_not_run_says_why(page: Path) -> None:
    """And each mark belongs to a block, and to a command in it."""
    blocks = blocks_of(page)
    marks = len(re.findall(r"<!-- not run", page.read_text(encoding="utf-8")))
    assert marks == sum((block.why_not is not None) + len(block.left_out) for block in blocks)
    for block in blocks:
        reasons = [*block.left_out.values(), *([block.why_not] if block.why_not is not None else [])]
        assert all(len(why.split()) >= 3 for why in reasons), reasons
        for start in block.left_out:
            assert any(command.startswith(start) for command in block.commands), start


def lighter(command: str) -> str:
    """Return a command that does the same with less, in this interpreter."""
    words = command.split()[:2]
    command = command.replace("RUN_ID", "runs/control")
    if words != ["crystalsweep", "rescore"]:  # whose presets are of metrics
        command = re.sub(r"--preset (demo|small|base|paper)", "--preset smoke", command)
    if words == ["crystalsweep", "train"]:
        command = re.sub(r"--set epochs=\d+", "--set epochs=1", command)
        command += "" if "--preset" in command else " --preset smoke"
    if words == ["crystalsweep", "evaluate"]:
        command = re.sub(r"--max-crystals \d+", "", command)
        command += "" if "--structures" in command else " --max-crystals 8"
        command += "" if any(model in command for model in PROPERTIES) else " --calculator none"
    if words == ["crystalsweep", "model"] and "calibrate" in command:
        command = re.sub(r"--max-crystals \d+", "", command) + " --max-crystals 8"
    if words in (["crystalsweep", "evaluate"], ["crystalsweep", "promote"], ["crystalsweep", "verify"]):
        command += " --workers 1"
    start = {"crystalsweep": f"{sys.executable} -m crystalsweep", "python": sys.executable}
    return re.sub(r"^(crystalsweep|python)\b", lambda found: start[found[1]], command)


def environment_of(desk: Path) -> dict[str, str]:
    """Return the variables that a reader's shell would have, with a store of its own and no server."""
    place = {"CRYSTALSWEEP_STORAGE": str(desk / "store"), "HOME": str(desk / "home"), "PYTHONPATH": SOURCES}
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    return {**os.environ, **place, "MLFLOW_TRACKING_URI": "", "RAY_ADDRESS": "", "PATH": path}


def crystal_of(number: int) -> Sequence[Crystal]:
    """Return so many small bundled crystals with all labels, in a fixed order."""
    wanted = {"k_vrh", "g_vrh", "e_above_hull", "formation_energy_per_atom"}
    found = (each for each in load_data("bundled").train if len(each) <= 12 and wanted <= each.labels.keys())
    return list(islice(found, number))


def lay_out(desk: Path, page: Path) -> None:
    """Put into a folder what a page takes for granted: a reader's crystals, and models that it does not train."""
    for name in ("docs", "sweeps", "trainables", "platform", "infra", "benchmarks"):
        (desk / name).symlink_to(ROOT / name)
    labelled = [
        replace(each, labels=each.labels | {"hardness": float(i), "band_gap": 0.1 * i})
        for i, each in enumerate(crystal_of(120))
    ]
    for name, part in {"mine": labelled, "train": labelled[:90], "val": labelled[90:], "crystals": labelled}.items():
        write(part, desk / f"{name}.parquet")
    write(labelled, desk / "mine.csv")
    if "import bundled my_cifs" not in page.read_text(encoding="utf-8"):
        write([each for each in labelled if 8 in each.species][:6] + labelled[:6], desk / "my_cifs")
    write(labelled[:8], desk / "generated_cifs")
    masked = (ROOT / "docs" / "examples" / "partial.cif").read_text(encoding="utf-8")
    (desk / "partial.cif").write_text(masked, encoding="utf-8")
    (desk / "solid_solution.cif").symlink_to(ROOT / "docs" / "examples" / "BaSrTiO3_solid_solution.cif")
    for place, generator in PLACES.items():
        if f"--out {place}" not in page.read_text(encoding="utf-8"):
            copytree(GENERATORS / generator, desk / place)


def script_of(block: Block) -> list[str]:
    """Return what to execute for a block: its commands, or a file of Python that knows a `structure`."""
    if block.language != "python":
        return ["bash", "-euo", "pipefail", "-c", "\n".join(map(lighter, block.to_run))]
    given = f"from pymatgen.core import Structure\nstructure = Structure.from_file({str(EXAMPLE)!r})\n"
    return [sys.executable, "-c", given + block.text]


@pytest.mark.long
@pytest.mark.parametrize("page", RUN_PAGES, ids=name_of)
def test_what_a_page_says_is_run(page: Path, tmp_path: Path) -> None:
    lay_out(tmp_path, page)
    for block in blocks_of(page):
        if block.why_not is None:
            ran = subprocess.run(
                script_of(block),
                cwd=tmp_path,
                env=environment_of(tmp_path),
                capture_output=True,
                text=True,
                check=False,
            )
            assert ran.returncode == 0, f"{block.text}\n{ran.stdout[-2000:]}\n{ran.stderr[-4000:]}"
