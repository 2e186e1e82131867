"""Two independent readers, ours on gemmi and ASE's own: what ours accepts of real and mutated CIFs, ASE reads alike."""

from __future__ import annotations

import io
import warnings
from collections import Counter

import ase.io
import numpy as np
import pytest
from ase import Atoms
from numpy.typing import NDArray

from crystalsweep.data.bundled import load_bundled
from crystalsweep.data.readers._cif import crystal_from_cif
from crystalsweep.structures.crystal import Crystal
from crystalsweep.structures.neighbours import shortest_distance
from tests.data.test_cif_limits import cif_of, mutated

Figures = tuple[dict[int, int], float, float]
"""Atoms of the cell by atomic number; Å³ per atom; the shortest distance in Å."""


def figures(species: NDArray[np.int64], lattice: NDArray[np.float64], frac: NDArray[np.float64]) -> Figures:
    volume = abs(float(np.linalg.det(lattice))) / len(species)
    return dict(sorted(Counter(species.tolist()).items())), volume, shortest_distance(lattice, frac % 1.0)


def by_ase(text: str) -> Figures | None:
    """What ASE makes of it; None where it raises, or finds no atom or no cell."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            atoms = ase.io.read(io.BytesIO(text.encode()), format="cif")
    except Exception:
        return None
    assert isinstance(atoms, Atoms)
    if not len(atoms) or not atoms.cell.volume:
        return None
    return figures(atoms.numbers, atoms.cell.array, atoms.get_scaled_positions())


def agree(one: Figures, other: Figures) -> bool:
    return (
        one[0] == other[0]
        and one[1] == pytest.approx(other[1], rel=1e-3)
        and one[2] == pytest.approx(other[2], abs=0.02)
    )


def written_by_ase(crystal: Crystal) -> str:
    atoms = Atoms(crystal.species, cell=crystal.lattice, scaled_positions=crystal.frac, pbc=True)
    file = io.BytesIO()
    ase.io.write(file, atoms, format="cif")
    return file.getvalue().decode()


def test_real_crystals_come_back_from_three_writers_by_both_readers() -> None:
    small = [crystal for crystal in load_bundled("train") if len(crystal) <= 20][:3000:30]
    assert len(small) >= 90
    for crystal in small:
        true = figures(crystal.species, crystal.lattice, crystal.frac)
        for text in (cif_of(crystal, None), cif_of(crystal, 0.01), written_by_ase(crystal)):
            read = crystal_from_cif(text, crystal.id, {})
            assert isinstance(read, Crystal), (crystal.id, read)
            found, others = figures(read.species, read.lattice, read.frac), by_ase(text)
            assert others, crystal.id
            assert agree(found, others), (crystal.id, found, others)
            multiple = len(read) / len(crystal)  # the conventional cell
            same = {z: n / multiple for z, n in found[0].items()} == true[0]
            assert same, (crystal.id, found, true)
            assert found[1:] == pytest.approx(true[1:], rel=0.01), crystal.id


def test_mutated_cifs_that_are_accepted_are_read_alike() -> None:
    small = [crystal for crystal in load_bundled("train") if len(crystal) <= 12][:2000:100]
    originals = [cif_of(crystal, symprec) for crystal in small for symprec in (None, 0.01)]
    counted: Counter[str] = Counter()
    for seed in range(50_000, 54_000):
        text = mutated(originals, seed)
        read = crystal_from_cif(text, "x", {})
        if not isinstance(read, Crystal):
            counted["refused"] += 1
        elif (others := by_ase(text)) is None:
            counted["refused by ASE"] += 1
        else:
            found = figures(read.species, read.lattice, read.frac)
            assert agree(found, others), (seed, found, others)
            counted["alike"] += 1
    assert counted["alike"] >= 300, counted
    assert counted["refused by ASE"] <= 0.05 * counted["alike"], counted
