"""What the page is answered: crystals, candidates and odds as JSON."""

from __future__ import annotations

import base64
import io
import zipfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crystalsweep.inference.completion import Candidate, Completion
from crystalsweep.inference.decoding.symmetry import same_by_symmetry, symmetry_of
from crystalsweep.inference.inputs import Partial
from crystalsweep.structures.crystal import MASK, Crystal
from crystalsweep.structures.elements import element_symbol


def crystal_json(partial: Partial) -> dict[str, Any]:
    """Return a crystal as the page holds it; masked and shared sites have no element."""
    crystal = partial.crystal
    return {
        "name": crystal.id,
        "lattice": crystal.lattice.tolist(),
        "elements": _symbols(crystal.species),
        "frac": crystal.frac.tolist(),
        "shared": [
            {"atoms": list(each.atoms), "counts": {element_symbol(z): n for z, n in each.counts.items()}}
            for each in partial.sublattices
        ],
    }


def completion_json(completion: Completion, given: NDArray[np.int64]) -> dict[str, Any]:
    """Return candidates, best first, and the odds of every masked site; sites count from 0.

    Args:
        completion: As the model gave it.
        given: (N,) species of the crystal before sites were masked, `MASK` where it had none.
    """
    permutations = symmetry_of(completion.partial).permutations
    as_given = [same_by_symmetry(each.crystal.species, given, permutations) for each in completion.candidates]
    return {
        "name": completion.partial.id,
        "masked": completion.masked.tolist(),
        "lattice": completion.partial.lattice.tolist(),
        "candidates": [
            _candidate(candidate, completion.masked, same)
            for candidate, same in zip(completion.candidates, as_given, strict=True)
        ],
        "renormalised": completion.renormalised,
        "calibrated": completion.calibrated,
        "odds": [[odd._asdict() for odd in site] for site in completion.odds],
        "site_sets": [[each._asdict() for each in site] for site in completion.site_sets],
        "joint_sets": [each._asdict() for each in completion.joint_sets],
        "warnings": list(completion.warnings),
    }


def _candidate(candidate: Candidate, masked: NDArray[np.int64], as_given: bool) -> dict[str, Any]:
    crystal = candidate.crystal
    return {
        "formula": formula(crystal),
        "filled": _symbols(crystal.species[masked]),
        "probability": candidate.probability,
        "log_probability": candidate.log_probability,
        "neutral": candidate.neutral,
        "as_given": as_given,
        "shortest_distance": crystal.min_edge,
        "moved": float(np.sqrt((candidate.moved**2).mean())),
        "elements": _symbols(crystal.species),
        "frac": crystal.frac.tolist(),
        "cif": candidate.cif,
    }


def archive(name: str, cifs: list[str]) -> str:
    """Return a zip of the candidates' CIFs, numbered by rank, in base64."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as file:
        for rank, cif in enumerate(cifs, start=1):
            file.writestr(f"{name}-{rank:02d}.cif", cif)
    return base64.b64encode(held.getvalue()).decode()


def formula(crystal: Crystal) -> str:
    """Return the reduced formula, as `BaTiO3`."""
    from pymatgen.core import Composition

    return str(Composition("".join(_symbols(crystal.species))).reduced_formula)


def _symbols(species: NDArray[np.int64]) -> list[Any]:
    return [None if z == MASK else element_symbol(z) for z in species.tolist()]
