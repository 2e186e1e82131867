"""Completed crystals as one interactive page: each input beside its candidates, everything inlined."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from crystalsweep.artifacts.atomic import write_whole
from crystalsweep.data.checks import Problem
from crystalsweep.data.partial_cif import partial_from_cif
from crystalsweep.gallery.atoms import EDGES, atoms_beside, corners
from crystalsweep.gallery.page import script_json, script_text
from crystalsweep.inference.told import heading, known_of, predicted_of, property_head, remarks
from crystalsweep.pages.render import render
from crystalsweep.structures.crystal import Crystal

COMPLETIONS_PAGE = "candidates.html"

CRYSTALS_SHOWN = 8
"""On a page: browsers draw in 3D in some sixteen places at most."""

CANDIDATES_SHOWN = 5
"""Of a crystal in 3D; the table has all."""


def write_completions(folder: Path, answers: Iterable[Mapping[str, Any]]) -> Path:
    """Write `candidates.html` with the first crystals of a folder of answers; returns it."""
    page = folder / COMPLETIONS_PAGE
    write_whole(page, completions_page(answers))
    return page


def completions_page(answers: Iterable[Mapping[str, Any]]) -> str:
    """Return a page of answers of `answer_of`: a row in 3D for each crystal, and its table."""
    waiting = iter(answers)
    shown = [_shown(answer) for answer in islice(waiting, CRYSTALS_SHOWN)]
    return render(
        "gallery/completions.html.j2",
        title="Completed crystals",
        crystals=shown,
        left_out=sum(1 for _ in waiting),
        script=script_text("3Dmol-min.js"),
        drawn=script_json([each["drawn"] for each in shown]),
    )


def _shown(answer: Mapping[str, Any]) -> dict[str, Any]:
    candidates = answer["candidates"]
    given = _crystal(answer["given_cif"])
    drawn = [_crystal(each["cif"]) for each in candidates[:CANDIDATES_SHOWN]]
    masked = [site["atom"] - 1 for site in answer["masked"]]
    parts = [atoms_beside(crystal, given, masked) for crystal in (given, *drawn)]
    cell = corners(given)
    return {
        "heading": heading(answer),
        "remarks": list(remarks(answer)),
        "names": ["input", *(f"{each['rank']}: {each['formula']}" for each in candidates[:CANDIDATES_SHOWN])],
        "rows": [{**each, "known": known_of(each), "predicted": predicted_of(each)} for each in candidates],
        "property": property_head(answer),
        "energies": any(each["energy_per_atom"] is not None for each in candidates),
        "legend": sorted({(atom.symbol, atom.colour) for atoms in parts for atom in atoms}),
        "drawn": {
            "cell": [[cell[a].tolist(), cell[b].tolist()] for a, b in EDGES],
            "parts": [[asdict(atom) for atom in atoms] for atoms in parts],
        },
    }


def _crystal(cif: str) -> Crystal:
    read = partial_from_cif(cif, "crystal")
    if isinstance(read, Problem):
        raise ValueError(f"a CIF of an answer cannot be read: {read.reason} ({read.detail})")
    return read
