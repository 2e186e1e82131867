"""How atoms are drawn: in Jmol's colours, as large as their covalent radii."""

from __future__ import annotations

_MASKED = 0
"""In place of an atomic number, where none is known."""

_GREY = "#8a8a8a"
_MASKED_RADIUS = 1.2
"""Å, as of a middling atom."""


def colour_of(z: int) -> str:
    """Return the colour of an atomic number, 0 where it is masked, as `#rrggbb`."""
    from ase.data.colors import jmol_colors

    if z == _MASKED:
        return _GREY
    return "#" + "".join(f"{round(255 * share):02x}" for share in jmol_colors[min(z, len(jmol_colors) - 1)])


def radius_of(z: int) -> float:
    """Return the covalent radius of an atomic number, 0 where it is masked, Å."""
    from ase.data import covalent_radii

    return _MASKED_RADIUS if z == _MASKED else float(covalent_radii[z])
