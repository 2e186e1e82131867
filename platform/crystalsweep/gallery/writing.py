"""A gallery as files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from crystalsweep.data.writing import cif_with_masks
from crystalsweep.gallery.page import gallery_page
from crystalsweep.gallery.picture import draw_gallery
from crystalsweep.gallery.specimens import Specimen

GALLERY_PAGE, GALLERY_PICTURE = "crystals.html", "crystals.png"


def write_gallery(specimens: Sequence[Specimen], folder: Path, *, title: str) -> Path:
    """Write `crystals.html`, `crystals.png` and three CIFs per crystal below `folder`, which is made; returns it.

    CIFs are called `cif/1-mp-149-before.cif`, by place in the gallery, id and part; a generated crystal whose
    coordinates are not finite has none.
    """
    (folder / "cif").mkdir(parents=True, exist_ok=True)
    (folder / GALLERY_PAGE).write_text(gallery_page(specimens, title=title), encoding="utf-8")
    draw_gallery(specimens, folder / GALLERY_PICTURE, title=title)
    for number, specimen in enumerate(specimens, start=1):
        named = re.sub(r"[^\w.-]+", "_", specimen.before.id)[:80]
        parts = {"before": specimen.before, "corrupted": specimen.corrupted, "after": specimen.after}
        for part, crystal in parts.items():
            (folder / "cif" / f"{number}-{named}-{part}.cif").write_text(cif_with_masks(crystal), encoding="utf-8")
    return folder
