"""Density functional theory: inputs as codes read them, real outputs read back, and what is missing or wrong.

The outputs are those that ASE's wheel carries for its own tests: MgO by FHI-aims, NaCl by VASP. Those of the restored
crystals are the same files with an atom and the energy moved; nothing here was computed for this test.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import ase.test
import numpy as np
import pytest
from ase.io import read as read_atoms
from click.testing import CliRunner, Result
from pymatgen.io.vasp.inputs import Poscar

from crystalsweep.cli.dft import dft
from crystalsweep.data import write
from crystalsweep.energies.dft import aims
from crystalsweep.energies.dft.manifest import MANIFEST_FILE, Code, Manifest, read_manifest
from crystalsweep.energies.dft.outputs import NOT_COMPUTED, is_of
from crystalsweep.energies.relaxation import atoms_of
from crystalsweep.evaluation.comparing import compare_evaluations
from crystalsweep.evaluation.dft import DftRequest, read_energies, write_sample
from crystalsweep.evaluation.outcome import read_outcome
from crystalsweep.evaluation.run import read_tables
from crystalsweep.structures.crystal import Crystal

Evaluate = Callable[..., Result]

OUTPUTS = Path(ase.test.__file__).parent / "testdata"
AIMS, VASP = OUTPUTS / "aims/DFPT_dielectric.out", OUTPUTS / "vasp/vasprun_dfpt.xml"

HALF = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]], dtype=float)
MGO = Crystal.of("MgO", [12, 8], 2.11309971 * HALF, [[0, 0, 0], [0.5, 0.5, 0.5]])
NACL = Crystal.of("NaCl", [11, 17], 2.72739551 * HALF, [[0, 0, 0], [0.5, 0.5, 0.5]])
FEO = Crystal.of("FeO", [26, 8], 2.15 * HALF, [[0, 0, 0], [0.5, 0.5, 0.5]])
MOVED = 0.52
"""Where the anion of a restored crystal is, along each lattice vector."""


def moved(crystal: Crystal, number: int = 0) -> Crystal:
    at = MOVED + 0.01 * number
    return Crystal.of(f"{crystal.id}__{number}", crystal.species, crystal.lattice, [[0, 0, 0], [at, at, at]])


def evaluated(run_evaluate: Evaluate, made: list[Crystal], folder: Path) -> Path:
    """An evaluation of these crystals beside the true ones."""
    write([MGO, NACL, FEO], folder / "true.parquet")
    write(made, folder / "made.parquet")
    options = ("--structures", folder / "made.parquet", "--reference", folder / "true.parquet")
    ran = run_evaluate(*options, "--out", folder / "evaluation", source=False)
    assert ran.exit_code == 0, ran.output
    return folder / "evaluation"


@pytest.fixture(scope="module")
def untouched(run_evaluate: Evaluate, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of restored crystals: two of MgO, one each of NaCl and FeO, and one that is not its parent."""
    other = Crystal.of("MgO__9", [20, 8], MGO.lattice, MGO.frac)
    made = [moved(MGO), moved(MGO, 1), moved(NACL), moved(FEO), other]
    return evaluated(run_evaluate, made, tmp_path_factory.mktemp("dft"))


@pytest.fixture
def evaluation(untouched: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(untouched, tmp_path / "evaluation"))


def folders(manifest: Manifest, formula: str) -> dict[str, str]:
    """Names of the calculations of a formula by what they are: restored or parent; the first where several are."""
    found: dict[str, str] = {}
    for row in manifest.rows:
        if row.parent == formula:
            found |= {"restored": row.restored, "parent": row.original}
    return found


def put(folder: Path, text: str, name: str) -> None:
    (folder / name).write_text(text)


def aims_output(at: float, energy: float) -> str:
    """The output of MgO with its oxygen at (at, at, at) and another total energy, eV."""
    text = AIMS.read_text().replace("-0.748399854786232E+04", f"{energy / 1e4:.15f}E+04")
    place = f"{2 * 2.11309971 * at:.8f}"
    atom = "  |    2: Species O  " + "           2.11309971        2.11309971        2.11309971"
    assert atom in text
    return text.replace(atom, f"  |    2: Species O             {place}        {place}        {place}")


def test_inputs_are_what_the_codes_read(evaluation: Path, tmp_path: Path) -> None:
    species = tmp_path / "intermediate"
    species.mkdir()
    for z in (12, 8, 11, 17):
        (species / aims.species_file(z)).write_text(f"  species {aims.species_file(z)}\n")
    manifest = write_sample(evaluation, tmp_path / "dft", DftRequest(sample=3), species)
    assert read_manifest(tmp_path / "dft") == manifest
    assert {(each.formula, each.folder.split("-")[0]) for each in manifest.calculations} == {
        (formula, kind) for formula in ("MgO", "NaCl") for kind in ("restored", "parent")
    }
    assert len(manifest.calculations) == 5, "the parent of both MgO is computed once"
    assert manifest.left_out == {
        "are of another composition than their parent": 1,
        "have partially filled d or f shells": 1,
    }
    folder = tmp_path / "dft" / folders(manifest, "NaCl")["restored"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        assert is_of(read_atoms(folder / "geometry.in", format="aims"), moved(NACL))
    control = (folder / "control.in").read_text().split("\n")
    assert control[:4] == ["xc pbe", "relativistic atomic_zora scalar", "spin none", "k_grid 10 10 10"]
    assert [line for line in control if "species" in line] == ["  species 11_Na_default", "  species 17_Cl_default"]


def test_a_sample_takes_one_of_each_parent_first_and_is_the_same_again(evaluation: Path, tmp_path: Path) -> None:
    samples = [write_sample(evaluation, tmp_path / str(i), DftRequest(sample=2)) for i in range(2)]
    assert samples[0] == samples[1]
    assert sorted(row.parent for row in samples[0].rows) == ["MgO", "NaCl"]


def test_vasp_gets_its_inputs_but_no_pseudopotentials(evaluation: Path, tmp_path: Path) -> None:
    manifest = write_sample(evaluation, tmp_path / "dft", DftRequest(code="vasp", sample=4, open_shells=True))
    assert "FeO" in {row.parent for row in manifest.rows}
    folder = tmp_path / "dft" / folders(manifest, "NaCl")["restored"]
    assert sorted(file.name for file in folder.iterdir()) == ["INCAR", "KPOINTS", "POSCAR", "POTCAR.spec"]
    assert (folder / "POTCAR.spec").read_text().split() == ["Na_pv", "Cl"]
    assert is_of(atoms_of_structure(folder / "POSCAR"), moved(NACL))


def atoms_of_structure(poscar: Path) -> object:
    from pymatgen.io.ase import AseAtomsAdaptor

    return AseAtomsAdaptor.get_atoms(Poscar.from_file(poscar).structure)


def test_energies_of_aims_stand_in_the_table_with_what_is_missing(evaluation: Path, tmp_path: Path) -> None:
    calculations = tmp_path / "dft"
    manifest = write_sample(evaluation, calculations, DftRequest(sample=3))
    _, counted = read_energies(evaluation, calculations)
    assert counted == {"with a difference": 0, f"restored: {NOT_COMPUTED}; parent: {NOT_COMPUTED}": 3}
    made = {row.draw: row for row in manifest.rows if row.parent == "MgO"}
    put(calculations / made[0].original, AIMS.read_text(), "aims.out")
    put(calculations / made[0].restored, aims_output(MOVED, -7483.79854786), "aims.out")
    put(calculations / made[1].restored, aims_output(MOVED + 0.01, -7483.5).replace("Have a nice", "x"), "aims.out")
    outcome, counted = read_energies(evaluation, calculations)
    assert counted == {
        "with a difference": 1,
        "restored: not ended, or not converged": 1,
        f"restored: {NOT_COMPUTED}; parent: {NOT_COMPUTED}": 1,
    }
    table = read_tables(evaluation)[0].set_index(["parent", "draw"])
    assert table.loc[("MgO", 0), "energy_before_dft"] == pytest.approx(-7483.99854786 / 2)
    assert table.loc[("MgO", 0), "delta_energy_dft"] == pytest.approx(0.1)
    assert table["delta_energy_dft"].notna().sum() == 1
    figure = read_outcome(evaluation).rows[outcome.name]["delta_energy_dft"]
    assert (figure.mean, figure.n) == (pytest.approx(0.1), 1)
    assert read_outcome(evaluation).energies["DFT settings"]["xc"] == "pbe"
    assert "ΔE, DFT" in (evaluation / "report.html").read_text()


def test_energies_of_vasp_are_read_and_those_of_another_crystal_refused(evaluation: Path, tmp_path: Path) -> None:
    calculations = tmp_path / "dft"
    manifest = write_sample(evaluation, calculations, DftRequest(code="vasp", sample=3))
    names, real = folders(manifest, "NaCl"), VASP.read_text()
    put(calculations / names["parent"], real, "vasprun.xml")
    put(calculations / names["restored"], real, "vasprun.xml")  # forgotten to move the atom
    _, counted = read_energies(evaluation, calculations)
    assert any("is of another crystal than the input" in reason for reason in counted)
    place = "0.50000000       0.50000000       0.50000000"
    put(calculations / names["restored"], real.replace(place, place.replace("0.50", f"{MOVED:.2f}")), "vasprun.xml")
    _, counted = read_energies(evaluation, calculations)
    assert counted["with a difference"] == 1
    table = read_tables(evaluation)[0].set_index("parent")
    assert table.loc["NaCl", "energy_dft"] == pytest.approx(-6.74587304 / 2)
    assert table.loc["NaCl", "delta_energy_dft"] == 0


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not ended"),
        ("General timing and accounting informations for this job", "not converged"),
        ("General timing and accounting\naborting loop because EDIFF is reached", "not readable"),
    ],
)
def test_a_broken_outcar_is_a_reason(evaluation: Path, tmp_path: Path, text: str, why: str) -> None:
    calculations = tmp_path / "dft"
    manifest = write_sample(evaluation, calculations, DftRequest(code="vasp", sample=2))
    put(calculations / folders(manifest, "NaCl")["restored"], text, "OUTCAR")
    _, counted = read_energies(evaluation, calculations)
    assert any(f"restored: {why}" in reason for reason in counted)


def test_an_outcar_is_read() -> None:
    from crystalsweep.energies.dft.vasp import read_vasp_output

    atoms, energy = read_vasp_output(OUTPUTS / "vasp/OUTCAR_example_1")
    assert len(atoms) == 18
    assert energy == pytest.approx(-68.23102426)


def test_another_evaluation_is_refused(evaluation: Path, tmp_path: Path, run_evaluate: Evaluate) -> None:
    write_sample(evaluation, tmp_path / "dft", DftRequest(sample=3))
    (tmp_path / "other").mkdir()
    other = evaluated(run_evaluate, [moved(MGO, 3), moved(NACL, 3)], tmp_path / "other")
    with pytest.raises(ValueError, match="give the evaluation that it was written for"):
        read_energies(other, tmp_path / "dft")


def test_energies_by_other_settings_are_not_compared(evaluation: Path, tmp_path: Path) -> None:
    other = tmp_path / "by vasp"
    shutil.copytree(evaluation, other)
    for folder, code in ((evaluation, "aims"), (other, "vasp")):
        read_energies(folder, write_and_fill(folder, tmp_path / code, code))
    _, notes = compare_evaluations([str(evaluation), str(other)], None, tmp_path)
    assert any("differ in the settings of density functional theory: delta_energy_dft" in note for note in notes)


def write_and_fill(folder: Path, out: Path, code: Code) -> Path:
    """Calculations of which one pair has outputs."""
    manifest = write_sample(folder, out, DftRequest(code=code, sample=3))
    row = next(row for row in manifest.rows if row.parent == {"aims": "MgO", "vasp": "NaCl"}[code] and row.draw == 0)
    place = "0.50000000       0.50000000       0.50000000"
    texts = {
        "aims": (AIMS.read_text(), aims_output(MOVED, -7483.79854786)),
        "vasp": (VASP.read_text(), VASP.read_text().replace(place, place.replace("0.50", f"{MOVED:.2f}"))),
    }
    for name, text in zip((row.original, row.restored), texts[code], strict=True):
        put(out / name, text, {"aims": "aims.out", "vasp": "vasprun.xml"}[code])
    return out


def test_the_commands_tell_what_to_do_next(evaluation: Path, tmp_path: Path) -> None:
    out = tmp_path / "dft"
    ran = CliRunner().invoke(dft, ["write", str(evaluation), str(out), "--sample", "2"])
    assert ran.exit_code == 0, ran.output
    assert "4 calculations for 2 restored crystals beside their parents" in ran.output
    assert "! not drawn from: 1 have partially filled d or f shells" in ran.output
    assert "Still to be added to each folder: species defaults" in ran.output
    again = CliRunner().invoke(dft, ["write", str(evaluation), str(out)])
    assert again.exit_code == 1
    assert "is not empty; choose another folder" in again.output
    ran = CliRunner().invoke(dft, ["read", str(evaluation), str(out)])
    assert ran.exit_code == 0, ran.output
    assert "0 with a difference" in ran.output
    (out / MANIFEST_FILE).unlink()
    ran = CliRunner().invoke(dft, ["read", str(evaluation), str(out)])
    assert ran.exit_code == 1
    assert "give the folder that `crystalsweep dft write` made" in ran.output


def test_missing_species_defaults_are_named(evaluation: Path, tmp_path: Path) -> None:
    empty = tmp_path / "light"
    empty.mkdir()
    with pytest.raises(ValueError, match=r"light has no \d\d_[A-Z]\w?_default: give the folder of FHI-aims'"):
        write_sample(evaluation, tmp_path / "dft", DftRequest(), empty)


@pytest.mark.parametrize(
    ("number", "open_shell"), [(0, True), (12, False), (26, True), (30, False), (64, True), (56, False), (112, True)]
)
def test_elements_with_partially_filled_shells(number: int, open_shell: bool) -> None:
    assert aims.has_open_shell(number) is open_shell


def test_an_output_may_have_its_atoms_in_another_order_and_image() -> None:
    atoms = atoms_of(MGO)[[1, 0]]
    atoms.positions += MGO.lattice[0]
    assert is_of(atoms, MGO)
    atoms.positions[0] += 0.05
    assert not is_of(atoms, MGO)
