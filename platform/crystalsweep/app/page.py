"""The page as one HTML file, everything inlined."""

from __future__ import annotations

import json
from importlib.resources import files

from markupsafe import Markup

from crystalsweep.app.answer import crystal_json
from crystalsweep.app.guard import MAX_UPLOAD
from crystalsweep.app.reading import read_upload
from crystalsweep.app.request import MAX_ATOMS, MAX_CANDIDATES
from crystalsweep.pages.render import render
from crystalsweep.pages.spheres import colour_of, radius_of
from crystalsweep.structures.crystal import N_ELEMENTS
from crystalsweep.structures.elements import element_symbol

EXAMPLE = "BaTiO3.cif"
"""Cubic barium titanate, mp-2998 of the bundled crystals (Materials Project, CC-BY 4.0)."""

EXAMPLE_MASK = "Ti"


def page() -> str:
    """Return the page's HTML."""
    return render(
        "app/page.html.j2",
        title="Complete a crystal",
        css=Markup(_text("app/app.css")),
        library=Markup(_text("gallery/3Dmol-min.js")),
        drawing=Markup(_text("app/drawing.js")),
        script=Markup(_text("app/app.js")),
        told=Markup(json.dumps(_told()).replace("<", "\\u003c")),
        max_atoms=MAX_ATOMS,
        max_candidates=MAX_CANDIDATES,
    )


def _told() -> dict[str, object]:
    """Return what the script must know: how elements are drawn, how large files may be, and the example."""
    example = read_upload(EXAMPLE, _text(f"app/{EXAMPLE}").encode()).partials[0]
    drawn = {element_symbol(z): [colour_of(z), radius_of(z)] for z in range(1, N_ELEMENTS + 1)}
    return {
        "elements": {"?": [colour_of(0), radius_of(0)], **drawn},
        "most_bytes": MAX_UPLOAD,
        "example": {"crystal": crystal_json(example), "mask": EXAMPLE_MASK},
    }


def _text(name: str) -> str:
    return files("crystalsweep").joinpath(name).read_text(encoding="utf-8")
