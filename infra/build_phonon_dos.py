"""Compute phonon densities of states of small bundled crystals with SevenNet-0 and phonopy: a potential's, not DFT's.

    python infra/build_phonon_dos.py compute DOS.jsonl --minutes 30     # again and again: what is there is not repeated
    python infra/build_phonon_dos.py write DOS.jsonl DOS.parquet

Each crystal is relaxed, reduced to its primitive cell, and its force constants are found from finite displacements in
a supercell (Togo et al., doi:10.1088/1361-648X/acd831). The density of states is over a mesh of wave vectors, smeared
by a Gaussian, per mode: its integral is 1, less what that puts below 0. What gives none is written down with the
reason. Needs phonopy and sevenn, which `pip install -e ".[dev]"` brings.

CHGNet is not used: its force constants depend on how far atoms are displaced. The mean frequency of aluminium (mp-134)
is 1.8, 2.7 and 3.4 THz with displacements of 0.01, 0.03 and 0.1 Å; of SevenNet-0 it is 5.08, 5.08 and 5.15.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms
from sevenn.calculator import SevenNetCalculator
from tqdm import tqdm

from crystalsweep.data import load_bundled
from crystalsweep.data.errors import DataError
from crystalsweep.data.primitive import primitive_cell
from crystalsweep.data.spectra import Column, Grid
from crystalsweep.data.writing import parquet_table
from crystalsweep.energies.relaxation import atoms_of, relax
from crystalsweep.energies.sevennet import WEIGHTS
from crystalsweep.structures.crystal import Crystal

GRID = Grid(start=0, stop=30, points=64, unit="THz")
COLUMN = Column("phonon_dos", GRID)
SMEARING = 0.5
"""THz, the standard deviation of the Gaussian; the grid's step is 0.48 THz."""

MAX_ATOMS, MAX_HULL, SEED = 4, 0.1, 0
"""Atoms of a cell; eV/atom above the hull, where that is known; of the order in which crystals are computed."""

RELAXATION_STEPS, FMAX = 300, 0.005
"""Forces in eV/Å: what is left of them shifts frequencies."""

SUPERCELL = 9.0
"""Å: least length of each of its vectors."""

MOST_DISPLACED = 256
"""Atoms of all displaced supercells of a crystal together: what its forces cost, some seconds of one core."""

DISPLACEMENT = 0.03
"""Å: forces of a network in float32 are coarser than those that phonopy's usual 0.01 is for."""

MESH = 60.0
"""Å: wave vectors along each reciprocal vector are this length times its own, as phonopy has it."""

IMAGINARY = -0.3
"""THz: a crystal with lower frequencies, which stand for imaginary ones, is no minimum of the potential."""

DECIMALS = 5
"""Of the density, per THz."""


class NoSpectrumError(ValueError):
    """Say why a crystal has no density of states here."""


def chosen() -> list[Crystal]:
    """Return the bundled crystals of few atoms and near the hull, or of unknown distance from it, in a seeded order."""
    every = sorted((c for part in ("train", "val", "test") for c in load_bundled(part)), key=lambda crystal: crystal.id)
    small = [c for c in every if len(c) <= MAX_ATOMS and c.labels.get("e_above_hull", 0.0) <= MAX_HULL]
    return [small[i] for i in np.random.default_rng(SEED).permutation(len(small))]


def relaxed(crystal: Crystal, calculator: Any) -> Crystal:
    """Return the crystal at its minimum, in its primitive cell. Raises `NoSpectrumError` where it reaches none."""
    try:
        found, _, converged = relax(crystal, calculator, RELAXATION_STEPS, FMAX, lambda _: "")
    except ValueError as error:
        raise NoSpectrumError(f"relaxation failed: {error}") from None
    if not converged:
        raise NoSpectrumError("relaxation did not converge")
    try:
        return primitive_cell(found)
    except DataError:
        raise NoSpectrumError("no primitive cell") from None


def displaced(crystal: Crystal) -> Phonopy:
    """Return the supercells with displaced atoms that give all force constants.

    Raises:
        NoSpectrumError: They have too many atoms.
    """
    repeats = np.ceil(SUPERCELL / np.linalg.norm(crystal.lattice, axis=1)).astype(int)
    most = f"more than {MOST_DISPLACED} atoms in displaced supercells"
    if len(crystal) * repeats.prod() > MOST_DISPLACED:
        raise NoSpectrumError(most)
    cell = PhonopyAtoms(numbers=crystal.species, scaled_positions=crystal.frac, cell=crystal.lattice)
    phonon = Phonopy(cell, supercell_matrix=np.diag(repeats), primitive_matrix=np.eye(3), log_level=0)
    phonon.generate_displacements(distance=DISPLACEMENT)
    if len(crystal) * repeats.prod() * len(phonon.displacements) > MOST_DISPLACED:
        raise NoSpectrumError(most)
    return phonon


def spectrum_of(crystal: Crystal, calculator: Any) -> NDArray[np.float64]:
    """Return (P,) density of states per mode on `GRID`, 1/THz.

    Args:
        crystal: At its minimum, in its primitive cell.
        calculator: Of ASE, with forces.

    Raises:
        NoSpectrumError: Too many atoms are to be displaced, a frequency is imaginary, or one is beyond the grid.
    """
    phonon = displaced(crystal)
    phonon.forces = [_forces(each, calculator) for each in phonon.supercells_with_displacements or ()]
    phonon.produce_force_constants()
    phonon.symmetrize_force_constants()
    phonon.run_mesh(MESH)
    mesh = phonon.mesh
    assert mesh is not None, "it was run"
    frequencies, weights = np.asarray(mesh.frequencies), np.asarray(mesh.weights, dtype=np.float64)
    if frequencies.min() < IMAGINARY:
        raise NoSpectrumError("imaginary frequencies")
    if frequencies.max() > GRID.stop:
        raise NoSpectrumError(f"frequencies above {GRID.stop:g} {GRID.unit}")
    shares = np.broadcast_to(weights[:, None], frequencies.shape) / (weights.sum() * frequencies.shape[1])
    apart = (GRID.values[:, None] - frequencies.ravel()) / SMEARING
    density = np.exp(-0.5 * apart**2) @ shares.ravel() / (SMEARING * np.sqrt(2 * np.pi))
    return np.round(density, DECIMALS)


def _forces(cell: PhonopyAtoms, calculator: Any) -> NDArray[np.float64]:
    """Return (N, 3) forces in a displaced supercell, eV/Å."""
    atoms = atoms_of(
        Crystal(id="", species=np.asarray(cell.numbers), lattice=cell.cell, frac=np.asarray(cell.scaled_positions))
    )
    return np.asarray(calculator.get_forces(atoms), dtype=np.float64)


def record_of(crystal: Crystal, calculator: Any) -> dict[str, Any]:
    """Return a line of the results: the relaxed crystal with its spectrum, or the reason why there is none."""
    try:
        displaced(crystal)  # told before it is relaxed
        minimum = relaxed(crystal, calculator)
        spectrum = spectrum_of(minimum, calculator)
    except NoSpectrumError as error:
        return {"id": crystal.id, "failure": str(error)}
    return {
        "id": crystal.id,
        "species": minimum.species.tolist(),
        "lattice": minimum.lattice.tolist(),
        "frac": minimum.frac.tolist(),
        "spectrum": spectrum.tolist(),
    }


def read_records(path: Path) -> list[dict[str, Any]]:
    """Return the whole lines of the results; one that a kill cut short is none."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.split("\n")[:-1]]


@click.group()
def main() -> None:
    """Compute phonon densities of states with SevenNet-0, and write them as a data set."""


@main.command()
@click.argument("results", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--minutes", type=float, default=30.0, show_default=True, help="Begin no crystal after so long.")
def compute(results: Path, minutes: float) -> None:
    """Add crystals to RESULTS until the time is over, or all are there."""
    begun, records = time.monotonic(), read_records(results)
    results.write_text("".join(f"{json.dumps(each)}\n" for each in records), encoding="utf-8")
    done = {each["id"] for each in records}
    left = [crystal for crystal in chosen() if crystal.id not in done]
    calculator = SevenNetCalculator(WEIGHTS, device="cpu")
    with results.open("a", encoding="utf-8") as file:
        for crystal in tqdm(left):
            if time.monotonic() - begun > 60 * minutes:
                break
            file.write(f"{json.dumps(record_of(crystal, calculator))}\n")
            file.flush()


@main.command()
@click.argument("results", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
def write(results: Path, out: Path) -> None:
    """Write RESULTS as a Parquet file of crystals with a column of spectra, sorted by id."""
    records = read_records(results)
    crystals = [
        Crystal.of(
            r["id"], r["species"], r["lattice"], r["frac"], **dict(zip(COLUMN.points, r["spectrum"], strict=True))
        )
        for r in sorted(records, key=lambda each: str(each["id"]))
        if "spectrum" in r
    ]
    pq.write_table(parquet_table(crystals), out, compression="zstd", compression_level=19)
    print(f"{out}: {len(crystals):,} crystals, {out.stat().st_size:,} bytes; without a spectrum:")
    for reason, count in Counter(each["failure"] for each in records if "failure" in each).most_common():
        print(f"  {reason}: {count:,}")


if __name__ == "__main__":
    main()
