"""What a gallery says of a crystal."""

from __future__ import annotations

import math

from crystalsweep.gallery.specimens import Specimen
from crystalsweep.structures.elements import formula_of

_MASKS = {"species": "one species masked", "random15": "15 % of atoms masked", "random30": "30 % of atoms masked"}


def heading(specimen: Specimen) -> str:
    """Write `median: mp-149, Si2O4, 15 % of atoms masked, σ = 0.1`."""
    mask = _MASKS.get(specimen.mask_type, specimen.mask_type)
    made = formula_of(specimen.before.species)
    return f"{specimen.role}: {specimen.before.id}, {made}, {mask}, σ = {specimen.sigma_noise:g}"


def result(specimen: Specimen) -> str:
    """Write `composition restored; 0.12 Å left of 0.25 Å noise put in (49 %)`."""
    composition = "composition restored" if specimen.restored else "composition not restored"
    if not math.isfinite(specimen.left):
        return f"{composition}; the generated crystal could not be compared"
    share = f"{100 * specimen.left / specimen.noise:.0f} %"
    return f"{composition}; {specimen.left:.3f} Å left of {specimen.noise:.3f} Å noise put in ({share})"
