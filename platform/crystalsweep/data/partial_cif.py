"""A CIF some of whose sites are masked: their symbol is `X` (pymatgen's and ASE's dummy, also `X0+`) or `?`.

A masked site stands for all its symmetry copies.
"""

from __future__ import annotations

from crystalsweep.data.checks import Problem
from crystalsweep.data.readers._cif import CifReading, read_cif
from crystalsweep.structures.crystal import Crystal

MAX_CIF_BYTES = 512 << 10
"""Of one CIF: some five thousand sites."""


def partial_from_cif(text: str, row_id: str) -> Crystal | Problem:
    """Return the crystal of a CIF with one structure; `species` is `MASK` where the symbol is `X` or `?`.

    A whole CIF is read too. Sites without `_atom_site_type_symbol` are masked by their labels, as in `X1`. Sites that
    several elements share are refused: `partial_cif` reads them.
    """
    read = partial_cif(text, row_id)
    if read.sites and read.sites.mixtures:
        shared = f"{len(read.sites.mixtures)} sites are shared by several elements"
        return Problem("partial occupancy", shared, "order them with `crystalsweep complete`, or mask them")
    return read.outcome


def partial_cif(text: str, row_id: str) -> CifReading:
    """Return the same with the sites of the file; sites that several elements share are masked, too."""
    if (size := len(text.encode(errors="replace"))) > MAX_CIF_BYTES:
        return CifReading(Problem("CIF too long", f"{size:,} bytes", f"give at most {MAX_CIF_BYTES:,}"))
    return read_cif(text, row_id, {}, partial=True)
