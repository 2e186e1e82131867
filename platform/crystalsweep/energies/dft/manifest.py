"""`manifest.json`: for which crystals inputs were written, and how, so that energies find their rows again."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveInt

from crystalsweep.artifacts.atomic import write_whole
from crystalsweep.artifacts.validated_json import read_validated
from crystalsweep.config import Config
from crystalsweep.structures.crystal import Crystal

MANIFEST_FILE = "manifest.json"

Code = Literal["aims", "vasp"]

FolderName = Annotated[str, Field(pattern=r"^(restored|parent)-\d{4}$")]


class Calculation(Config):
    """One crystal to compute, in a folder of its own."""

    folder: FolderName
    sha256: str
    """Of its species, lattice and coordinates."""
    formula: str
    atoms: PositiveInt
    k_grid: tuple[PositiveInt, PositiveInt, PositiveInt] | None = None
    """Where it is written here; VASP's is in its KPOINTS."""


class SampledRow(Config):
    """A row of the evaluation's table, and the calculations that its difference in energy is of."""

    parent: str
    mask_type: str
    sigma_noise: float
    draw: NonNegativeInt
    restored: FolderName
    original: FolderName


class Manifest(Config):
    """What was written."""

    format: Literal[1] = 1
    code: Code
    settings: dict[str, Any]
    """Of every calculation."""
    evaluation: str
    """Name of the model whose crystals these are."""
    seed: NonNegativeInt
    """Of the sample."""
    left_out: dict[str, NonNegativeInt] = {}
    """Restored crystals that were not drawn from, by reason."""
    calculations: tuple[Calculation, ...]
    rows: tuple[SampledRow, ...]


def crystal_sha256(crystal: Crystal) -> str:
    """Return the sha256 of a crystal's species, lattice and coordinates, to the last bit."""
    content = hashlib.sha256()
    for array in (crystal.species, crystal.lattice, crystal.frac):
        content.update(np.ascontiguousarray(array).tobytes())
    return content.hexdigest()


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write the manifest of a folder of calculations."""
    write_whole(folder / MANIFEST_FILE, manifest.model_dump_json(indent=1) + "\n")


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a folder of calculations. Raises `ValueError` where there is none, or it is none."""
    return read_validated(
        folder / MANIFEST_FILE,
        Manifest,
        absent="give the folder that `crystalsweep dft write` made",
        unfit="not as it was written",
        remedy="write the inputs again",
    )
