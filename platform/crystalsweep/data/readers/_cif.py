"""One CIF text to one crystal, by pymatgen, with its warnings kept off the terminal.

pymatgen's defaults stand: coordinates within 1e-4 of 1/3 and 2/3 are taken as exact, so that symmetry operations
map rounded positions onto each other; sites within 1e-4 are one site.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

from crystalsweep.data.checks import Problem, implicit_hydrogens, partial_occupancy, unknown_symbols
from crystalsweep.data.readers._base import admit
from crystalsweep.data.readers._cif_limits import TooLargeError, bounded_parser, too_large_problem
from crystalsweep.structures.crystal import Crystal
from crystalsweep.structures.elements import atomic_number

if TYPE_CHECKING:
    from pymatgen.core import Structure
    from pymatgen.io.cif import CifParser

UNPARSABLE = "unparsable CIF"

_SYMBOL = re.compile(r"([A-Za-z]{1,2})[\d.+-]*$")
"""An element with or without its charge, e.g. `Fe3+`, `O2-`, `CL`."""

ZERO_VOLUME = Problem("zero volume", remedy="give three independent lattice vectors in Å")
KNOWN_ERRORS = {
    "exceeded tolerance": Problem("several atoms on one site", remedy="give each site one atom"),
    "below threshold": ZERO_VOLUME,
    "Singular matrix": ZERO_VOLUME,
    "float NaN": Problem("coordinates are not finite", remedy="give every atom a position"),
}
"""What pymatgen's words mean, where it finds what our own checks look for before they can."""


def crystal_from_cif(text: str, row_id: str, labels: Mapping[str, float]) -> Crystal | Problem:
    """Return the crystal of a CIF with one structure. Oxidation states are dropped, cells are kept as they are."""
    if not text.strip():
        return Problem(UNPARSABLE, "it is empty", "give the text of a CIF")
    parsed = _parse(text)
    if isinstance(parsed, Problem):
        return parsed
    symbols = [site.specie.symbol for site in parsed]
    if problem := unknown_symbols(symbols):
        return problem
    numbers = [atomic_number(symbol) for symbol in symbols]
    return admit(row_id, numbers, parsed.lattice.matrix, parsed.frac_coords, labels)


def _parse(text: str) -> Structure | Problem:
    """Return an ordered structure. pymatgen raises nearly any exception on a broken CIF; each is this row's problem."""
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        try:
            parser = bounded_parser(text)
            structures = parser.parse_structures(primitive=False)
        except TooLargeError as error:
            return too_large_problem(error)
        except Exception as error:
            return _why_unparsable(error, _reasons(locals().get("parser")))
    if len(structures) > 1:
        return Problem("several structures in one CIF", f"{len(structures)} found", "split it into one CIF each")
    problem = implicit_hydrogens(structures[0]) or _misread_symbols(parser) or partial_occupancy(structures[0])
    return problem or structures[0]


def _reasons(parser: CifParser | None) -> list[str]:
    return [] if parser is None else [message for message in parser.warnings if message.startswith("No structure")]


def _why_unparsable(error: Exception, reasons: list[str]) -> Problem:
    """Return pymatgen's own words, on one line."""
    words = reasons[0].partition("\n")[2] if reasons else f"{type(error).__name__}: {error}"
    for phrase, problem in KNOWN_ERRORS.items():
        if phrase in words:
            return problem._replace(detail=words)
    return Problem(UNPARSABLE, " ".join(words.split())[:200], "export the CIF again and check that it is complete")


def _misread_symbols(parser: CifParser) -> Problem | None:
    """Report symbols that would be lost: pymatgen leaves out a site whose symbol is `?`, and reads `Vac` as vanadium;
    either would be another crystal.

    Labels follow no rule, so where they stand in for symbols pymatgen's reading of their first letters is trusted.
    """
    for block in parser._cif.data.values():
        given = block.data.get("_atom_site_type_symbol")
        symbols = given or [label for label in block.data.get("_atom_site_label", ()) if not label[:1].isalpha()]
        elements = {symbol: match[1].title() if (match := _SYMBOL.match(symbol)) else symbol for symbol in symbols}
        unknown = [symbol for symbol, element in elements.items() if unknown_symbols([element])]
        if unknown:
            return unknown_symbols(unknown)
    return None
