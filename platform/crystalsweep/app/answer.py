"""What the page is answered: crystals, and what `crystalsweep complete --json` tells, with atoms."""

from __future__ import annotations

import base64
import io
import zipfile
from typing import Any

from crystalsweep.inference.answers import answer_of
from crystalsweep.inference.completion import Completion
from crystalsweep.inference.decoding.symmetry import same_by_symmetry, symmetry_of
from crystalsweep.inference.inputs import Partial
from crystalsweep.inference.known import Known
from crystalsweep.structures.crystal import MASK, Crystal
from crystalsweep.structures.elements import element_symbol


def crystal_json(partial: Partial) -> dict[str, Any]:
    """Return a crystal as the page holds it and sends it back; masked and shared sites have no element."""
    crystal = partial.crystal
    return {
        "name": crystal.id,
        "lattice": crystal.lattice.tolist(),
        "elements": [None if z == MASK else element_symbol(z) for z in crystal.species.tolist()],
        "frac": crystal.frac.tolist(),
        "shared": [
            {
                "atoms": [atom + 1 for atom in each.atoms],
                "counts": {element_symbol(z): n for z, n in each.counts.items()},
            }
            for each in partial.sublattices
        ],
    }


def completion_json(
    completion: Completion, partial: Partial, given: Crystal, known: Known | None = None
) -> dict[str, Any]:
    """Return the answer of `answer_of` with what the page draws and saves: positions, and a zip of the CIFs.

    Args:
        completion: As the model gave it.
        partial: What it is of.
        given: The crystal before sites were masked; `as_given` are the candidates that are this one again.
        known: Crystals to name the nearest of.
    """
    answer = answer_of(completion, partial=partial, known=known)
    permutations = symmetry_of(completion.partial).permutations
    for told, candidate in zip(answer["candidates"], completion.candidates, strict=True):
        told["frac"] = candidate.crystal.frac.tolist()
        told["as_given"] = same_by_symmetry(candidate.crystal.species, given.species, permutations)
    return {**answer, "zip": _archive({f"{each['rank']:02d}.cif": each["cif"] for each in answer["candidates"]})}


def _archive(files: dict[str, str]) -> str:
    """Return a zip of texts by name, in base64."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return base64.b64encode(held.getvalue()).decode()
