"""Phonon densities of states by finite displacements: of copper as ASE's EMT has it, and what is kept between runs."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from crystalsweep.structures.crystal import Crystal

pytest.importorskip("phonopy")
pytest.importorskip("sevenn")

SCRIPT = Path(__file__).parents[2] / "infra" / "build_phonon_dos.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_phonon_dos", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_copper_has_its_frequencies(script: ModuleType) -> None:
    """Measured, copper's phonons end near 7.3 THz (doi:10.1103/PhysRev.155.619); EMT's do not end far from there."""
    from ase.calculators.emt import EMT

    fcc = 1.8 * (np.ones((3, 3)) - np.eye(3))
    found = script.record_of(Crystal.of("Cu", [29], fcc, [[0, 0, 0]]), EMT())
    assert "failure" not in found
    density, grid = np.array(found["spectrum"]), script.GRID.values
    assert np.trapezoid(density, grid) == pytest.approx(1, abs=0.01)
    assert 4.3 < (density * grid).sum() / density.sum() < 5.7
    assert 6.0 < grid[density > 0.01].max() < 9.0
    assert np.linalg.norm(found["lattice"][0]) == pytest.approx(2.54, abs=0.03)


def test_an_unstable_arrangement_has_no_spectrum(script: ModuleType) -> None:
    from ase.calculators.emt import EMT

    found = script.record_of(Crystal.of("Cu", [29], np.eye(3) * 2.4, [[0, 0, 0]]), EMT())  # simple cubic
    assert found == {"id": "Cu", "failure": "imaginary frequencies"}


def test_a_line_that_a_kill_cut_short_is_none(script: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "dos.jsonl").write_text('{"id": "a", "failure": "x"}\n{"id": "b", "fai')
    assert [each["id"] for each in script.read_records(tmp_path / "dos.jsonl")] == ["a"]
    assert script.read_records(tmp_path / "none.jsonl") == []
