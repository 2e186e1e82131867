"""The gallery as one interactive HTML page, everything inlined."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from importlib.resources import files

from crystalsweep.gallery.atoms import EDGES, columns, corners
from crystalsweep.gallery.captions import heading, result
from crystalsweep.gallery.specimens import Specimen
from crystalsweep.pages.render import render


def gallery_page(specimens: Sequence[Specimen], *, title: str) -> str:
    """Return the page: a row per crystal, in which before, corrupted and after turn together."""
    shown = [_shown(specimen) for specimen in specimens]
    return render(
        "gallery/page.html.j2",
        title=title,
        specimens=shown,
        script=script_text("3Dmol-min.js"),
        crystals=script_json([each["drawn"] for each in shown]),
    )


def _shown(specimen: Specimen) -> dict[str, object]:
    parts = columns(specimen)
    cell = corners(specimen.before)
    return {
        "heading": heading(specimen),
        "result": result(specimen),
        "legend": sorted({(atom.symbol, atom.colour) for atoms in parts.values() for atom in atoms}),
        "drawn": {
            "cell": [[cell[a].tolist(), cell[b].tolist()] for a, b in EDGES],
            "parts": [[asdict(atom) for atom in atoms] for atoms in parts.values()],
        },
    }


def script_json(value: object) -> str:
    """Return JSON that may stand inside a script element."""
    return json.dumps(value).replace("<", "\\u003c")


@cache
def script_text(name: str) -> str:
    """Return a file of this room."""
    return files("crystalsweep.gallery").joinpath(name).read_text(encoding="utf-8")
